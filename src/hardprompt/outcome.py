"""What a finished search leaves: the prompt that is chosen, its test, and the files that say so."""

import csv
import importlib.metadata
import io
import logging
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from hardprompt import models
from hardprompt.config import Config
from hardprompt.engine import Result, Trial
from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms.causal import CausalLM
from hardprompt.metrics import classification_metrics, paired_difference
from hardprompt.tasks.classification import Classification
from hardprompt.tasks.template import Template

if TYPE_CHECKING:
    from hardprompt.run import Session

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
    top = max(trial.score for trial in trials)
    p = min(max(top, 0.0), 1.0)
    slack = errors * math.sqrt(p * (1.0 - p) / texts) + _HAIR
    near = [trial for trial in trials if trial.score >= top - slack]
    values = perplexity([trial.prompt.strip() for trial in near]).nan_to_num(math.inf).tolist()
    return near[values.index(min(values))]


def report(config: Config, session: "Session", outcome: Result, support: float | None) -> dict[str, Any]:
    """Touch the test set, once: the found prompt, the empty one and the manual one, side by side."""
    rows = session.splits.test
    task = Classification(
        lm=session.task_lm,
        examples=[r.example for r in rows],
        template=Template(config.template),
        verbalizers=session.verbalizers,
        keep=False,
    )
    manual = manual_prompt(config)
    prompts = {"found": outcome.best.prompt, "empty": "", "manual": manual}
    names = list(dict.fromkeys(prompts.values()))
    predicted = dict(zip(names, task.predictions(names).numpy(), strict=True))
    labels = task.labels.numpy()
    perplexity, judge = judge_perplexity(names, config, session.policy_lm)

    def tested(prompt: str) -> dict[str, Any]:
        return classification_metrics(labels, predicted[prompt], session.splits.classes)

    found = prompts["found"]
    return {
        "task": "classify",
        "method": config.method,
        "seed": config.seed,
        "prompt": found,
        "template": config.template,
        "verbalizers": session.verbalizers,
        "evaluations": outcome.evaluations,
        "distinct": session.reward.scored,
        "seconds": round(outcome.seconds, 1),
        "stopped": outcome.stopped,
        "support_size": support,
        "perplexity": perplexity[found],
        "perplexity_by": judge,
        "validation": outcome.best.score,
        "validation_best": max((trial.score for trial in outcome.trials), default=outcome.best.score),
        "precision": session.precision,
        "test": tested(found),
        "difference_to_manual": paired_difference(labels, predicted[found], predicted[manual]),
        "baselines": [
            {"name": name, "prompt": prompt, "test": tested(prompt), "perplexity": perplexity[prompt], "evaluations": 0}
            for name, prompt in prompts.items()
            if name != "found"
        ],
        "texts": {
            "train": len(session.splits.train),
            "validation": len(session.splits.validation),
            "test": len(rows),
            "truncated": session.train_task.truncated + session.validate.task.truncated + task.truncated,
        },
        "versions": versions(),
    }


def manual_prompt(config: Config) -> str:
    """The hand-written prompt, with the space that a template needs before it."""
    spaced = Template(config.template).spaced and not config.manual.startswith(" ")
    return f" {config.manual}" if spaced else config.manual


def judge_perplexity(
    prompts: Sequence[str], config: Config, policy_lm: CausalLM
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
    if name in (config.policy_model, config.task_model):
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


def prompts_csv(session: "Session", outcome: Result, result: Mapping[str, Any]) -> str:
    """Every prompt that was validated, the best first, and the baselines."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["prompt", "train_reward", "validation", "test", "perplexity", "evaluations"])
    rewards = dict(session.reward.state_dict()["known"])
    for trial in sorted(outcome.trials, key=lambda t: -t.score):
        best = trial.prompt == result["prompt"]
        writer.writerow([
            trial.prompt, rewards.get(trial.prompt, ""), trial.score,
            result["test"]["accuracy"] if best else "", result["perplexity"] if best else "", outcome.evaluations,
        ])  # fmt: skip
    for row in result["baselines"]:
        writer.writerow([row["prompt"], "", "", row["test"]["accuracy"], row["perplexity"], row["evaluations"]])
    return stream.getvalue()


def card(config: Config, verbalizers: Mapping[str, str], result: Mapping[str, Any]) -> str:
    """How to use the prompt, as the run folder's README.md says it."""
    test = result["test"]
    before, after = Template(config.template).fill("{text}", result["prompt"])
    filled = f"{before}{{answer}}{after}" if after else before
    words = "\n".join(f"- `{label}`: the model answers `{word}`" for label, word in verbalizers.items())
    low, high = test["interval"]
    return (
        f"# A prompt for {config.task_model}\n\n"
        f"Give the model this, with your text in place of `{{text}}`:\n\n```\n{filled}\n```\n\n"
        f"and compare the probabilities of these {'answers' if after else 'continuations'}:\n\n{words}\n\n"
        f"Accuracy on {test['n']} texts that took no part: {test['accuracy']:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}), macro-F1 {test['macro_f1']:.3f}.\n\n"
        f"Found by `{config.method}` with {result['evaluations']} evaluations, seed {config.seed}; "
        f"every setting is in `run.yaml`, every step in `steps.jsonl`, all numbers in `result.json`.\n"
    )
