"""Every task keeps the promises of ``hardprompt.testing``, on tiny models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hardprompt import testing
from hardprompt.lms.models import Models
from hardprompt.tasks import Recipe, find
from hardprompt.tasks.recipe import figure

THINGS = ("film", "food", "book", "story", "music", "house", "dog", "game", "team", "news")
GOOD, BAD = ("great", "good", "kind", "warm"), ("bad", "cold", "slow", "old")


def reward(prompts: list[str]) -> list[float]:
    """A user's own."""
    return [float(len(set(prompt))) for prompt in prompts]


@pytest.fixture(params=["classify", "restyle", "restyle-per-step", "invert", "optimize"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path, tiny_folder: Path) -> Recipe:
    said = {word: [f"The {thing} was {word}." for thing in THINGS] for word in (*GOOD, *BAD)}
    rows = [f"{text},{'pos' if word in GOOD else 'neg'}" for word, texts in said.items() for text in texts]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "bad.txt").write_text("\n".join(text for word in BAD for text in said[word]))
    (tmp_path / "good.txt").write_text("\n".join(text for word in GOOD for text in said[word]))
    noise = torch.randint(0, 256, (40, 30, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(tmp_path / "picture.png")
    own: dict[str, dict[str, Any]] = {
        "classify": {
            "train": str(tmp_path / "texts.csv"), "text": "text", "label": "label",
            "verbalizers": {"pos": "good", "neg": "bad"}, "template": "{text}{prompt}", "manual": "It was",
            "task_model": str(tiny_folder), "calibrate": "affine",
        },
        "restyle": {
            "texts": str(tmp_path / "bad.txt"), "target_examples": str(tmp_path / "good.txt"), "test_rows": 4,
            "validation_rows": 3, "task_model": str(tiny_folder), "manual": "Make it good:",
        },
        "invert": {"images": (str(tmp_path / "picture.png"),), "manual": "a film"},
        "optimize": {"reward": f"{__name__}:reward", "manual": "It was"},
    }  # fmt: skip
    own["restyle-per-step"] = {**own["restyle"], "per_step": 2, "zscore": True}
    models = {"policy_model": str(tiny_folder), "judge": str(tiny_folder)}
    return Recipe.of({
        "task": request.param.partition("-")[0], **models, "instruction": "Say in one word", **own[request.param]
    })  # fmt: skip


def case(recipe: Recipe) -> testing.TaskCase:
    models = Models(keep=True)
    policy_lm = models.causal(recipe.values["policy_model"])
    return testing.TaskCase(
        build=lambda: recipe.load(models, policy_lm), lacks=find(recipe.task).lacks, figure=figure(recipe.task)[1]
    )


def test_it_keeps_the_promises_of_a_task(recipe: Recipe) -> None:
    testing.check_task(case(recipe))


def test_its_recipe_loads_to_the_same_reward_in_another_process(recipe: Recipe) -> None:
    testing.check_recipe(recipe)
