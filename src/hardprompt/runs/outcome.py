"""What a finished search leaves: the prompt that is chosen, its test, and the files that say so."""

import csv
import importlib.metadata
import io
import logging
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from hardprompt.lms import load as models
from hardprompt.tasks.settings import Search
from hardprompt.search.engine import Result, Trial
from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms.causal import CausalLM

_LOG = logging.getLogger(__name__)

_HAIR = 1e-5  # more than what parts equal accuracies in a score, less than one text of ten thousand


def choose(
    trials: Sequence[Trial],
    texts: int,
    perplexity: Callable[[Sequence[str]], Float[Tensor, " n"]],
    *,
    errors: float = 1.0,
) -> Trial:
    """The most natural of the prompts that validation cannot tell from the best.

    These are the trials whose accuracy is within one standard error, sqrt(p (1 - p) / n), of the highest; among them
    the one of lowest perplexity is chosen, the earliest among equals.

    Args:
        trials: validated prompts, at least one; a score is an accuracy (what is beyond its fourth digit parts equals).
        texts: n, how many texts validated them.
        perplexity: of texts, under a model; NaN counts as the highest.
        errors: standard errors that count as the same.

    Source: the one-standard-error rule of Breiman et al., 1984, with perplexity in place of the size of a tree.
    """
    p = min(max(max(trial.score for trial in trials), 0.0), 1.0)
    return most_natural(trials, errors * math.sqrt(p * (1.0 - p) / texts) + _HAIR, perplexity)


def most_natural(
    trials: Sequence[Trial], slack: float, perplexity: Callable[[Sequence[str]], Float[Tensor, " n"]]
) -> Trial:
    """The trial of lowest perplexity among those whose score is within ``slack`` of the highest."""
    top = max(trial.score for trial in trials)
    near = [trial for trial in trials if trial.score >= top - slack]
    values = perplexity([trial.prompt.strip() for trial in near]).nan_to_num(math.inf).tolist()
    return near[values.index(min(values))]


def judge_perplexity(
    prompts: Sequence[str], config: Search, policy_lm: CausalLM
) -> tuple[dict[str, float | None], str]:
    """Perplexity of each prompt under the judge, or under the policy model where the judge is absent, and by whom.

    A prompt is judged as a text of its own, without the space that joins it to a template.
    """
    try:
        name = config.judge
        judge = policy_lm if name == config.policy_model else CausalLM(*models.load_causal(name))
    except (MissingExtra, InputError) as error:  # the result of a search is not lost for want of a judge
        _LOG.warning("perplexity is measured by the policy model instead: %s", error)
        judge, name = policy_lm, config.policy_model
    if name in (config.policy_model, getattr(config, "task_model", None)):
        name = f"{name} (took part in the search)"
    values = judge.perplexity([p.strip() for p in prompts]).tolist()
    return {p: v if math.isfinite(v) else None for p, v in zip(prompts, values, strict=True)}, name


def versions() -> dict[str, str]:
    """What the numbers depend on."""
    names = ("hardprompt", "torch", "transformers", "safetensors", "tokenizers")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def prompts_csv(
    outcome: Result,
    shown: Callable[[str], str],
    rewards: Mapping[str, float],
    result: Mapping[str, Any],
    headline: Callable[..., float],
) -> str:
    """Every prompt that was validated, the best first, and the baselines.

    Args:
        outcome: of the search.
        shown: a searched prompt as a user pastes it.
        rewards: on the training data, of the prompts whose reward is remembered.
        result: as ``result.json`` has it.
        headline: the figure of a test that stands in the column ``test``.
    """
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["prompt", "train_reward", "validation", "test", "perplexity", "evaluations"])
    for trial in sorted(outcome.trials, key=lambda t: -t.score):
        best = trial.prompt == outcome.best.prompt
        writer.writerow([
            shown(trial.prompt), rewards.get(trial.prompt, ""), trial.score,
            headline(result["test"]) if best else "", result["perplexity"] if best else "", outcome.evaluations,
        ])  # fmt: skip
    for row in result["baselines"]:
        if row["prompt"] is None:  # what is no prompt, such as the copied input
            continue
        writer.writerow([row["prompt"], "", "", headline(row["test"]), row["perplexity"], row["evaluations"]])
    return stream.getvalue()
