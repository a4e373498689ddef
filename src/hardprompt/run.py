"""A classification run in a folder: data, models, search, test and what is written down; killed and resumed at will."""

import contextlib
import csv
import dataclasses
import hashlib
import importlib.metadata
import io
import json
import logging
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from hardprompt import models, optimizers
from hardprompt.config import Config, from_dict, read_yaml
from hardprompt.data import Row, classes, few_shot, read_rows, split
from hardprompt.engine import Progress, PromptOptimizer, Result, Step, optimize
from hardprompt.errors import InputError, MissingExtra
from hardprompt.files import StateStore, write_json, write_text
from hardprompt.lms import TaskLM
from hardprompt.lms.causal import CausalLM
from hardprompt.metrics import classification_metrics, paired_difference
from hardprompt.policy import PolicyLM
from hardprompt.rewards import Cached
from hardprompt.tasks.classification import Classification, check_examples
from hardprompt.tasks.template import Template

_LOG = logging.getLogger(__name__)

_VALIDATION_SHARE = 0.25  # of the training file, when no validation file is given
_TEST_SHARE = 0.3  # likewise for test
_START_WORDS = 64  # of the text that the policy model imagines before a prompt
Notify = Callable[[str], None]


@dataclass(frozen=True)
class Splits:
    """The three sets of a run; their texts are disjoint, and so are their groups."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    classes: list[str]


@dataclass
class Session:
    """What a run works with once models and data are loaded."""

    splits: Splits
    verbalizers: dict[str, str]
    task_lm: TaskLM
    policy_lm: CausalLM
    optimizer: PromptOptimizer
    reward: Cached
    validate: "ValidationAccuracy"
    train_task: Classification


class ValidationAccuracy:
    """Chooses by what will be reported: accuracy, and the mean probability gap only to part equals."""

    def __init__(self, task: Classification) -> None:
        self.task = task

    def __call__(self, prompts: list[str]) -> torch.Tensor:
        """Accuracy of each prompt, plus a hair of its reward."""
        probabilities = self.task.probabilities(prompts)
        accuracy = (probabilities.argmax(-1) == self.task.labels).double().mean(-1)
        # The reward lies within 200, so this never outweighs one text in a set of fewer than 10,000.
        return accuracy + self.task.rewards(probabilities) / 1e8


def read_splits(config: Config) -> Splits:
    """Read the files of a configuration and part what is not given separately, by its seed.

    Raises:
        InputError: whatever is wrong with a file, a column or a class.
    """

    def read(path: str) -> list[Row]:
        return read_rows(path, text=config.text, label=config.label, group=config.group)

    rows = read(config.train)
    names = classes(rows)
    missing = [name for name in names if config.verbalizers and name not in config.verbalizers]
    if missing:
        raise InputError(
            f"class {missing[0]!r} has no verbalizer; name one for each of: {', '.join(names)}, or for none."
        )
    unknown = sorted(set(config.verbalizers) - set(names))
    if unknown:
        raise InputError(
            f"verbalizer for class {unknown[0]!r}, which the data does not have; classes: {', '.join(names)}."
        )
    if config.test is not None:
        test = read(config.test)
    else:
        rows, test = split(rows, _TEST_SHARE, seed=config.seed)
    if config.validation is not None:
        validation = read(config.validation)
    else:
        rows, validation = split(rows, _VALIDATION_SHARE, seed=config.seed)
    validation, shared = _without(validation, test)
    rows, more = _without(rows, [*validation, *test])
    if shared + more:
        _LOG.warning("%d rows left out: their text or group stands in a later set too", shared + more)
    if config.shots is not None:
        rows = few_shot(rows, config.shots, seed=config.seed)
    for name, part in (("training", rows), ("validation", validation)):
        if {row.label for row in part} != set(names):
            raise InputError(f"the {name} set lacks a class; it needs some of each of: {', '.join(names)}.")
    for name, part in (("validation", validation), ("test", test)):
        for number, row in enumerate(part, 1):
            if row.label not in names:
                raise InputError(
                    f"row {number} of the {name} set has class {row.label!r}, which the training set does not have; "
                    f"classes: {', '.join(names)}."
                )
    return Splits(rows, validation, test, names)


def _without(rows: list[Row], later: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows whose text and group stand in no later set, and how many others there were."""
    texts = {row.text.strip() for row in later}
    groups = {row.group for row in later if row.group is not None}
    kept = [row for row in rows if row.text.strip() not in texts and row.group not in groups]
    return kept, len(rows) - len(kept)


def default_verbalizers(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The given verbalizers, and for other classes their own name as a word of its own."""
    return {name: given.get(name, f" {name}") for name in names}


def check_task(config: Config, splits: Splits) -> None:
    """Raise an InputError for faults of the task that need the data but no model: empty texts, verbalizers."""
    verbalizers = default_verbalizers(splits.classes, config.verbalizers)
    for part in (splits.train, splits.validation, splits.test):
        check_examples([row.example for row in part], verbalizers)


def start(config: Config, out: Path) -> None:
    """Make the run folder and write ``run.yaml``.

    Raises:
        InputError: the folder already holds something, or cannot be made.
    """
    if (out / "run.yaml").exists():
        raise InputError(
            f"{str(out)!r} already holds a run; continue it with: hardprompt resume {out}, or name another."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{str(out)!r} exists and is not an empty folder; name another with --out.")
    out.mkdir(parents=True, exist_ok=True)
    record = {
        **config.to_dict(),
        "threads": config.threads or torch.get_num_threads(),  # sums in another order have other bits
        "fingerprints": {p: _fingerprint(Path(p)) for p in (config.train, config.validation, config.test) if p},
        "versions": versions(),
    }
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    write_text(
        out / "run.yaml",
        f"# `hardprompt run` with this file repeats the run; `hardprompt resume` continues it.\n{text}",
    )


def discard(out: Path) -> None:
    """Take back what ``start`` wrote, unless the run has made a step worth keeping."""
    if (out / "checkpoint").exists() or (out / "result.json").exists():
        return
    for name in ("run.yaml", "steps.jsonl"):
        (out / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else is in it by now
        out.rmdir()


def load_config(path: Path, *, check_data: bool = False) -> Config:
    """The configuration in a YAML file or a run folder's ``run.yaml``.

    Raises:
        InputError: the file is not a configuration, or (``check_data``) a data file is not what it was.
    """
    values = read_yaml(path)
    values.pop("versions", None)
    fingerprints = values.pop("fingerprints", None) or {}
    config = from_dict(values)
    config.check()
    if check_data:
        for name, expected in fingerprints.items():
            if _fingerprint(Path(name)) != expected:
                raise InputError(
                    f"data file {name!r} has changed since the run began; a resumed run would not be the same."
                )
    return config


def prepare(config: Config, notify: Notify = lambda _: None) -> Session:
    """Read the data, load the models and build the task and the optimizer.

    Raises:
        InputError: anything about data, template, verbalizers, models or settings.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    template = Template(config.template)
    splits = read_splits(config)
    check_task(config, splits)
    verbalizers = default_verbalizers(splits.classes, config.verbalizers)
    notify(f"loading the policy model {config.policy_model}")
    model, tokenizer = models.load_causal(config.policy_model)
    policy_lm = CausalLM(model, tokenizer)
    if config.task_model == config.policy_model:
        task_lm: TaskLM = policy_lm
    else:
        notify(f"loading the task model {config.task_model}")
        task_lm = models.load_task_lm(config.task_model)
    notify(f"reading {len(splits.train)} training and {len(splits.validation)} validation texts into the task model")
    train, validation = (
        Classification(
            lm=task_lm, examples=[r.example for r in rows], template=template, verbalizers=verbalizers,
            sharpness=config.sharpness,
        )
        for rows in (splits.train, splits.validation)
    )  # fmt: skip
    method = optimizers.find(config.method)
    policy = PolicyLM(
        model,
        tokenizer,
        start=default_start(config, template, splits),
        tokens=config.tokens or method.tokens,  # type: ignore[arg-type]  # checked by Config.check
        script=config.script,
        spaced=template.spaced,
    )
    settings = {**method.settings, **config.settings}
    if "top_k" not in config.settings and settings.get("top_k"):
        # A method's own k is meant for a vocabulary of 50,000; a smaller one is kept whole.
        settings["top_k"] = min(settings["top_k"], policy.vocabulary_size)
    for task in (train, validation):
        task.check_room([manual_prompt(config)])
    optimizer = method.build(policy=policy, length=config.length, seed=config.seed, **settings)
    return Session(
        splits, verbalizers, task_lm, policy_lm, optimizer, Cached(train), ValidationAccuracy(validation), train
    )


def default_start(config: Config, template: Template, splits: Splits) -> str:
    """What the policy model imagines before the prompt: where the method asks for it, a text in its place.

    The text is the training set's one of median length, so that a prompt is proposed as a continuation of what it
    will stand behind; a template that begins with the prompt leaves nothing to imagine.
    """
    if config.start is not None:
        return config.start
    if not optimizers.find(config.method).in_place:
        return ""
    texts = sorted((row.text for row in splits.train), key=lambda text: (len(text), text))
    return template.before_prompt(" ".join(texts[len(texts) // 2].split()[:_START_WORDS]))


def execute(
    out: Path,
    config: Config,
    *,
    callbacks: Sequence[Callable[[Step], None]] = (),
    interrupted: Callable[[], bool] = lambda: False,
    notify: Notify = lambda _: None,
) -> dict[str, Any] | None:
    """Run, or continue, what ``start`` laid out in ``out``; returns the result, or None when interrupted.

    Raises:
        InputError: as ``prepare``, or the checkpoint does not fit.
        RewardError: the reward broke its contract.
    """
    with _alone(out):
        return _execute(out, config, callbacks, interrupted, notify)


def _execute(
    out: Path,
    config: Config,
    callbacks: Sequence[Callable[[Step], None]],
    interrupted: Callable[[], bool],
    notify: Notify,
) -> dict[str, Any] | None:
    session = prepare(config, notify)
    store = StateStore(out / "checkpoint")
    progress = Progress()
    state = store.load()
    if state is not None:
        try:
            progress.load_state_dict(state["progress"])
            session.optimizer.load_state_dict(state["optimizer"])
            session.reward.load_state_dict(state["reward"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"the checkpoint in {str(out)!r} does not fit its run.yaml: {error}.") from error
        notify(f"continuing after step {progress.step}")
    if interrupted():
        return None
    log = _StepLog(out / "steps.jsonl", keep=progress.step)

    def save(at: Progress) -> None:
        store.save(
            at.step,
            {
                "progress": at.state_dict(),
                "optimizer": session.optimizer.state_dict(),
                "reward": session.reward.state_dict(),
            },
        )

    def tell_all(step: Step) -> None:
        counted = dataclasses.replace(step, log={**step.log, "cache_hits": float(session.reward.hits)})
        log(counted)
        for callback in callbacks:
            callback(counted)

    outcome = optimize(
        session.optimizer,
        session.reward,
        evaluations=config.evaluations,
        seconds=config.seconds,
        validate=session.validate,
        validate_every=config.validate_every,
        callbacks=(tell_all,),
        progress=progress,
        save=save,
        save_every=config.save_every,
        interrupted=interrupted,
    )
    if outcome.stopped == "interrupt" or interrupted():
        return None
    notify(f"testing {outcome.best.prompt!r} on {len(session.splits.test)} texts that took no part")
    result = report(config, session, outcome, log.last_support)
    write_json(out / "result.json", result)
    write_text(out / "prompts.csv", _prompts_csv(session, outcome, result))
    write_text(out / "README.md", _card(config, session.verbalizers, result))
    return result


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold a run folder, so that no second process continues the same run; the system lets go when we end."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (out / "run.yaml").open(encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is working in {str(out)!r}; wait for it or stop it.") from error
        yield


def report(config: Config, session: Session, outcome: Result, support: float | None) -> dict[str, Any]:
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
        "distinct": len(session.reward),
        "seconds": round(outcome.seconds, 1),
        "stopped": outcome.stopped,
        "support_size": support,
        "perplexity": perplexity[found],
        "perplexity_by": judge,
        "validation": outcome.best.score,
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


class _StepLog:
    """Appends a line per step to ``steps.jsonl``; steps after the checkpoint are run again, so theirs are dropped."""

    def __init__(self, path: Path, *, keep: int) -> None:
        self._path = path
        self.last_support: float | None = None
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:  # the line that was being written when the run was killed
                    break
                if record["step"] > keep:
                    break
                kept.append(line + "\n")
                self.last_support = record["log"].get("support_size")
        write_text(path, "".join(kept))

    def __call__(self, step: Step) -> None:
        self.last_support = step.log.get("support_size")
        record = {
            "step": step.number,
            "evaluations": step.evaluations,
            "seconds": round(step.seconds, 3),
            "best_reward": step.best_reward,
            "validation": step.best.score if step.best else None,
            "log": step.log,
            "prompts": step.prompts,
            "rewards": step.rewards,
        }
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def _prompts_csv(session: Session, outcome: Result, result: Mapping[str, Any]) -> str:
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


def _card(config: Config, verbalizers: Mapping[str, str], result: Mapping[str, Any]) -> str:
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


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
