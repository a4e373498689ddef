"""Bad input gets one clear line that names the value and the mend, exit code 2, and leaves nothing behind."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardprompt.cli.main import main
from hardprompt.errors import InputError, without_keys
from hardprompt.runs.folder import check_free
from hardprompt.tasks import Recipe

Arguments = Callable[..., list[str]]
WORDS = "train: x.csv\ntext: t\nlabel: l\nverbalizers:"


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert main(arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line.startswith("hardprompt:")]
    assert len(lines) == 1
    assert "Traceback" not in said.err
    return lines[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text": "txt"}, "'txt'. Did you mean 'text'?"),
        ({"label": "lable"}, "'lable'. Did you mean 'label'?"),
        ({"group": "ting"}, "'ting'. Did you mean 'thing'?"),
        ({"method": "pim"}, "unknown method 'pim'. Did you mean 'pin'? Valid: autoprompt, bbt,"),
        ({"method": "nowhere:Class"}, "'nowhere:Class' could not be imported"),
        ({"template": "{text} it was"}, "has no {prompt}"),
        ({"template": "{prompt}"}, "has no {text}"),
        ({"template": "{text}{promt}"}, "unknown template slot '{promt}'. Did you mean '{prompt}'?"),
        ({"template": "{text}{prompt}{prompt}"}, "has {prompt} 2 times"),
        ({"length": 0}, "length is 0; it must be a number between 1 and 32"),
        ({"length": 33}, "length is 33"),
        ({"top-k": 0}, "top_k is 0"),
        ({"q": 0.5}, "q is 0.5; it must be a number of at least 1"),
        ({"alpha": 0}, "alpha is 0.0"),
        ({"evaluations": 0}, "evaluations is 0"),
        ({"seconds": -1}, "seconds is -1"),
        ({"tokens": "word"}, "'word'. Did you mean 'words'? Valid: any, words"),
        ({"script": "klingon"}, "unknown script 'klingon'. It is what the Unicode names of its letters begin with"),
        ({"script": "cyrilic", "length": 0}, "Did you mean 'cyrillic'?"),
        ({"shots": 1000}, "fewer than the 1000 shots"),
        ({"verbalizer": "good"}, "'good' is not LABEL=WORD"),
        ({"verbalizer": "good=fine"}, "class 'bad' has no verbalizer; name one for each of: bad, good"),
        ({"validation": "nowhere.csv"}, "'nowhere.csv' does not exist"),
        ({"task-model": "embedded:smolm2"}, "unknown embedded model 'smolm2'. Did you mean 'smollm2'?"),
        ({"policy-model": "no/such-model"}, "model 'no/such-model' could not be loaded"),
        ({"policy-model": "missing.gguf"}, "'missing.gguf' does not exist"),
        ({"policy-model": "openai:gpt"}, "not supported here"),
        ({"policy-model": "./nowhere"}, "model folder './nowhere' does not exist"),
        ({"judge": "embedded:gema3"}, "unknown embedded model 'gema3'. Did you mean 'gemma3'?"),
        ({"task-model": "embeded:smollm2"}, "unknown model 'embeded:smollm2'. Did you mean 'embedded:smollm2'?"),
    ],
)
def test_one_line_names_the_fault(
    arguments: Arguments, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    changes: dict[str, Any], expected: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert expected in complaint(arguments(**changes), capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("good=fine", "bad=fine"), "classes 'bad' and 'good' have one verbalizer, ' fine'"),
        (("good=fine", "bad=poor", "goood=x"), "unknown class with a verbalizer 'goood'. Did you mean 'good'?"),
        (("good=fine", "bda=poor"), "unknown class with a verbalizer 'bda'. Did you mean 'bad'?"),
        (("good=fine", "good=great"), "class 'good' is given two verbalizers"),
    ],
)
def test_verbalizers_must_fit_the_classes(
    arguments: Arguments, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    flags = [part for word in words for part in ("--verbalizer", word)]
    assert expected in complaint([*arguments(), *flags], capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["classify", "x.csv", "--text", "t", "--label", "l", "--manual", "caf\udce9"],
        ["classify", "x.csv", "--text", "t", "--label", "l", "--verbalizer", "a=caf\udce9", "--dry-run"],
        ["classify", "x.csv", "--text", "t", "--label", "l", "--out", "caf\udce9", "--dry-run"],
        ["judge", "run", "--base-url", "http://127.0.0.1:1", "--model", "caf\udce9"],
        ["show", "caf\udce9"],
    ],
)
def test_an_argument_of_other_bytes_is_a_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "caf\\udce9' is not UTF-8" in complaint(words, capsys)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("manual", "caf\udce9"),
        ("verbalizers", {"a": "\ud800"}),
        ("class_prior", {"\udce9": 0.5}),
        ("settings", {"x": ["\ud800"]}),
    ],
)
def test_settings_of_half_a_character_are_refused(data_file: Path, setting: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{setting} holds '.*', which is not UTF-8 text"):
        Recipe.of({"task": "classify", "train": str(data_file), "text": "text", "label": "label", setting: value})


def test_a_run_folder_has_a_name_that_can_be_written_down(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8; name another"):
        check_free(tmp_path / "caf\udce9", "run", "run.yaml")


def test_top_k_above_the_vocabulary_is_named(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    assert "top_k is 100000; it must lie between 1 and the vocabulary's" in complaint(
        arguments(**{"top-k": 100_000}), capsys
    )


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.csv", b"", "is empty"),
        ("header.csv", b"text,label\n", "has a header but no rows"),
        ("binary.csv", b"\xff\xfe\x00\x01\x02", "is not UTF-16 text (line 1, byte 4)"),
        ("nul.csv", b"text,label\na\0b,x\n", "is not text"),
        ("one.csv", b"text,label\nfine,a\nnice,a\n", "one class only, 'a'"),
        ("blank.csv", b"text,label\n,a\n  ,b\n", "no rows with a text"),
        ("label.csv", b"text,label\nfine,a\nnice,\n", "one class only, 'a'"),
        ("ragged.csv", b"text,label\nfine,a,b,c\n", "does not have the header's 2 fields"),
        ("broken.jsonl", b'{"text": "fine", "label": "a"\n', "line 1 of"),
        ("list.jsonl", b"[1, 2]\n", "is not a JSON object"),
        ("no.parquet", b"PAR0 nothing of the kind", "cannot be read as Parquet"),
        ("data.xlsx", b"whatever", "unknown data format '.xlsx'"),
    ],
)
def test_bad_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, expected: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    said = complaint(
        ["classify", str(path), "--text", "text", "--label", "label", "--out", str(tmp_path / "o")], capsys
    )
    assert expected in said
    assert not (tmp_path / "o").exists()


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'no.csv' does not exist" in complaint(["classify", "no.csv", "--text", "t", "--label", "l"], capsys)


def test_a_folder_that_holds_a_run_is_never_overwritten(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text("kept")
    assert f"hardprompt resume {tmp_path / 'run'}" in complaint(arguments(), capsys)
    assert (tmp_path / "run" / "run.yaml").read_text() == "kept"


def test_a_folder_that_holds_anything_else_is_left_alone(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "diary.txt").write_text("mine")
    assert "is not an empty folder" in complaint(arguments(), capsys)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["diary.txt"]


def test_no_space_left_is_one_line_and_leaves_no_half_file(
    arguments: Arguments, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "safetensors" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)  # how the tensors of a checkpoint are written, too
    assert main(arguments()) == 2
    said = capsys.readouterr().err
    assert "no space left on the device" in said
    assert f"hardprompt resume {tmp_path / 'run'}" in said
    assert [path.name for path in (tmp_path / "run").rglob(".*")] == [".lock"]


@pytest.mark.parametrize(
    ("arguments_", "expected"),
    [
        (["clasify"], "unknown command 'clasify'. Did you mean 'classify'?"),
        (["classify", "x.csv", "--text", "t"], "--label"),
        (["classify", "x.csv", "--text", "t", "--label", "l", "--length", "five"], "invalid int value: 'five'"),
        (["show", "nowhere"], "'nowhere' does not exist"),
        (["resume", "nowhere"], "'nowhere' does not exist"),
        (["run", "nowhere.yaml"], "configuration file 'nowhere.yaml' does not exist"),
        (["run", "recipes/few-shot.yaml"], "is a comparison; run it with: hardprompt compare recipes/few-shot.yaml"),
        (["show", "recipes/few-shot.yaml"], "is a file; name the run folder: 'recipes'"),
        (["--json", "methods"], "--json comes after the command: hardprompt methods --json"),
        (["optimize", "./my_module:reward"], "names a path; name the module"),
    ],
)
def test_wrong_commands_are_one_line(arguments_: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in complaint(arguments_, capsys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a list\n", "holds no mapping"),
        ("a: [1\n", "is not YAML"),
        ("train: x.csv\ntext: t\nlabel: l\nlenght: 5\n", "unknown setting 'lenght'. Did you mean 'length'?"),
        ("text: t\nlabel: l\n", "has no 'train'"),
        ("train: x.csv\ntext: t\nlabel: l\nlength: long\n", "length is 'long'"),
        ("train: x.csv\ntext: t\nlabel: l\nsettings: {topk: 5}\n", "unknown setting of method 'pin-prior' 'topk'"),
        ("train: x.csv\ntext: t\nlabel: l\nsettings: {updates: 2.5}\n", "updates is 2.5; a whole number was expected"),
        ("train: x.csv\ntext: t\nlabel: l\nsettings: {q: true}\n", "q is True; a number was expected"),
        ("train: x.csv\ntext: t\nlabel: l\nsettings: {loss: v1}\n", "unknown loss 'v1'"),
        ("train: x.csv\ntext: t\nlabel: l\nshots: 2.5\n", "shots is 2.5; a whole number or none was expected"),
        ("train: x.csv\ntext: t\nlabel: l\ntemplate: 5\n", "template is 5; a text was expected"),
        ("train: x.csv\ntext: t\nlabel: l\nmanual:\n", "manual is None; a text was expected"),
        ("train: [x]\ntext: t\nlabel: l\n", "train is ['x']; a text was expected"),
        (f"{WORDS} {{pos: yes, neg: ' bad'}}\n", "verbalizers has True for the class 'pos'; a text was expected"),
        (f"{WORDS} {{pos: ' a', neg: }}\n", "verbalizers has None for the class 'neg'"),
        (f"{WORDS} {{pos: [good, fine]}}\n", "verbalizers has ['good', 'fine'] for the class 'pos'"),
        (f"{WORDS} {{pos: 010, neg: ' b'}}\n", "verbalizers has 8 for the class 'pos'"),  # YAML 1.1: octal
        (f"{WORDS} {{yes: ' a', no: ' b'}}\n", "verbalizers has the class True; a text was expected"),
        (f"{WORDS} {{1.10: ' a', 2: ' b'}}\n", "the class 1.1; a text was expected: in YAML put it in quotes."),
        (f"{WORDS} {{1: ' a', '1': ' b'}}\n", "verbalizers has the class '1' twice"),
        ("train: x.csv\ntext: t\nlabel: l\nclass_prior: {yes: 0.5}\n", "class_prior has the class True"),
    ],
)
def test_bad_configurations_are_named(
    tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert expected in complaint(["run", str(path)], capsys)


def test_a_number_without_quotes_is_the_class_of_that_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"a text of {i},{i % 2}\n" for i in range(40))
    (tmp_path / "x.csv").write_text(f"t,l\n{rows}")
    (tmp_path / "run.yaml").write_text(f"{WORDS} {{0: ' bad', 1: ' yes'}}\n".replace("x.csv", f"{tmp_path}/x.csv"))
    assert main(["run", str(tmp_path / "run.yaml"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verbalizers"] == {"0": " bad", "1": " yes"}


def test_several_faults_are_reported_at_once(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(arguments(length=0, method="pim", template="{text}"), capsys)
    assert "length is 0" in said
    assert "unknown method 'pim'" in said
    assert "has no {prompt}" in said


@pytest.mark.parametrize("command", [("doctor",), ("methods",)])
def test_a_reader_that_goes_is_no_fault(command: tuple[str, ...], environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "hardprompt.cli", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        assert program.wait(timeout=120) == 0
        assert program.stderr.read() == ""


def test_a_class_that_only_the_validation_file_has_is_named_with_its_row(
    arguments: Arguments, capsys: pytest.CaptureFixture[str], data_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "validation.csv"
    other.write_text("text,label\nfine,good\nawful,bad\nneither,mixed\n", encoding="utf-8")
    said = complaint(arguments(validation=other), capsys)
    assert (
        "line 4 of 'validation.csv', of the validation set, has class 'mixed', which the training set does not have"
        in said
    )


KEYED = "https://user:hush@host/a.csv?token=hush&b=hu%20sh#hush"


@pytest.mark.parametrize(
    "words",
    [
        ["classify", KEYED, "--text", "text", "--label", "label"], ["classify", "a.csv", KEYED], [KEYED],
        ["resume", KEYED], ["run", KEYED], ["show", KEYED], ["compare", KEYED], ["judge", KEYED, "--model", "x"],
        ["restyle", "a.txt", "--target-examples", KEYED], ["invert", KEYED], ["optimize", KEYED],
        ["classify", "a.csv", "--text", "t", "--label", "l", "--task-model", KEYED],
        ["classify", "a.csv", "--text", "t", "--label", "l", "--method", KEYED],
        ["classify", "a.csv", "--text", "t", "--label", "l", "--verbalizer", KEYED.replace("=", "")],
        ["classify", "a.csv", "--text", "t", "--label", "l", "--length", KEYED],
        ["classify", "a.csv", f"--{KEYED}"],
    ],
)  # fmt: skip
def test_a_key_in_an_address_is_shown_by_no_message(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(words, capsys)
    assert "hush" not in said
    assert "sh#" not in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("data file 'https://h/a.csv?key=x' does not exist.", "data file 'https://h/a.csv?…' does not exist."),
        ("https:/me:pw@h/a.csv", "https:/…@h/a.csv"),
        ("unknown data format '.csv?key=x'.", "unknown data format '.csv?…'."),
        ("is it good? label=x", "is it good? label=x"), ("see https://h/a.csv, or b", "see https://h/a.csv, or b"),
        ("class 'a:b/c?' and 'd#e'", "class 'a:b/c?' and 'd#e'"),
    ],
)  # fmt: skip
def test_only_what_may_be_a_key_is_hidden(text: str, shown: str) -> None:
    assert str(InputError(text)) == without_keys(text) == shown
