"""A file of ours that was edited by hand, or cut, ends in a sentence or in a result: never in a traceback."""

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardprompt.cli.main import main
from hardprompt.errors import HardpromptError
from hardprompt.lms.models import Models
from hardprompt.runs import begun, execute
from hardprompt.search.files import digest

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MODELS = Models(keep=True)
NASTY = [10**15, 10**30, math.inf, "../x", "[/b]", "\x1b[2J", "\ud800"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each part of a value of dicts and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(way for key, part in inner for way in places(part, (*here, key)))]


@st.composite
def edits(draw: st.DrawFn, whole: Any) -> Any:
    """The value with one to three parts replaced, or taken out."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(places(value)))
        new = draw(VALUES)
        if not way:
            return new
        at = value
        for key in way[:-1]:
            at = at[key]
        if draw(st.booleans()):
            at[way[-1]] = new
        else:
            del at[way[-1]]
    return value


@pytest.fixture(scope="module")
def finished(tiny_folder: Path, data_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    out = tmp_path_factory.mktemp("edited") / "run"
    flags = {
        "text": "text", "label": "label", "out": out, "length": 2, "evaluations": 8, "threads": 1, "save-every": 1,
        "policy-model": tiny_folder, "task-model": tiny_folder, "judge": tiny_folder, "template": "{text}{prompt}",
    }  # fmt: skip
    assert main(["classify", str(data_file), *(part for k, v in flags.items() for part in (f"--{k}", str(v)))]) == 0
    return out


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], None]:
    """Call the command line: a result, or one sentence."""

    def call(command: list[str]) -> None:
        code = main(command)
        said = capsys.readouterr().err
        assert code in (0, 2)
        assert code == 0 or said.splitlines()[-1].startswith("hardprompt: ")

    return call


@FEW
@given(data=st.data())
def test_a_result_that_was_edited_is_shown_or_refused(
    finished: Path, told: Callable[[list[str]], None], data: st.DataObject
) -> None:
    path = finished / "result.json"
    whole = path.read_text(encoding="utf-8")
    try:
        path.write_text(json.dumps(data.draw(edits(json.loads(whole)))), encoding="utf-8")
        told(["show", str(finished)])
    finally:
        path.write_text(whole, encoding="utf-8")


@FEW
@given(data=st.data())
def test_settings_that_were_edited_are_taken_or_refused(
    finished: Path, told: Callable[[list[str]], None], data: st.DataObject
) -> None:
    values = yaml.safe_load((finished / "run.yaml").read_text(encoding="utf-8"))
    path = finished.with_name("edited.yaml")
    path.write_text(yaml.safe_dump(data.draw(edits(values)), allow_unicode=True), encoding="utf-8")
    told(["run", str(path), "--dry-run"])


@FEW
@given(text=st.binary(max_size=60))
def test_settings_of_any_bytes_are_refused(tmp_path: Path, told: Callable[[list[str]], None], text: bytes) -> None:
    (tmp_path / "any.yaml").write_bytes(text)
    told(["run", str(tmp_path / "any.yaml"), "--dry-run"])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_checkpoint_or_log_that_was_edited_or_cut_is_gone_on_with_or_refused(
    finished: Path, data: st.DataObject
) -> None:
    out = finished.with_name("again")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(finished, out)
    (out / "result.json").unlink()
    path = data.draw(
        st.sampled_from(sorted(p for p in [*out.glob("checkpoint/*"), out / "steps.jsonl"] if p.is_file()))
    )
    whole = path.read_bytes()
    if whole and path.suffix in (".json", ".jsonl") and data.draw(st.booleans()):
        lines = whole.splitlines() if path.suffix == ".jsonl" else [whole]
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = json.dumps(data.draw(edits(json.loads(lines[number])))).encode()
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    else:
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        result = execute(out, begun(out), models=MODELS)
    except HardpromptError:
        return
    assert result is not None


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("steps.jsonl", '{"step": 1}'),
        ("steps.jsonl", '{"step": "1", "log": {}}'),
        ("steps.jsonl", '{"step": 1, "log": {}}'),
        ("state.json", "logs 1000000000000000"),
        ("state.json", "logs 1e400"),
        ("state.json", "logs -1"),
        ("state.json", "hits Infinity"),
    ],
)
def test_what_was_once_a_traceback_is_a_line(
    finished: Path, told: Callable[[list[str]], None], file: str, line: str
) -> None:
    out = finished.with_name("traced")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(finished, out)
    (out / "result.json").unlink()
    if file == "steps.jsonl":
        (out / file).write_text(line + "\n", encoding="utf-8")
    else:
        index = json.loads((out / "checkpoint" / file).read_text(encoding="utf-8"))
        what, number = line.split()
        if what == "logs":
            index["logs"] = {way: [name, json.loads(number), own] for way, (name, _, own) in index["logs"].items()}
        else:
            index["state"]["reward"]["hits"] = math.inf
        del index["digest"]  # as somebody writes it who wants it to be read
        text = json.dumps({**index, "digest": digest(index)})
        (out / "checkpoint" / file).write_text(text, encoding="utf-8")
    told(["resume", str(out)])
    told(["show", str(out)])


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_folder_does_not_steer_the_terminal(
    finished: Path, capsys: pytest.CaptureFixture[str], unfinished: bool
) -> None:
    out = finished.with_name("steering")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(finished, out)
    evil = "\x1b]0;title\x07\x1b[2J[bold]\x9b2J"
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    result |= {"method": evil, "perplexity_by": evil, "prompt": evil}
    result["baselines"][0]["name"] = "[/b]"
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    if unfinished:
        (out / "result.json").unlink()
        *others, last = (out / "steps.jsonl").read_text(encoding="utf-8").splitlines()
        edited = json.dumps({**json.loads(last), "validation": evil})
        (out / "steps.jsonl").write_text("".join(line + "\n" for line in [*others, edited]), encoding="utf-8")
    for flags in ([], ["--json"]):
        assert main(["show", str(out), *flags]) == 0
        said = "".join(capsys.readouterr())
        assert not {"\x1b", "\x07", "\x9b"} & set(said)
        assert "\\u001b" in said
        assert "[bold]" in said


@pytest.mark.parametrize("name", ["template", "manual", "start", "verbalizers"])
def test_half_a_character_in_settings_is_a_line(finished: Path, tmp_path: Path, name: str, capsys: Any) -> None:
    values = yaml.safe_load((finished / "run.yaml").read_text(encoding="utf-8"))
    values[name] = {"good": " \ud800"} if name == "verbalizers" else "{text}\ud800{prompt}"
    (tmp_path / "half.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert main(["run", str(tmp_path / "half.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "half of a character" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
