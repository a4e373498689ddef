"""The command line: parses, reports errors in one line, and keeps what was done when it is interrupted."""

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin, get_type_hints

from hardprompt.errors import HardpromptError, InputError, RewardError, unknown

# Nothing heavy is imported up here: --help must answer at once.
if TYPE_CHECKING:
    from hardprompt.comparison.plan import Plan
    from hardprompt.config import Search

_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """argparse, with one clear line and the nearest valid choice where it would print its usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see: {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise unknown("command" if action.dest == "command" else action.dest, str(value), map(str, action.choices))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the reward failed, 2 bad input, 130 interrupted."""
    try:
        parser, flags = _parser()
        arguments, rest = parser.parse_known_args(argv)
        if arguments.command == "compare":
            arguments.rest = rest  # the flags of the task that it names
        elif rest:
            name = rest[0].partition("=")[0]
            if name.startswith("-"):
                raise unknown(f"flag of hardprompt {arguments.command}", name, flags[arguments.command])
            raise InputError(f"{name!r} is one argument too many (see: hardprompt {arguments.command} --help).")
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except RewardError as error:
        return _fail(str(error), 1)
    except HardpromptError as error:
        return _fail(str(error), 2)
    except BrokenPipeError:  # the reader of our output has gone: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted.", _INTERRUPTED)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"no space left on the device while writing {error.filename or 'the run'}.", 2)
        return _fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), 2)


def _fail(message: str, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"hardprompt: {message}", file=sys.stderr)
    return code


def _parser() -> tuple[argparse.ArgumentParser, dict[str, list[str]]]:
    """The parser, and the flags of each command."""
    parser = _Parser(
        prog="hardprompt",
        description="Finds short, readable text prompts for a frozen language model.",
        epilog="Start with: hardprompt demo",
    )
    from hardprompt import __version__
    from hardprompt.commands import COMMANDS, find

    parser.add_argument("--version", action="version", version=f"hardprompt {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        return sub

    demo = command("demo", _demo, "learn a prompt for real film reviews with the embedded model")
    demo.add_argument("--out", default="runs/demo", metavar="FOLDER", help="where everything is kept (runs/demo)")
    demo.add_argument("--evaluations", type=int, metavar="N", help="prompts scored by each searching method")
    demo.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    demo.add_argument("--threads", type=int, metavar="N", help="CPU threads")

    for name in COMMANDS:
        entry = find(name)
        sub = command(name, _search, entry.summary)
        sub.set_defaults(settings=entry.settings)
        _add_flags(sub, entry.settings)

    run = command("run", _run, "run a configuration file, such as the run.yaml of a run folder")
    run.add_argument("config", metavar="FILE", help="YAML file of settings")
    run.add_argument("--out", metavar="FOLDER", help="run folder")
    run.add_argument("--dry-run", action="store_true", help="check everything, load no model, write nothing")
    resume = command("resume", _resume, "continue a run that was stopped, to the same result")
    resume.add_argument("folder", metavar="FOLDER", help="run folder")
    show = command("show", _show, "show the result of a run, or how far it has come")
    show.add_argument("folder", metavar="FOLDER", help="run folder")
    compare = command("compare", _compare, "compare methods, with tests and figures")
    compare.add_argument(
        "what", metavar="FILE|TASK",
        help="YAML file of a comparison, run.yaml of a search, or a task and then its own arguments",
    )  # fmt: skip
    compare.add_argument("--methods", nargs="+", metavar="NAME", help="hardprompt methods lists them")
    compare.add_argument(
        "--data", nargs="+", metavar="NAME", help="of the file's data sets, or of the papers', as sst-2"
    )
    compare.add_argument(
        "--splits", nargs="+", metavar="NAME", help="such as 16-100: 16 texts a class, drawn by seed 100"
    )
    compare.add_argument("--seeds", nargs="+", type=int, metavar="N", help="of the searches (0 1 2)")
    compare.add_argument("--models", metavar="NAME", help="which of the file's sets of models")
    compare.add_argument("--folder", metavar="FOLDER", help="where the data lie (else the papers' come from the hub)")
    compare.add_argument("--test-rows", type=int, metavar="N", help="test texts of the papers' data sets (all)")
    compare.add_argument("--reference", metavar="NAME", help="method that the others are tested against (the best)")
    compare.add_argument("--evaluations", type=int, metavar="N", help="budget of every search")
    compare.add_argument("--workers", type=int, metavar="N", help="searches side by side (as cores and memory allow)")
    compare.add_argument("--out", metavar="FOLDER", help="where everything is kept (runs/compare-FILE)")
    compare.add_argument("--dry-run", action="store_true", help="check every cell and count them, run nothing")
    judge = command("judge", _judge, "have a vision model judge the prompts of an invert run")
    judge.add_argument("folder", metavar="FOLDER", help="run folder, or a folder of several")
    judge.add_argument("--base-url", required=True, metavar="URL", help="of an OpenAI-compatible API")
    judge.add_argument("--model", required=True, metavar="NAME", help="a model there that sees pictures")
    judge.add_argument("--repeats", type=int, default=1, metavar="N", help="questions about each prompt (1)")
    judge.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds to wait for an answer (60)")
    command("methods", _methods, "list the search methods and where their settings come from")
    command("doctor", _doctor, "say what is installed, what is ready, and how to make the rest so")
    flags = {
        name: [flag for flag in sub._option_string_actions if flag.startswith("--")]
        for name, sub in commands.choices.items()
    }
    return parser, flags


def _add_flags(sub: argparse.ArgumentParser, settings: "type[Search]", *, whole: bool = True) -> None:
    """A flag for every field of the settings, and for the settings of methods that people turn.

    ``whole`` requires what a search needs, and adds what a command that runs one has.
    """
    hints = get_type_hints(settings)
    fields = dataclasses.fields(settings)
    inherited = len(dataclasses.fields(settings.__mro__[1]))
    for field in (*fields[inherited:], *fields[:inherited]):  # what the task is about comes first
        meta = field.metadata
        if not meta:
            continue
        kinds = [k for k in (get_args(hints[field.name]) or (hints[field.name],)) if k is not NoneType]
        shown = "" if field.default in (None, False, (), dataclasses.MISSING) else f" ({_typed(field.default)})"
        options: dict[str, Any] = {"help": (meta["help"] + shown).replace("%", "%%"), "default": argparse.SUPPRESS}
        if get_origin(hints[field.name]) in (tuple, Mapping):
            options |= {"nargs": "+"} if meta["positional"] else {"action": "append"}
        elif kinds == [bool]:
            options["action"] = "store_true"
        elif kinds[0] in (int, float):
            options["type"] = kinds[0]
        if meta["metavar"]:
            options["metavar"] = meta["metavar"]
        if meta["positional"]:
            some = {} if whole else {"nargs": "*" if "nargs" in options else "?"}
            sub.add_argument(field.name, **{"metavar": field.name.upper(), **options, "default": None, **some})
            continue
        required = whole and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        flag = "--" + (meta["flag"] or field.name).replace("_", "-")
        sub.add_argument(flag, dest=field.name, required=required, **options)
    sub.add_argument("--q", type=float, help="entropic index: 1 softmax, 2 sparsemax")
    sub.add_argument("--alpha", type=float, help="temperature; the reward scale is 1/alpha")
    sub.add_argument("--prior", type=float, metavar="BETA", help="weight of the language model's log-probability")
    sub.add_argument("--top-k", type=int, metavar="K", help="tokens that the policy model may choose among")
    if not whole:
        return
    sub.add_argument("--out", metavar="FOLDER", help="run folder (runs/COMMAND-METHOD-SEED)")
    sub.add_argument("--dry-run", action="store_true", help="check everything, load no model, write nothing")


def _typed(value: Any) -> str:
    """A default as a person would type it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and not value.isprintable() else str(value)


def _search(arguments: argparse.Namespace) -> int:
    config = arguments.settings.from_dict(_given(arguments, arguments.settings))
    config.check()
    return _begin(config, arguments)


def _given(arguments: argparse.Namespace, settings: "type[Search]") -> dict[str, Any]:
    """The settings that were typed."""
    fields = {field.name: field for field in dataclasses.fields(settings)}
    hints = get_type_hints(settings)
    values = {k: v for k, v in vars(arguments).items() if k in fields and fields[k].metadata}
    for name, value in values.items():
        if get_origin(hints[name]) is Mapping:
            values[name] = _pairs(value)
    turned = {name: getattr(arguments, name) for name in ("q", "alpha", "prior", "top_k")}
    return {**values, "settings": {k: v for k, v in turned.items() if v is not None}}


def _pairs(given: Sequence[str]) -> dict[str, str]:
    """Verbalizers as they are typed."""
    verbalizers: dict[str, str] = {}
    for pair in given:
        label, equals, word = pair.rpartition("=")
        if not equals or not label or not word:
            raise InputError(f"verbalizer {pair!r} is not LABEL=WORD, such as positive=great.")
        if label in verbalizers:
            raise InputError(f"class {label!r} is given two verbalizers; give it one.")
        # The space at a word's beginning belongs to the word; typing it is easily forgotten.
        verbalizers[label] = word if word[0].isspace() else f" {word}"
    return verbalizers


def _run(arguments: argparse.Namespace) -> int:
    from hardprompt.run import load_config

    return _begin(load_config(Path(arguments.config)), arguments)


def _begin(config: "Search", arguments: argparse.Namespace) -> int:
    from hardprompt import commands, run

    plan = commands.find(config.task).plan(config)
    out = Path(arguments.out) if arguments.out else _free(Path(config.default_out()))
    if arguments.dry_run:
        first = {"out": str(out), "method": config.method, "evaluations": config.evaluations}
        print(json.dumps({**first, **plan}, ensure_ascii=False, indent=None if arguments.json else 2))
        return 0
    config = run.start(config, out)
    try:
        return _go(out, config, arguments.json)
    except RewardError:  # the reward can be mended, and the run goes on
        raise
    except HardpromptError:  # found once the models were loaded: the folder would only be in the way of the next try
        run.discard(out)
        raise


def _free(out: Path) -> Path:
    """``out``, or the first of ``out-2``, ``out-3`` that is not there: only a named folder may be in the way."""
    number = 1
    while (found := out if number == 1 else out.with_name(f"{out.name}-{number}")).exists():
        number += 1
    return found


def _resume(arguments: argparse.Namespace) -> int:
    from hardprompt import present, run

    folder = Path(arguments.folder)
    if (folder / "compare.yaml").is_file():
        from hardprompt.comparison import folder as comparisons

        return _compare_in(folder, comparisons.load(folder), arguments.json)
    if (folder / "demo.json").is_file():
        from hardprompt import demo

        return _play_demo(folder, demo.read_plan(folder), arguments.json)
    finished = present.read_result(folder)
    if finished is not None:
        print(f"hardprompt: {folder} has finished; this is its result.", file=sys.stderr)
        return _print(finished, arguments.json)
    return _go(folder, run.load_config(folder / "run.yaml", check_data=True), arguments.json)


def _compare(arguments: argparse.Namespace) -> int:
    from hardprompt import commands
    from hardprompt.comparison import folder as comparisons
    from hardprompt.comparison.cells import affordable
    from hardprompt.comparison.plan import Plan

    if arguments.what in commands.COMMANDS:
        plan = comparisons.of_search(arguments.what, _typed_task(arguments.what, arguments.rest))
    elif not Path(arguments.what).is_file():
        raise unknown("task, or file that is not there:", arguments.what, commands.COMMANDS)
    elif arguments.rest:
        raise InputError(f"{arguments.rest[0]!r} is unknown here (see: hardprompt compare --help).")
    else:
        plan = Plan.read(Path(arguments.what))
    settings = {} if arguments.evaluations is None else {"evaluations": arguments.evaluations}
    if arguments.folder is not None and not Path(arguments.folder).is_dir():
        raise InputError(f"data folder {arguments.folder!r} does not exist.")
    for name in ("workers", "test_rows"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise InputError(f"{name} is {getattr(arguments, name)}; it must be at least 1.")
    plan = plan.narrowed(
        methods=arguments.methods, data=arguments.data, splits=arguments.splits, seeds=arguments.seeds,
        settings=settings, model=arguments.models, folder=arguments.folder, test=arguments.test_rows,
        workers=arguments.workers,
        reference=arguments.reference,
    )  # fmt: skip
    out = Path(arguments.out) if arguments.out else _free(Path(f"runs/compare-{Path(arguments.what).stem}"))
    with tempfile.TemporaryDirectory() as scratch:  # named data are written to be checked; nothing is left of a mistake
        cells = plan.cells(Path(scratch))
    if arguments.dry_run:
        said = {
            "out": str(out), "cells": len(cells), "evaluations_at_most": sum(c.config.evaluations for c in cells),
            "workers": arguments.workers or affordable(), "note": plan.note(),
            "methods": list(plan.methods), "data": list(plan.data), "splits": list(plan.splits),
            "seeds": list(plan.seeds),
        }  # fmt: skip
        print(json.dumps(said, ensure_ascii=False, indent=None if arguments.json else 2))
        return 0
    comparisons.start(plan, out)
    return _compare_in(out, plan, arguments.json)


def _typed_task(task: str, rest: Sequence[str]) -> dict[str, Any]:
    """The settings of a task whose arguments follow those of ``compare``."""
    from hardprompt.commands import find

    settings = find(task).settings
    parser = _Parser(prog=f"hardprompt compare {task}", allow_abbrev=False)
    _add_flags(parser, settings, whole=False)
    arguments, unknown_ones = parser.parse_known_args(rest)
    if unknown_ones:
        raise unknown(f"flag of hardprompt compare {task}", unknown_ones[0], parser._option_string_actions)
    for name in ("method", "seed"):
        if hasattr(arguments, name):
            raise InputError(f"--{name} is of a single search; compare takes --{name}s.")
    return {name: value for name, value in _given(arguments, settings).items() if value is not None}


def _compare_in(out: Path, plan: "Plan", as_json: bool) -> int:
    """Run what is not finished of a comparison and put the whole together."""
    from hardprompt import run
    from hardprompt.comparison import cells as parts
    from hardprompt.comparison import folder, report
    from hardprompt.present import CountLine

    again = f"hardprompt resume {shlex.quote(str(out))}"
    with run.alone(out, folder.FILE):
        cells = plan.cells(out)
        waiting = parts.unfinished(cells)
        line = CountLine("compare", "cells", done=len(cells) - len(waiting), total=len(cells))
        try:
            with _finishing() as asked, line.shown():
                for cell, error in parts.run_cells(
                    waiting, workers=plan.workers or parts.affordable(), interrupted=asked
                ):
                    line(cell.folder.name, error)
                stopped = asked()
        except KeyboardInterrupt:
            print(f"hardprompt: interrupted; continue with: {again}", file=sys.stderr)
            return _INTERRUPTED
        if stopped:
            print(f"hardprompt: interrupted and saved; continue with: {again}", file=sys.stderr)
            return _INTERRUPTED
        try:
            result = report.write(plan, cells, out)
        except RewardError:
            print(f"hardprompt: the comparison is kept; try again with: {again}", file=sys.stderr)
            raise
    code = _print(result, as_json)
    failed = result["cells"]["failed"]
    if failed:
        print(f"hardprompt: {len(failed)} of {len(cells)} cells failed; try them again with: {again}", file=sys.stderr)
    print(f"hardprompt: everything is in {out}: README.md, table.csv, table.tex, the figures", file=sys.stderr)
    return 1 if failed else code


def _go(out: Path, config: "Search", as_json: bool) -> int:
    from hardprompt import commands

    parts = commands.find(config.task).parts
    runs = parts(config, out) if parts else [(config, out)]
    if [folder for _, folder in runs] == [out]:
        result = _execute(out, config, config.method, resume=out)
    else:
        result = _each(runs, out)
    if result is None:
        return _INTERRUPTED
    code = _print(result, as_json)
    print(f"hardprompt: everything is in {out}; how to use the prompt: {out / 'README.md'}", file=sys.stderr)
    return code


def _each(runs: "Sequence[tuple[Search, Path]]", out: Path) -> dict[str, Any] | None:
    """Run what is not finished of several runs, and put their results together; None when interrupted."""
    from hardprompt import present, run

    results = {}
    for number, (config, folder) in enumerate(runs, 1):
        begun = (folder / "run.yaml").is_file()
        result = present.read_result(folder) if begun else None
        if result is None:
            if not begun:
                run.start(config, folder)
            try:
                result = _execute(folder, config, f"{folder.name} ({number} of {len(runs)})", resume=out)
            except InputError:
                run.discard(folder)
                raise
        if result is None:
            return None
        results[folder.name] = result
    return run.combine(out, results)


def _execute(out: Path, config: "Search", label: str, *, resume: Path) -> dict[str, Any] | None:
    """Run with the live line; Ctrl-C finishes the step, saves and says how to go on."""
    from hardprompt import run
    from hardprompt.present import LiveLine

    how = f"continue with: hardprompt resume {shlex.quote(str(resume))}"
    live = LiveLine(label)
    try:
        with _finishing() as asked, live.shown():
            result = run.execute(out, config, callbacks=(live,), interrupted=asked, notify=live.note)
    except KeyboardInterrupt:
        print(f"hardprompt: interrupted; {how}", file=sys.stderr)
        return None
    except (RewardError, OSError):
        print(f"hardprompt: the run stopped and is kept; {how}", file=sys.stderr)
        raise
    if result is None:
        print(f"hardprompt: interrupted and saved; {how}", file=sys.stderr)
    return result


@contextlib.contextmanager
def _finishing() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a question that the engine asks after each step; the second stops at once."""
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("\nhardprompt: finishing this step (Ctrl-C again stops at once)", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _demo(arguments: argparse.Namespace) -> int:
    from hardprompt import demo

    folder = Path(arguments.out)
    plan = demo.plan(folder, evaluations=arguments.evaluations, seed=arguments.seed, threads=arguments.threads)
    return _play_demo(folder, plan, arguments.json)


def _play_demo(folder: Path, plan: dict[str, Any], as_json: bool) -> int:
    from hardprompt import demo, present

    results = []
    for config in demo.configs(folder, plan):
        out = folder / config.method
        result = present.read_result(out) if out.exists() else None
        if result is None:
            result = _execute(out, demo.begin(config, out), config.method, resume=folder)
        if result is None:
            return _INTERRUPTED
        results.append(result)
    code = _print(demo.combine(folder, results), as_json)
    card = folder / results[-1]["method"] / "README.md"
    print(f"hardprompt: everything is in {folder}; how to use the prompt: {card}", file=sys.stderr)
    return code


def _show(arguments: argparse.Namespace) -> int:
    from hardprompt import present

    folder = Path(arguments.folder)
    result = present.read_result(folder)
    if result is not None:
        return _print(result, arguments.json)
    if (folder / "compare.yaml").is_file():
        return _show_comparison(folder, arguments.json)
    parts = sorted(file.parent for file in folder.glob("*/run.yaml"))
    if parts:
        done = [part.name for part in parts if present.read_result(part) is not None]
        if arguments.json:
            print(json.dumps({"finished": False, "runs": [part.name for part in parts], "done": done}))
        else:
            print(f"{folder} has not finished: {len(done)} of the runs begun, {', '.join(p.name for p in parts)}, are "
                  f"done.\nContinue it with: hardprompt resume {shlex.quote(str(folder))}")  # fmt: skip
        return 0
    last = present.last_step(folder)
    state: dict[str, Any] = {"finished": False, "steps": last["step"] if last else 0}
    if last:
        state |= {k: last[k] for k in ("evaluations", "seconds", "best_reward", "validation")}
    if arguments.json:
        print(json.dumps(state))
    else:
        details = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in state.items() if k != "finished")
        print(f"{folder} has not finished: {details}.\nContinue it with: hardprompt resume {folder}")
    return 0


def _show_comparison(folder: Path, as_json: bool) -> int:
    """How far a comparison has come."""
    from hardprompt.comparison import cells as parts
    from hardprompt.comparison import folder as comparisons

    cells = comparisons.load(folder).cells(folder)
    done = len(cells) - len(parts.unfinished(cells))
    failed = {cell.folder.name: error for cell in cells if (error := parts.failure(cell)) is not None}
    if as_json:
        print(json.dumps({"finished": False, "cells": {"finished": done, "failed": failed, "of": len(cells)}}))
        return 0
    print(f"{folder} has not finished: {done} of {len(cells)} cells are done, {len(failed)} failed.")
    for name, error in failed.items():
        print(f"{name} failed: {error}")
    print(f"Continue it with: hardprompt resume {shlex.quote(str(folder))}")
    return 0


def _print(result: dict[str, Any], as_json: bool) -> int:
    from hardprompt import present

    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        present.print_result(result)
    return 0


def _judge(arguments: argparse.Namespace) -> int:
    from hardprompt import judge, present

    result = judge.judge_folder(
        Path(arguments.folder), model=arguments.model, base_url=arguments.base_url, repeats=arguments.repeats,
        timeout=arguments.timeout, notify=lambda line: print(f"hardprompt: {line}", file=sys.stderr),
    )  # fmt: skip
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        present.standard_output().print(judge.table(result))
    return 0


def _methods(arguments: argparse.Namespace) -> int:
    from hardprompt import optimizers, present

    found = optimizers.methods()
    if arguments.json:
        listing = {n: {"summary": m.summary, "source": m.source, "settings": m.accepted()} for n, m in found.items()}
        print(json.dumps(listing))
    else:
        present.print_methods(found)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from hardprompt import doctor

    return doctor.show(as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
