"""The demonstration: real film reviews, a real small model, and the baselines that it has to beat."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardprompt.cli import run
from hardprompt.cli.interrupt import INTERRUPTED
from hardprompt.cli.show import print_parts
from hardprompt.cli.streams import say
from hardprompt.data.films import MANUAL, TEMPLATE, VERBALIZERS, films, write_data
from hardprompt.errors import InputError
from hardprompt.runs import begun, read_result, start
from hardprompt.runs.folder import check_links, check_version
from hardprompt.runs.result import behind
from hardprompt.search.writing import write_json
from hardprompt.tasks import Recipe
from hardprompt.tasks.classify.settings import Classify
from hardprompt.tasks.classify.table import show as show_tables
from hardprompt.tasks.settings import DEFAULT_METHOD, check_values
from hardprompt.tasks.tables import rows
from hardprompt.version import __version__

EVALUATIONS = 160  # by each of the two searches; ten minutes on two cores hold no more,
HALF_EVALUATIONS = 480  # except where they compute bfloat16 natively
PLAN = "demo.json"


def play(folder: Path, *, evaluations: int | None, seed: int, threads: int | None, as_json: bool) -> int:
    """Run the demonstration, or go on with it; returns the exit code."""
    return _play(folder, plan(folder, evaluations=evaluations, seed=seed, threads=threads), as_json)


def finished(folder: Path) -> bool:
    """Whether nothing is left to do."""
    return read_result(folder) is not None


def resume(folder: Path, *, as_json: bool) -> int:
    """Go on with what is not finished of a demonstration."""
    return _play(folder, read_plan(folder), as_json)


def show(folder: Path, *, as_json: bool) -> int:
    """The result of a demonstration, or how far it has come."""
    result = read_result(folder)
    if result is None:
        return run.show(folder, as_json=as_json)
    _print(result, as_json)
    return 0


def plan(folder: Path, *, evaluations: int | None, seed: int, threads: int | None) -> dict[str, Any]:
    """Lay out the demonstration in ``folder``, or find that the same one is already there.

    What is None is left to the machine, once: both searches have as many evaluations and threads.

    Raises:
        InputError: the folder holds something else, or a demonstration with other settings.
    """
    wanted = {"evaluations": evaluations, "seed": seed, "threads": threads}
    given = {name: value for name, value in wanted.items() if value is not None}
    check_values(Classify, given)
    if (folder / PLAN).is_file():
        found = read_plan(folder)
        if any(found[name] != value for name, value in given.items()):
            raise InputError(
                f"{str(folder)!r} holds a demonstration with other settings, {found}; name another with --out."
            )
        return found
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{str(folder)!r} exists and holds no demonstration; name another with --out.")
    from hardprompt.lms.placing import choose_threads

    films()  # before anything is written: the package may be missing
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"evaluations": _affordable(), "threads": choose_threads(), **given}
    write_json(folder / PLAN, {**settings, "version": __version__})
    return settings


def read_plan(folder: Path) -> dict[str, Any]:
    """The settings that a demonstration folder was made with.

    Raises:
        InputError: they cannot be read, or another version of the program began it.
    """
    check_links(folder)
    try:
        found: dict[str, Any] = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        check_version("demonstration", folder, found.pop("version", None), "hardprompt demo --out NAME")
        check_values(Classify, {name: found[name] for name in ("evaluations", "seed", "threads")})
    except (LookupError, AttributeError, TypeError, RecursionError, json.JSONDecodeError) as error:
        raise InputError(f"{str(folder / PLAN)!r} is damaged; make another with: hardprompt demo --out NAME") from error
    return found


def recipes(folder: Path, plan: Mapping[str, Any]) -> list[Recipe]:
    """The two runs of the demonstration: the baseline that samples and the default that learns."""
    (folder / "data").mkdir(exist_ok=True)
    paths = {name: folder / "data" / f"{name}.csv" for name in ("train", "validation", "test")}
    if not all(path.is_file() for path in paths.values()):
        write_data(folder / "data", seed=plan["seed"])
    return [recipe(paths, method=method, **plan) for method in ("best-of-n", DEFAULT_METHOD)]


def recipe(
    paths: Mapping[str, Path], *, method: str, seed: int, evaluations: int, threads: int | None = None
) -> Recipe:
    """The demonstration's task, searched by one method."""
    files = {name: str(path) for name, path in paths.items()}
    return Recipe.of({
        "task": "classify", **files, "text": "text", "label": "label", "group": "film", "verbalizers": VERBALIZERS,
        "template": TEMPLATE, "manual": MANUAL, "method": method, "seed": seed, "evaluations": evaluations,
        "threads": threads,
    })  # fmt: skip


def combine(folder: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    """One table of both runs, stored as ``result.json``: empty, manual, best of N, the default."""
    *others, last = results
    listing = [*last["baselines"], *(rows(r)[-1] for r in others), rows(last)[-1]]
    combined = {**last, "task": "demo", "baselines": listing[:-1]}
    write_json(folder / "result.json", combined)
    return combined


def _play(folder: Path, plan: Mapping[str, Any], as_json: bool) -> int:
    results, searches = [], recipes(folder, plan)
    for number, own in enumerate(searches, 1):
        out = folder / own.values["method"]
        result = read_result(out) if out.exists() else None
        if result is None:
            ready = begun(out) if (out / "run.yaml").is_file() else start(own, out)
            result = run.with_live_line(
                out, ready, f"{own.values['method']} ({number} of {len(searches)})", resume=folder
            )
        if result is None:
            return INTERRUPTED
        results.append(result)
    _print(combine(folder, results), as_json)
    card = folder / results[-1]["method"] / "README.md"
    say(f"everything is in {folder}; how to use the prompt: {card}")
    return 0


def _print(result: Mapping[str, Any], as_json: bool) -> None:
    worse = behind({**result, "task": Classify.task})
    print_parts(result, [*show_tables(result), *([worse] if worse else [])], as_json=as_json)


def _affordable() -> int:
    """As many evaluations by each search as ten minutes on two cores like these hold."""
    from hardprompt.lms.placing import device, half

    return EVALUATIONS if half(device()) is None else HALF_EVALUATIONS
