"""A classification run in a folder: data, models, search, test and what is written down; killed and resumed at will."""

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from hardprompt import models, optimizers, threads
from hardprompt.config import Config, from_dict, read_yaml
from hardprompt.engine import Progress, PromptOptimizer, Step, optimize
from hardprompt.errors import InputError
from hardprompt.files import StateStore, write_json, write_text
from hardprompt.lms import TaskLM
from hardprompt.lms.causal import CausalLM
from hardprompt.outcome import card, choose, manual_prompt, prompts_csv, report, versions
from hardprompt.policy import PolicyLM
from hardprompt.rewards import Cached
from hardprompt.splits import Splits, read_splits
from hardprompt.tasks.classification import Classification, check_examples
from hardprompt.tasks.template import Template

_LOG = logging.getLogger(__name__)

_START_WORDS = 64  # of the text that the policy model imagines before a prompt
Notify = Callable[[str], None]


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
    precision: str  # of the search's rewards; validation and test are in float32


class ValidationAccuracy:
    """Chooses by what will be reported: accuracy, and the mean probability gap only to part equals."""

    def __init__(self, task: Classification) -> None:
        self.task = task

    def __call__(self, prompts: list[str]) -> torch.Tensor:
        """Accuracy of each prompt, plus a hair of its reward."""
        self.task.hold()  # not when it is built: the first prompt need not wait for the validation texts
        probabilities = self.task.probabilities(prompts)
        accuracy = (probabilities.argmax(-1) == self.task.labels).double().mean(-1)
        # The reward lies within 200, so this never outweighs one text in a set of fewer than 10,000.
        return accuracy + self.task.rewards(probabilities) / 1e8


def default_verbalizers(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The given verbalizers, and for other classes their own name as a word of its own."""
    return {name: given.get(name, f" {name}") for name in names}


def check_task(config: Config, splits: Splits) -> None:
    """Raise an InputError for faults of the task that need the data but no model: empty texts, verbalizers."""
    verbalizers = default_verbalizers(splits.classes, config.verbalizers)
    for part in (splits.train, splits.validation, splits.test):
        check_examples([row.example for row in part], verbalizers)


def start(config: Config, out: Path) -> Config:
    """Make the run folder and write ``run.yaml``; returns the settings with the number of threads that was chosen.

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
    config = dataclasses.replace(config, threads=config.threads or threads.choose())
    record = {
        **config.to_dict(),
        "fingerprints": {p: _fingerprint(Path(p)) for p in (config.train, config.validation, config.test) if p},
        "versions": versions(),
    }
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    write_text(
        out / "run.yaml",
        f"# `hardprompt run` with this file repeats the run; `hardprompt resume` continues it.\n{text}",
    )
    return config


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
    search_lm, precision = models.search_copy(task_lm, config.precision)
    notify(f"{len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test texts")
    train, validation = (
        Classification(
            lm=lm, examples=[r.example for r in rows], template=template, verbalizers=verbalizers,
            sharpness=config.sharpness, keep=keep,
        )
        for lm, rows, keep in ((search_lm, splits.train, True), (task_lm, splits.validation, False))
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
        splits,
        verbalizers,
        task_lm,
        policy_lm,
        optimizer,
        Cached(train),
        ValidationAccuracy(validation),
        train,
        precision,
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
        if state.get("precision") != session.precision:
            raise InputError(
                f"the run began in {state.get('precision')} and this machine would go on in {session.precision}; "
                "resume it on a machine like the first."
            )
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
                "precision": session.precision,
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
    if outcome.trials:
        best = choose(outcome.trials, len(session.splits.validation), session.policy_lm.perplexity)
        outcome = dataclasses.replace(outcome, best=best)
    session.validate.task.hold()  # as in a run that was not resumed: what is held decides what shares a batch
    notify(f"testing {outcome.best.prompt!r} on {len(session.splits.test)} texts that took no part")
    result = report(config, session, outcome, log.last_support)
    write_json(out / "result.json", result)
    write_text(out / "prompts.csv", prompts_csv(session, outcome, result))
    write_text(out / "README.md", card(config, session.verbalizers, result))
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


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
