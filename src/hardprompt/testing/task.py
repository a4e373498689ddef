"""What every task promises a search: a reward that resumes, what a method needs, a choice, a report."""

import json
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hardprompt.errors import InputError
from hardprompt.optimizers import Need
from hardprompt.optimizers.fixed import Examples
from hardprompt.optimizers.gradient.objective import Objective
from hardprompt.search.engine import Trial
from hardprompt.search.forecast import Stages
from hardprompt.search.rewards import Memoised, Reward
from hardprompt.tasks.protocol import Staged, Task
from hardprompt.testing.comparing import check_all, stored
from hardprompt.testing.reward import PROMPTS, is_finite, keeps_no_company

_KINDS: Mapping[Need, type] = {
    Need.MANUAL: str,
    Need.INSTRUCTION: str,
    Need.PHRASE: str,
    Need.EXAMPLES: Examples,
    Need.OBJECTIVE: Objective,
}


@dataclass(frozen=True, kw_only=True)
class TaskCase:
    """A task to be checked.

    Args:
        build: loads the task anew.
        lacks: what it has not for a method that needs it.
        figure: key of its headline in ``report()["test"]``.
        prompts: at least four different ones that it can score.
        script: of the words of its prompts.
    """

    build: Callable[[], Task]
    lacks: Collection[Need] = ()
    figure: str | None = None
    prompts: Sequence[str] = PROMPTS
    script: str = "latin"


def is_a_task(case: TaskCase) -> None:
    """It has the members of the protocol, each of its kind."""
    task = case.build()
    assert isinstance(task, Task), f"{type(task).__name__} is no Task; see hardprompt.tasks.protocol for its members."
    for name, value, kind in (
        ("start", task.start, str), ("spaced", task.spaced, bool), ("leads", task.leads, bool),
        ("precision", task.precision, str), ("reward", task.reward, Memoised),
    ):  # fmt: skip
        assert isinstance(value, kind), f"{name} is a {type(value).__name__}; a {kind.__name__} was expected."


def gives_what_it_does_not_lack(case: TaskCase) -> None:
    """Every need that the settings do not lack is supplied, in the kind that the methods take."""
    task = case.build()
    for need, kind in _KINDS.items():
        if need not in case.lacks:
            try:
                given = task.give(need, tokens="words", script=case.script)
            except InputError as error:
                raise AssertionError(
                    f"give({need.name}) raised: {error}; give it, or say that it is lacked."
                ) from error
            assert isinstance(given, kind), (
                f"give({need.name}) returned a {type(given).__name__}; {kind.__name__} was expected, or {need.name} "
                "among what the task lacks."
            )


def rewards_are_finite(case: TaskCase) -> None:
    """The reward and the validation give a finite number for each prompt; validation keeps no company."""
    task = case.build()
    is_finite(lambda: task.reward, case.prompts)
    validate: Reward | None = task.validate
    if validate is not None:
        is_finite(lambda: validate, case.prompts)
        keeps_no_company(lambda: validate, case.prompts)


def reward_remembers_and_resumes(case: TaskCase) -> None:
    """What was scored is known; from a saved state the reward goes on exactly, and asks for nothing twice."""
    first, *more = list(case.prompts)
    task, other = case.build(), case.build()
    assert task.reward.recall(first) is None, f"recall({first!r}) knows a prompt that was never scored."
    task.reward([first, first])
    assert task.reward.scored == 1, f"a prompt that is asked for twice was scored {task.reward.scored} times."
    assert task.reward.recall(first) is not None, f"recall({first!r}) has forgotten what was just scored."
    other.reward.load_state_dict(stored(task.reward.state_dict()))
    assert other.reward.recall(first) == task.reward.recall(first), "recall() differs after a resume."
    went_on, resumed = (t.reward([*more, first]) for t in (task, other))
    assert torch.equal(went_on, resumed), f"a resumed reward gives {resumed.tolist()}, not {went_on.tolist()}."
    counts = [(t.reward.hits, t.reward.scored) for t in (task, other)]
    assert counts[0] == counts[1], f"hits and scored are {counts[1]} after a resume, not {counts[0]}."


def chooses_a_trial(case: TaskCase) -> None:
    """``choose`` returns one of the trials, whatever their scores and perplexities."""
    task = case.build()
    perplexities: Sequence[Callable[[Sequence[str]], torch.Tensor]] = (
        lambda texts: torch.tensor([float(len(t)) for t in texts]),
        lambda texts: torch.full((len(texts),), torch.nan),
    )
    for scores in ([0.5] * len(case.prompts), [0.1 * i for i in range(len(case.prompts))], [0.5]):
        trials = [Trial(1, prompt, score) for prompt, score in zip(case.prompts, scores, strict=False)]
        for perplexity in perplexities:
            chosen = task.choose(trials, perplexity)
            assert chosen in trials, f"choose() returned {chosen}, which is none of the trials."


def reports_as_json(case: TaskCase) -> None:
    """``report`` has what ``result.json`` needs, and card and files can be made of it."""
    task = case.build()
    prompt = case.prompts[0]
    task.reward([prompt])
    shown = task.shown(prompt)
    assert isinstance(shown, str), f"shown() returned a {type(shown).__name__}; a string was expected."
    report = task.report(prompt)
    json.dumps(report, allow_nan=False)
    assert isinstance(report.get("test"), Mapping), "report() has no object 'test'."
    assert isinstance(report.get("baselines"), list), "report() has no list 'baselines'."
    for row in report["baselines"]:
        missing = {"name", "prompt", "test", "evaluations"} - set(row)
        assert not missing, f"a baseline of report() has no {', '.join(sorted(missing))}."
    for name, test in (("report()", report["test"]), *((r["name"], r["test"]) for r in report["baselines"])):
        assert case.figure is None or case.figure in test, f"the test of {name} has no {case.figure!r}."
    assert isinstance(task.card({**report, "prompt": shown}), str), "card() returned no string."
    with tempfile.TemporaryDirectory() as folder:
        task.write(Path(folder))


def goes_on_where_it_was_stopped(case: TaskCase) -> None:
    """A validation and a report that were made once are taken up by another process, and are the same."""
    if not isinstance(case.build(), Staged):
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            task = case.build()
            assert isinstance(task, Staged)
            assert task.stages is None or isinstance(task.stages, Stages), "stages is neither None nor Stages."
            task.work.keep_in(Path(folder) / "partial")
            validate: Reward | None = task.validate
            scores = None if validate is None else torch.as_tensor(validate(list(case.prompts))).tolist()
            found.append((scores, json.dumps(task.report(case.prompts[0]))))
            task.work.save()
    assert found[0] == found[1], f"a run that goes on finds {found[1]}, not {found[0]}."


TASK_CHECKS: Sequence[Callable[[TaskCase], None]] = (
    is_a_task,
    gives_what_it_does_not_lack,
    rewards_are_finite,
    reward_remembers_and_resumes,
    chooses_a_trial,
    reports_as_json,
    goes_on_where_it_was_stopped,
)


def check_task(case: TaskCase) -> None:
    """Hold a task to all of its promises; an AssertionError says which it breaks."""
    check_all(TASK_CHECKS, case)
