"""One search on the command line: begun, gone on with, shown."""

import argparse
from pathlib import Path
from typing import Any

from hardprompt.cli.interrupt import INTERRUPTED, interruptible
from hardprompt.cli.show import print_result
from hardprompt.cli.streams import print_json, say, tell
from hardprompt.compare.plan import is_comparison
from hardprompt.errors import HardpromptError, InputError, RewardError, typed
from hardprompt.runs import begun, discard, read_recipe, read_result, read_yaml, start
from hardprompt.runs.folder import RUN, check_free, resume_command
from hardprompt.runs.result import combine
from hardprompt.runs.steps import read_steps
from hardprompt.search.writing import unused
from hardprompt.tasks import Recipe


def from_file(arguments: argparse.Namespace) -> int:
    """Run a configuration file."""
    path = Path(arguments.config)
    if is_comparison(read_yaml(path)):
        raise InputError(f"{str(path)!r} is a comparison; run it with: hardprompt compare {typed(path)}")
    return begin(read_recipe(path), arguments)


def begin(recipe: Recipe, arguments: argparse.Namespace) -> int:
    """Run a recipe in a new folder, or say what it would be."""
    out = Path(arguments.out) if arguments.out else unused(recipe.default_out)
    if not arguments.dry_run:
        check_free(out, "run", RUN)  # before data are read
    plan = recipe.plan()
    if not arguments.dry_run:
        recipe.check_there()
    if arguments.dry_run:
        recipe.check_models()
        first = {"out": str(out), "method": recipe.values["method"], "evaluations": recipe.values["evaluations"]}
        notes = {"notes": said} if (said := recipe.notes()) else {}
        print_json({**first, **plan, **notes}, indent=None if arguments.json else 2)
        return 0
    recipe = start(recipe, out)
    try:
        return _go(out, recipe, arguments.json)
    except RewardError:  # the reward can be mended, and the run goes on
        raise
    except HardpromptError:  # found once the models were loaded: the folder would only be in the way of the next try
        discard(out)
        raise


def finished(folder: Path) -> bool:
    """Whether nothing is left to do."""
    return read_result(folder) is not None


def resume(folder: Path, *, as_json: bool) -> int:
    """Go on with a run, to the same result."""
    return _go(folder, begun(folder), as_json)


def show(folder: Path, *, as_json: bool) -> int:
    """The result of a run, or how far it has come."""
    result = read_result(folder)
    if result is not None:
        print_result(result, as_json=as_json)
        return 0
    again = f"Continue it with: {resume_command(folder)}"
    parts = sorted(file.parent for file in folder.glob("*/run.yaml"))
    state: dict[str, Any]
    if parts:
        done = [part.name for part in parts if read_result(part) is not None]
        state = {"finished": False, "runs": [part.name for part in parts], "done": done}
        said = f"{len(done)} of the runs begun, {', '.join(state['runs'])}, are done"
    else:
        steps = read_steps(folder)
        state = {"finished": False, "steps": steps[-1]["step"] if steps else 0}
        if steps:
            state |= {k: steps[-1][k] for k in ("evaluations", "seconds", "best_reward", "validation")}
        known = {k: v for k, v in state.items() if k != "finished" and v is not None}
        short = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in known.items()}
        said = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in short.items())
    if as_json:
        print_json(state)
    else:
        tell(f"{folder} has not finished: {said}.\n{again}")
    return 0


def with_live_line(out: Path, recipe: Recipe, label: str, *, resume: Path) -> dict[str, Any] | None:
    """Run with the live line; None after a Ctrl-C, which saves and says how to go on."""
    from hardprompt.cli.live import LiveLine  # only now: torch and transformers take seconds
    from hardprompt.runs.run import execute
    from hardprompt.search.forecast import Forecast

    how = f"continue with: {resume_command(resume)}"
    forecast = Forecast()
    live = LiveLine(label, forecast)
    try:
        with interruptible(), live.shown():
            return execute(out, recipe, callbacks=(live,), forecast=forecast, notify=live.note)
    except KeyboardInterrupt:
        say(f"interrupted and saved; {how}")
        return None
    except (RewardError, OSError):
        say(f"the run stopped and is kept; {how}")
        raise


def _go(out: Path, recipe: Recipe, as_json: bool) -> int:
    runs = recipe.parts(out)
    if [folder for _, folder in runs] == [out]:
        result = with_live_line(out, recipe, recipe.values["method"], resume=out)
    else:
        result = _each(runs, out)
    if result is None:
        return INTERRUPTED
    print_result(result, as_json=as_json)
    say(f"everything is in {out}; how to use the prompt: {out / 'README.md'}")
    return 0


def _each(runs: list[tuple[Recipe, Path]], out: Path) -> dict[str, Any] | None:
    """Run what is not finished of several runs, and put their results together; None when interrupted."""
    results = {}
    for number, (recipe, folder) in enumerate(runs, 1):
        there = (folder / "run.yaml").is_file()
        result = read_result(folder) if there else None
        if result is None:
            ready = begun(folder) if there else start(recipe, folder)
            try:
                result = with_live_line(folder, ready, f"{folder.name} ({number} of {len(runs)})", resume=out)
            except InputError:
                discard(folder)
                raise
        if result is None:
            return None
        results[folder.name] = result
    return combine(out, results)
