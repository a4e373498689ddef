"""Judges prompts found for images: a vision model behind an API marks how relevant and how readable each is."""

import functools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any

import yaml
from rich.table import Table

from hardprompt.errors import InputError, typed
from hardprompt.lms.api import client_of, open_address
from hardprompt.search.writing import write_json
from hardprompt.tasks import tables
from hardprompt.tasks.invert.question import MARKS, TEMPLATE, ask, parse, question
from hardprompt.tasks.places import HOME, PRINTS, found

_OUTCOMES = ("answered", "refused", "nonsense", "failed")
_PENDING = "pending"
_GIVE_UP = 3  # questions in a row that nothing answers before the address is taken to be wrong


def judge(
    pairs: Sequence[tuple[str, Sequence[Path]]],
    *,
    model: str,
    base_url: str,
    key: str | None = None,
    repeats: int = 1,
    timeout: float = 60.0,
    retries: int = 3,
    notify: Callable[[str], None] = lambda _: None,
    known: Sequence[Mapping[str, Any]] = (),
    places: Mapping[str, str] = MappingProxyType({}),
    save: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Ask a vision model to mark each prompt's relevance and interpretability for its images, from 1 to 5.

    An answer that is not exactly what was asked for is counted as ``refused`` or ``nonsense``, a question that no try
    got through as ``failed``; no mark is ever guessed. A mean is over the prompts that have a mark, each prompt's being
    the mean of its repeats; its standard error is None for fewer than two prompts.

    Args:
        pairs: each prompt, in full, with the images that it was found for.
        model: name of the model, as the server knows it.
        base_url: address of an OpenAI-compatible API; a ``user:password@`` in it is sent and never shown.
        key: the API's key; the environment variable OPENAI_API_KEY without it.
        repeats: how often each prompt is asked about, at least 1.
        timeout: seconds that the server may be silent.
        retries: further tries after a timeout, a lost connection or a server's passing error, 0 or more.
        notify: is told a line after each question.
        known: ``answers`` of an earlier result, whose answered ones are not asked again.
        places: where an image lies now, by what it is called in ``pairs``, if not there.
        save: is handed the result so far after each question, from the first on that the server answered.

    Returns:
        ``model``, ``base_url``, ``template``, ``repeats``, the counts ``asked``, ``answered``, ``refused``,
        ``nonsense`` and ``failed``, for ``relevance`` and ``interpretability`` an object of ``mean``,
        ``standard_error`` and ``n``, and ``answers``: an object per question with ``prompt``, ``images``,
        ``relevance``, ``interpretability`` and ``outcome`` (``pending`` in what ``save`` gets, if still to be asked).

    Raises:
        InputError: a setting or an image cannot be used, nothing answers at ``base_url``, or the server turns the
            question itself down (a wrong key or model, say).
        MissingExtra: the package openai, or Pillow, is not installed.

    Source: Choi et al., 2024 (PIN), section 5.3 and appendix D.4; the wording is ours.
    """
    _check(pairs, places, model, repeats, timeout, retries)
    address = open_address(base_url, key)
    answers = _agenda(pairs, repeats, known)
    result = functools.partial(_result, answers, model, address.url, repeats)
    todo = [i for i, answer in enumerate(answers) if answer["outcome"] == _PENDING]
    if not todo:
        return result()
    heard = False
    with client_of(address, timeout, retries) as client:
        for done, i in enumerate(todo, 1):
            prompt, images = pairs[i // repeats]
            there = [Path(places.get(str(image), image)) for image in images]
            reply = ask(client, model, question(prompt, there), address)
            heard = heard or not reply.silent
            if not heard and done >= min(_GIVE_UP, len(todo)):
                raise InputError(
                    f"nothing answers at {address.url} ({reply.said}); start the server there, or give another "
                    "--base-url, such as http://localhost:8000/v1."
                )
            answers[i] |= {"outcome": reply.outcome, **dict(zip(MARKS, reply.marks or (None, None), strict=True))}
            notify(f"asked {done} of {len(todo)}: {reply.outcome}{': ' if reply.said else ''}{reply.said}")
            if heard:
                save(result())
    return result()


def judge_folder(folder: Path, *, model: str, base_url: str, repeats: int = 1, **asking: Any) -> dict[str, Any]:
    """Judge the prompt of an image run, or of every run in a folder of runs, and keep the result as ``judge.json``.

    The file is written after each answer. Where it holds answers of the same model already, only what they lack is
    asked; they may come from another address. ``folder`` is a run folder or a folder of run folders, and all else is as
    in ``judge``. The images of a run that was moved with them are found as ``resume`` finds them.

    Raises:
        InputError: as ``judge``; or there is no run, one of another task, one that has not finished, an image that is
            gone or another, or a ``judge.json`` with answers of another model.
        MissingExtra: as ``judge``.
    """
    pairs: list[tuple[str, list[Path]]] = []
    places: dict[str, str] = {}
    for run in _runs(folder):
        own = list(_pairs(run))
        places |= _places(run, [str(image) for _, images in own for image in images])
        pairs += own
    path = folder / "judge.json"
    known, before = _earlier(path, model)
    repeats = max(repeats, before)  # answers are paid for: asking with fewer repeats than before keeps them all
    save = functools.partial(write_json, path)
    result = judge(
        pairs, model=model, base_url=base_url, repeats=repeats, known=known, places=places, save=save, **asking
    )  # fmt: skip
    write_json(path, result)
    return result


def table(result: Mapping[str, Any]) -> Table:
    """A row per prompt with its marks, then the means ± standard error and what was not answered."""
    shown = tables.table(f"Marks from 1 (worst) to 5 (best) by {result['model']}", ["prompt"], [])
    for name in MARKS:
        shown.add_column(name, justify="right")
    shown.add_column("outcome")
    for group in _by_prompt(result["answers"], result["repeats"]):
        marks = [f"{fmean(values):.3g}" if (values := _values(group, name)) else "-" for name in MARKS]
        counts = Counter(answer["outcome"] for answer in group)
        outcome = group[0]["outcome"] if len(group) == 1 else ", ".join(f"{n} {name}" for name, n in counts.items())
        shown.add_row(json.dumps(group[0]["prompt"], ensure_ascii=False), *marks, outcome)
    shown.add_section()
    outcomes = ", ".join(f"{result[name]} {name}" for name in _OUTCOMES)
    shown.add_row("mean ± standard error", *(_mean(result[name]) for name in MARKS), outcomes)
    return shown


def _check(
    pairs: Sequence[tuple[str, Sequence[Path]]],
    places: Mapping[str, str],
    model: str,
    repeats: int,
    timeout: float,
    retries: int,
) -> None:
    if not model.strip():
        raise InputError("the model's name is empty; give --model the name by which the server knows it.")
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; ask at least once.")
    if retries < 0:
        raise InputError(f"retries is {retries}; give 0 or more.")
    if not (math.isfinite(timeout) and timeout > 0):
        raise InputError(f"timeout is {timeout}; give a number of seconds above 0.")
    if not pairs:
        raise InputError("there is no prompt to judge; give at least one with its images.")
    for prompt, images in pairs:
        if not images:
            raise InputError(f"the prompt {prompt!r} comes without an image; give at least one.")
        for image in images:
            if not Path(places.get(str(image), image)).is_file():
                raise InputError(f"the image {str(image)!r} of the prompt {prompt!r} is gone; put it back.")


def _agenda(
    pairs: Sequence[tuple[str, Sequence[Path]]], repeats: int, known: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """An entry per question, a pair's repeats side by side: the known ones answered, the rest pending."""
    answered = defaultdict(list)
    for answer in known:
        if answer["outcome"] == "answered":
            marks = {name: answer[name] for name in (*MARKS, "outcome")}
            answered[answer["prompt"], tuple(answer["images"])].append(marks)
    entries = []
    for prompt, images in pairs:
        names = [str(image) for image in images]
        for _ in range(repeats):
            # Each is used up once: two runs may have found the same prompt for the same images.
            found = answered[prompt, tuple(names)]
            new = {"prompt": prompt, "images": names, **dict.fromkeys(MARKS), "outcome": _PENDING}
            entries.append(new | (found.pop(0) if found else {}))
    return entries


def _result(answers: Sequence[Mapping[str, Any]], model: str, url: str, repeats: int) -> dict[str, Any]:
    counts = Counter(answer["outcome"] for answer in answers)
    groups = list(_by_prompt(answers, repeats))
    return {
        "model": model,
        "base_url": url,
        "template": TEMPLATE,
        "repeats": repeats,
        "asked": len(answers) - counts[_PENDING],
        **{name: counts[name] for name in _OUTCOMES},
        **{name: _statistics([fmean(v) for g in groups if (v := _values(g, name))]) for name in MARKS},
        "answers": [dict(answer) for answer in answers],
    }


def _by_prompt(answers: Sequence[Mapping[str, Any]], repeats: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    return (answers[i : i + repeats] for i in range(0, len(answers), repeats))


def _values(group: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [answer[name] for answer in group if answer["outcome"] == "answered"]


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    n = len(values)
    error = stdev(values) / math.sqrt(n) if n > 1 else None
    return {"mean": fmean(values) if n else None, "standard_error": error, "n": n}


def _mean(statistics: Mapping[str, Any]) -> str:
    mean, error = statistics["mean"], statistics["standard_error"]
    return "-" if mean is None else f"{mean:.2f}" + ("" if error is None else f" ± {error:.2f}")


def _runs(folder: Path) -> list[Path]:
    """The folder itself if it is a run, else the runs in it, by name."""

    def holds(path: Path) -> bool:
        return any((path / name).is_file() for name in ("run.yaml", "result.json"))

    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is no folder; give a run folder, or a folder of them.")
    runs = [folder] if holds(folder) else sorted(path for path in folder.iterdir() if path.is_dir() and holds(path))
    if not runs:
        raise InputError(f"{str(folder)!r} holds no run: neither it nor a folder in it has a run.yaml.")
    return runs


def _pairs(run: Path) -> Iterator[tuple[str, list[Path]]]:
    """The prompt of a run and its images; of the run of a whole folder of images, each one's."""
    path = run / "result.json"
    if not path.is_file():
        raise InputError(f"{str(run)!r} has not finished; continue it with: hardprompt resume {typed(run)}")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}.") from error
    try:
        if result["task"] != "invert":
            raise InputError(
                f"{str(run)!r} is a run of {result['task']!r}; only prompts of images are judged, those of 'invert'."
            )
        for part in result.get("runs", [result]):
            if not isinstance(part["prompt"], str):
                raise TypeError("its prompt is no text")
            yield part["prompt"], [Path(image) for image in part["images"]]
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} is damaged: it lacks a prompt or its images.") from error


def _places(run: Path, images: Sequence[str]) -> dict[str, str]:
    """Where the images of a run lie now, if the folder was moved since ``run.yaml`` was written in it."""
    file = run / "run.yaml"
    try:
        written = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{str(file)!r} cannot be read: {' '.join(str(error).split())}.") from error
    home, prints = (written.get(name) if isinstance(written, dict) else None for name in (HOME, PRINTS))
    if not isinstance(home, str):  # a person wrote it
        return {}
    # The images of a result are named without links, those of a file of settings as they were typed.
    prints = prints if isinstance(prints, dict) else {}
    known = {str(Path(str(path)).resolve()): str(mark) for path, mark in prints.items()}
    return {image: found(image, str(Path(home).resolve()), run, known, data=True) for image in images}


def _earlier(path: Path, model: str) -> tuple[list[dict[str, Any]], int]:
    """The answers that ``path`` holds of this model, asked in these words, and how often each was asked for."""
    if not path.is_file():
        return [], 1
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        answers = [answer for answer in earlier["answers"] if answer["outcome"] == "answered"]
        for answer in answers:
            if parse(json.dumps({name: answer[name] for name in MARKS})) is None:
                raise ValueError("a mark is no whole number from 1 to 5")
            hash((answer["prompt"], tuple(answer["images"])))
        same = (earlier["model"], earlier["template"]) == (model, TEMPLATE)
        repeats = int(earlier["repeats"]) if answers else 1
    except (ArithmeticError, ValueError, LookupError, TypeError, OSError) as error:
        raise InputError(f"{str(path)!r} is damaged ({error}); delete it to judge anew.") from error
    if answers and not same:
        by = f"of the model {earlier['model']!r}" if earlier["model"] != model else "to a question in other words"
        raise InputError(f"{str(path)!r} holds answers {by}; rename it to keep them, or delete it, and judge again.")
    return answers, repeats
