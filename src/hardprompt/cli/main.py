"""The command line: parses, reports errors in one line, and keeps what was done when it is interrupted."""

import argparse
import contextlib
import errno
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.cli import compare as comparison
from hardprompt.cli.flags import Parser, add_flags, given
from hardprompt.cli.interrupt import INTERRUPTED, finishing
from hardprompt.errors import HardpromptError, InputError, RewardError, unknown

# Nothing heavy is imported up here: --help must answer at once.
if TYPE_CHECKING:
    from hardprompt.tasks.settings import Search


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the reward failed, 2 bad input, 130 interrupted."""
    try:
        parser, flags = _parser()
        arguments, rest = parser.parse_known_args(argv)
        if arguments.command == "compare":
            arguments.rest = rest  # the flags of the task that it names
        elif rest:
            name = rest[0].partition("=")[0]
            if name in flags[arguments.command]:  # it stood before the command
                raise InputError(f"{name} comes after the command: hardprompt {arguments.command} {name}")
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
        return _fail("interrupted.", INTERRUPTED)
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
    parser = Parser(
        prog="hardprompt",
        description="Finds short, readable text prompts for a frozen language model.",
        epilog="Start with: hardprompt demo",
    )
    from hardprompt import __version__
    from hardprompt.tasks import COMMANDS, find

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
        add_flags(sub, entry.settings)

    run = command("run", _run, "run a configuration file, such as the run.yaml of a run folder")
    run.add_argument("config", metavar="FILE", help="YAML file of settings")
    run.add_argument("--out", metavar="FOLDER", help="run folder")
    run.add_argument("--dry-run", action="store_true", help="check everything, load no model, write nothing")
    resume = command("resume", _resume, "continue a run that was stopped, to the same result")
    resume.add_argument("folder", metavar="FOLDER", help="run folder")
    show = command("show", _show, "show the result of a run, or how far it has come")
    show.add_argument("folder", metavar="FOLDER", help="run folder")
    compare = command("compare", comparison.compare, "compare methods, with tests and figures")
    comparison.add_flags(compare)
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


def _search(arguments: argparse.Namespace) -> int:
    config = arguments.settings.from_dict(given(arguments, arguments.settings))
    config.check()
    return _begin(config, arguments)


def _run(arguments: argparse.Namespace) -> int:
    from hardprompt.runs.run import load_config

    return _begin(load_config(Path(arguments.config)), arguments)


def _begin(config: "Search", arguments: argparse.Namespace) -> int:
    from hardprompt import tasks as commands
    from hardprompt.runs import run
    from hardprompt.search import files

    plan = commands.find(config.task).plan(config)
    out = Path(arguments.out) if arguments.out else files.unused(Path(config.default_out()))
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


def _resume(arguments: argparse.Namespace) -> int:
    from hardprompt.cli import present
    from hardprompt.runs import run

    folder = Path(arguments.folder)
    if (folder / "compare.yaml").is_file():
        return comparison.resume(folder, as_json=arguments.json)
    if (folder / "demo.json").is_file():
        from hardprompt.cli import demo

        return _play_demo(folder, demo.read_plan(folder), arguments.json)
    finished = present.read_result(folder)
    if finished is not None:
        print(f"hardprompt: {folder} has finished; this is its result.", file=sys.stderr)
        present.print_result(finished, as_json=arguments.json)
        return 0
    return _go(folder, run.load_config(folder / "run.yaml", check_data=True), arguments.json)


def _go(out: Path, config: "Search", as_json: bool) -> int:
    from hardprompt import tasks as commands
    from hardprompt.cli import present

    parts = commands.find(config.task).parts
    runs = parts(config, out) if parts else [(config, out)]
    if [folder for _, folder in runs] == [out]:
        result = _execute(out, config, config.method, resume=out)
    else:
        result = _each(runs, out)
    if result is None:
        return INTERRUPTED
    present.print_result(result, as_json=as_json)
    print(f"hardprompt: everything is in {out}; how to use the prompt: {out / 'README.md'}", file=sys.stderr)
    return 0


def _each(runs: "Sequence[tuple[Search, Path]]", out: Path) -> dict[str, Any] | None:
    """Run what is not finished of several runs, and put their results together; None when interrupted."""
    from hardprompt.cli import present
    from hardprompt.runs import run

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
    from hardprompt.cli.present import LiveLine
    from hardprompt.runs import run

    how = f"continue with: hardprompt resume {shlex.quote(str(resume))}"
    live = LiveLine(label)
    try:
        with finishing() as asked, live.shown():
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


def _demo(arguments: argparse.Namespace) -> int:
    from hardprompt.cli import demo

    folder = Path(arguments.out)
    plan = demo.plan(folder, evaluations=arguments.evaluations, seed=arguments.seed, threads=arguments.threads)
    return _play_demo(folder, plan, arguments.json)


def _play_demo(folder: Path, plan: dict[str, Any], as_json: bool) -> int:
    from hardprompt.cli import demo, present

    results = []
    for config in demo.configs(folder, plan):
        out = folder / config.method
        result = present.read_result(out) if out.exists() else None
        if result is None:
            result = _execute(out, demo.begin(config, out), config.method, resume=folder)
        if result is None:
            return INTERRUPTED
        results.append(result)
    present.print_result(demo.combine(folder, results), as_json=as_json)
    card = folder / results[-1]["method"] / "README.md"
    print(f"hardprompt: everything is in {folder}; how to use the prompt: {card}", file=sys.stderr)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from hardprompt.cli import present

    folder = Path(arguments.folder)
    result = present.read_result(folder)
    if result is not None:
        present.print_result(result, as_json=arguments.json)
        return 0
    if (folder / "compare.yaml").is_file():
        return comparison.show(folder, as_json=arguments.json)
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


def _judge(arguments: argparse.Namespace) -> int:
    from hardprompt.cli import present
    from hardprompt.tasks.invert import judge

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
    from hardprompt import optimizers
    from hardprompt.cli import present

    found = optimizers.methods()
    if arguments.json:
        listing = {n: {"summary": m.summary, "source": m.source, "settings": m.accepted()} for n, m in found.items()}
        print(json.dumps(listing))
    else:
        present.print_methods(found)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from hardprompt.cli import doctor

    return doctor.show(as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
