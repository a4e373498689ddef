"""A search in a folder: models, data, search, test and what is written down; killed and resumed at will."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml

from hardprompt import optimizers
from hardprompt import tasks as commands
from hardprompt.lms.placing import choose_threads
from hardprompt.tasks import Memoised
from hardprompt.tasks import Notify
from hardprompt.tasks import Work
from hardprompt.tasks.settings import Search, is_comparison, read_yaml
from hardprompt.search.engine import Progress, PromptOptimizer, Result, Reward, Step, optimize
from hardprompt.errors import InputError
from hardprompt.search.files import StateStore, write_json, write_text
from hardprompt.lms.causal import CausalLM
from hardprompt.optimizers import Method
from hardprompt.runs.outcome import judge_perplexity, prompts_csv, versions
from hardprompt.lms.models import Models
from hardprompt.lms.policy import PolicyLM
from hardprompt.cli.present import behind

Settings = TypeVar("Settings", bound=Search)


@dataclass
class Session:
    """What a run works with once models and data are loaded."""

    work: Work
    policy_lm: CausalLM
    optimizer: PromptOptimizer
    reward: Memoised
    validate: Reward | None


def start(config: Settings, out: Path) -> Settings:
    """Make the run folder and write ``run.yaml``; returns the settings with the number of threads that was chosen.

    Raises:
        InputError: the folder already holds something, or cannot be made.
    """
    if (out / "run.yaml").exists():
        raise InputError(
            f"{str(out)!r} already holds a run; continue it with: hardprompt resume {out}, or name another."
        )
    # What begins with a dot may be what a killed start left behind.
    if out.exists() and (not out.is_dir() or any(path.name[0] != "." for path in out.iterdir())):
        raise InputError(f"{str(out)!r} exists and is not an empty folder; name another with --out.")
    out.mkdir(parents=True, exist_ok=True)
    config = dataclasses.replace(config, threads=config.threads or choose_threads())
    record = {
        **config.to_dict(),
        "fingerprints": {p: _fingerprint(Path(p)) for p in config.files()},
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
    if not out.is_dir() or {path.name for path in out.iterdir()} - {"run.yaml", "steps.jsonl"}:
        return
    for name in ("run.yaml", "steps.jsonl"):
        (out / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else is in it by now
        out.rmdir()


def load_config(path: Path, *, check_data: bool = False) -> Search:
    """The settings in a YAML file or a run folder's ``run.yaml``.

    Raises:
        InputError: the file holds no settings, or (``check_data``) a data file is not what it was.
    """
    values = read_yaml(path)
    if is_comparison(values):
        raise InputError(f"{str(path)!r} is a comparison; run it with: hardprompt compare {path}")
    values.pop("versions", None)
    fingerprints = values.pop("fingerprints", None) or {}
    config = commands.find(str(values.pop("task", "classify"))).settings.from_dict(values)
    config.check()
    if check_data:
        for name, expected in fingerprints.items():
            if _fingerprint(Path(name)) != expected:
                raise InputError(
                    f"data file {name!r} has changed since the run began; a resumed run would not be the same."
                )
        new = [name for name in config.files() if fingerprints and name not in fingerprints]
        if new:
            raise InputError(f"data file {new[0]!r} was not there when the run began; start another run for it.")
    return config


def prepare(config: Search, notify: Notify = lambda _: None, models: Models | None = None) -> Session:
    """Load the models and the data, and build the task and the optimizer.

    Raises:
        InputError: anything about data, task, models or settings.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    command = commands.find(config.task)
    notify(f"loading the policy model {config.policy_model}")
    policy_lm = (models or Models()).causal(config.policy_model)
    work = command.load(config, policy_lm, notify)
    method = optimizers.find(config.method)
    settings = {**method.settings, **config.suggested.get(config.method, {}), **config.settings}
    if "top_k" not in config.settings and settings.get("top_k"):
        # A method's own k is meant for a vocabulary of 50,000; a smaller one is kept whole.
        settings["top_k"] = min(settings["top_k"], len(policy_lm.packed.head.weight))
    own: dict[str, Callable[[], Any]] = {
        "policy": lambda: _policy(config, method, work, policy_lm),
        "length": lambda: config.length,
        "seed": lambda: config.seed,
    }
    given = {thing: own[thing]() if thing in own else work.give(thing, config) for thing in method.needs}
    optimizer = method.build(**given, **settings)
    return Session(work, policy_lm, optimizer, work.reward, work.validate)


def _policy(config: Search, method: Method, work: Work, policy_lm: CausalLM) -> PolicyLM:
    imagined = work.start if method.in_place else ""
    return PolicyLM(
        policy_lm.model,
        policy_lm.tokenizer,
        start=imagined if config.start is None else config.start,
        tokens=config.alphabet,
        script=config.script,
        spaced=work.spaced,
        probed=policy_lm.packed,
    )


def execute(
    out: Path,
    config: Search,
    *,
    callbacks: Sequence[Callable[[Step], None]] = (),
    interrupted: Callable[[], bool] = lambda: False,
    notify: Notify = lambda _: None,
    models: Models | None = None,
) -> dict[str, Any] | None:
    """Run, or continue, what ``start`` laid out in ``out``; returns the result, or None when interrupted.

    Raises:
        InputError: as ``prepare``, or the checkpoint does not fit.
        RewardError: the reward broke its contract.
    """
    with alone(out):
        return _execute(out, config, callbacks, interrupted, notify, models)


def _execute(
    out: Path,
    config: Search,
    callbacks: Sequence[Callable[[Step], None]],
    interrupted: Callable[[], bool],
    notify: Notify,
    models: Models | None,
) -> dict[str, Any] | None:
    session = prepare(config, notify, models)
    store = StateStore(out / "checkpoint")
    progress = Progress()
    state = store.load()
    if state is not None:
        if state.get("precision") != session.work.precision:
            raise InputError(
                f"the run began in {state.get('precision')} and this machine would go on in {session.work.precision}; "
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
                "precision": session.work.precision,
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
        outcome = dataclasses.replace(outcome, best=session.work.choose(outcome.trials))
    notify(f"testing {session.work.shown(outcome.best.prompt)!r}")
    result = _report(config, session, outcome, log.last_support)
    session.work.write(out)
    headline = commands.find(config.task).headline
    write_text(out / "prompts.csv", prompts_csv(outcome, session.work.shown, session.reward.known, result, headline))
    write_text(out / "README.md", session.work.card(result) + _provenance(result, headline))
    write_json(out / "result.json", result)  # last: a run with a result is never run again
    return result


def _report(config: Search, session: Session, outcome: Result, support: float | None) -> dict[str, Any]:
    """Everything that ``result.json`` holds: the task's own part, and what is the same for every task."""
    distinct = session.reward.scored  # before a task asks its reward about other prompts
    part = session.work.report(outcome.best.prompt)
    shown = session.work.shown(outcome.best.prompt)
    rows = part["baselines"]
    prompts = [shown] * part.get("readable", True) + [row["prompt"] for row in rows if row["prompt"] is not None]
    perplexity, judge = judge_perplexity(list(dict.fromkeys(prompts)), config, session.policy_lm)
    return {
        "task": config.task,
        "method": config.method,
        "seed": config.seed,
        "prompt": shown,
        "evaluations": outcome.evaluations,
        "gradient_passes": outcome.passes,
        "distinct": distinct,
        "seconds": round(outcome.seconds, 1),
        "stopped": outcome.stopped,
        "support_size": support,
        "perplexity": perplexity.get(shown),
        "perplexity_by": judge,
        "validation": outcome.best.score,
        "validation_best": max((trial.score for trial in outcome.trials), default=outcome.best.score),
        "precision": session.work.precision,
        **part,
        "baselines": [{**row, "perplexity": perplexity.get(row["prompt"])} for row in rows],
        "versions": versions(),
    }


def combine(out: Path, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Several runs, by the names of their folders, as one result in the folder above them."""
    first = next(iter(results.values()))
    whole = {
        **{key: first[key] for key in ("task", "method", "seed")},
        "runs": [{"folder": name, **result} for name, result in results.items()],
        "versions": versions(),
    }
    links = "".join(f"- [{name}]({name}/README.md): {result['prompt']}\n" for name, result in results.items())
    write_text(out / "README.md", f"# {len(results)} prompts\n\n{links}")
    write_json(out / "result.json", whole)
    return whole


def _provenance(result: Mapping[str, Any], headline: Callable[[Mapping[str, Any]], float]) -> str:
    worse = behind(result, headline)
    return (
        (f"\n{worse}\n" if worse else "")
        + f"\nFound by `{result['method']}` with {result['evaluations']} evaluations, seed {result['seed']}; "
        f"every setting is in `run.yaml`, every step in `steps.jsonl`, all numbers in `result.json`.\n"
    )


@contextlib.contextmanager
def alone(out: Path, name: str = "run.yaml") -> Iterator[None]:
    """Hold a folder by its file, so that no second process continues the same; the system lets go when we end."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (out / name).open(encoding="utf-8") as stream:
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
