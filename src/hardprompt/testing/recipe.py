"""What the recipe of every task promises: the same reward, wherever it is loaded."""

import multiprocessing
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from hardprompt.lms.models import Models
from hardprompt.tasks import Recipe
from hardprompt.testing.reward import PROMPTS


def check_recipe(recipe: Recipe, prompts: Sequence[str] = PROMPTS) -> None:
    """A recipe survives being pickled, and loads to the same reward in another process."""
    sent = pickle.loads(pickle.dumps(recipe))
    assert sent == recipe, f"a recipe that was pickled is {sent}, not {recipe}."
    here = _rewards(recipe, list(prompts))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(_rewards, recipe, list(prompts)).result()
    assert here == there, f"the reward of another process is {there}, not {here}."


def _rewards(recipe: Recipe, prompts: list[str]) -> list[float]:
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.values["threads"] or 1)  # sums by another number of threads have other bits
    try:
        models = Models()
        policy_lm = models.causal(recipe.values["policy_model"])
        rewards: list[float] = recipe.load(models, policy_lm).reward(prompts).tolist()
        return rewards
    finally:
        torch.set_num_threads(before)
