"""The command line: parses, reports errors in one line, and keeps what was done when it is interrupted."""

import argparse
import contextlib
import errno
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hardprompt.cli.flags import Parser, add_allow_code, add_compare_flags, add_flags, given
from hardprompt.cli.interrupt import INTERRUPTED
from hardprompt.cli.streams import prepare, print_json, say
from hardprompt.errors import HardpromptError, InputError, RewardError, is_broken, unknown, without_keys
from hardprompt.search.plugins import trust, trusted

# Nothing heavy is imported up here: --help must answer at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the reward failed, 2 bad input, 130 interrupted."""
    prepare()
    before = trusted()
    trust(())  # until a command line names or allows it, no code but ours is used
    try:
        for word in sys.argv[1:] if argv is None else argv:
            if is_broken(word):
                raise InputError(f"{word!r} is not UTF-8; write it in UTF-8, or rename what it names.")
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
        if getattr(arguments, "allow_code", False):
            trust(None)
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
    finally:
        trust(before)


def _fail(message: str, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        line = re.sub(r"\s*\n\s*", " ", without_keys(message))
        say(line)
    return code


def _parser() -> tuple[argparse.ArgumentParser, dict[str, list[str]]]:
    """The parser, and the flags of each command."""
    parser = Parser(
        prog="hardprompt",
        description="Finds short, readable text prompts for a frozen language model.",
        epilog="Start with: hardprompt demo",
    )
    from hardprompt.tasks import TASKS, find
    from hardprompt.version import __version__

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

    for name in TASKS:
        settings = find(name)
        sub = command(name, _search, settings.summary)
        sub.set_defaults(settings=settings)
        add_flags(sub, settings)

    run = command("run", _of("run", "from_file"), "run a configuration file, such as the run.yaml of a run folder")
    run.add_argument("config", metavar="FILE", help="YAML file of settings")
    run.add_argument("--out", metavar="FOLDER", help="run folder")
    run.add_argument("--dry-run", action="store_true", help="check everything, load no model, write nothing")
    add_allow_code(run)
    resume = command("resume", _folder, "continue a run that was stopped, to the same result")
    resume.add_argument("folder", metavar="FOLDER", help="folder of a run, a comparison or a demonstration")
    resume.add_argument("--workers", type=int, metavar="N", help="cells of a comparison at once, on this machine")
    add_allow_code(resume)
    show = command("show", _folder, "show the result of a run, or how far it has come")
    show.add_argument("folder", metavar="FOLDER", help="folder of a run, a comparison or a demonstration")
    add_allow_code(show)
    compare = command("compare", _of("compare", "begin"), "compare methods, with tests and figures")
    add_compare_flags(compare)
    judge = command("judge", _judge, "have a vision model judge the prompts of an invert run")
    judge.add_argument("folder", metavar="FOLDER", help="run folder, or a folder of several")
    judge.add_argument("--base-url", required=True, metavar="URL", help="of an OpenAI-compatible API")
    judge.add_argument("--model", required=True, metavar="NAME", help="a model there that sees pictures")
    judge.add_argument("--repeats", type=int, default=1, metavar="N", help="questions about each prompt (1)")
    judge.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds to wait for an answer (60)")
    command("methods", _methods, "list the search methods and where their settings come from")
    command("doctor", _of("doctor", "show"), "say what is installed, what is ready, and how to make the rest so")
    flags = {
        name: [flag for flag in sub._option_string_actions if flag.startswith("--")]
        for name, sub in commands.choices.items()
    }
    return parser, flags


def _search(arguments: argparse.Namespace) -> int:
    from hardprompt.cli import run
    from hardprompt.tasks import Recipe
    from hardprompt.tasks.foreign import foreign

    settings = arguments.settings
    values = {"task": settings.task, **given(arguments, settings)}
    trust(foreign(values))  # what is typed is the user's own
    return run.begin(Recipe.of(values), arguments)


def _of(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A command's function in a module of ours that is imported when it runs."""
    return lambda arguments: int(getattr(importlib.import_module(f"hardprompt.cli.{module}"), name)(arguments))


def _demo(arguments: argparse.Namespace) -> int:
    from hardprompt.cli import demo

    return demo.play(
        Path(arguments.out), evaluations=arguments.evaluations, seed=arguments.seed, threads=arguments.threads,
        as_json=arguments.json,
    )  # fmt: skip


def _folder(arguments: argparse.Namespace) -> int:
    """Resume or show, by the module that knows folders of that kind."""
    from hardprompt.cli import compare, demo, run
    from hardprompt.runs.folder import as_written

    folder, kinds = Path(arguments.folder), {compare.PLAN: compare, demo.PLAN: demo}
    kind: Any = next((module for file, module in kinds.items() if (folder / file).is_file()), run)
    workers = getattr(arguments, "workers", None)
    if workers is not None and (kind is not compare or workers < 1):
        raise InputError(f"--workers {workers}: it is how many cells of a comparison run at once, at least 1.")
    with as_written(folder):
        finished = arguments.command == "resume" and kind.finished(folder)
    if finished:
        say(f"{folder} has finished; this is its result.")
    if finished or arguments.command == "show":
        with as_written(folder):
            return int(kind.show(folder, as_json=arguments.json))
    own = {} if workers is None else {"workers": workers}
    return int(kind.resume(folder, as_json=arguments.json, **own))


def _judge(arguments: argparse.Namespace) -> int:
    from hardprompt.cli.show import standard_output
    from hardprompt.tasks.invert import judge

    result = judge.judge_folder(
        Path(arguments.folder), model=arguments.model, base_url=arguments.base_url, repeats=arguments.repeats,
        timeout=arguments.timeout, notify=say,
    )  # fmt: skip
    if arguments.json:
        print_json(result)
    else:
        standard_output().print(judge.table(result))
    return 0


def _methods(arguments: argparse.Namespace) -> int:
    from hardprompt import optimizers
    from hardprompt.cli.show import print_methods

    found = optimizers.methods()
    if arguments.json:
        listing = {n: {"summary": m.summary, "source": m.source, "settings": m.accepted()} for n, m in found.items()}
        print_json(listing)
    else:
        print_methods(found)
    return 0
