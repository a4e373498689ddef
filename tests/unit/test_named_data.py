"""Data sets by name: one header, the text as it was, the papers' draw, and errors that say what is there."""

import csv
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.data.named import NAMED, draw, materialise, text_of, write
from hardprompt.data.tables import Row, read_rows
from hardprompt.errors import InputError, MissingExtra
from hardprompt.tasks.template import Template

SHARED = Path(__file__).parents[3] / "shared" / "data"
SPLITS = ("16-100", "16-13", "16-21")
PARTS = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}


def rows_of(paths: dict[str, str], part: str) -> list[Row]:
    return read_rows(paths[part], text="text", label="label")


def published(root: Path, *, name: str = "cr", split: str = "16-100", end: str = "\n") -> Path:
    """A folder as the papers publish it: other headers, a quotation mark, a blank row, test beside the splits."""
    where = root / name / split
    where.mkdir(parents=True)
    for file, column in (("train.tsv", "sentence"), ("dev.tsv", "text")):
        lines = [f"{column}\tlabel", '"it works\t1', "no \t0", ""]
        (where / file).write_text(end.join(lines), newline="")
    lines = ["sentence\tlabel", *(f'text {i} "so\t{i % 2}' for i in range(20)), " \t0", ""]
    (root / name / "test.tsv").write_text(end.join(lines), newline="")
    return root


# The registry


@pytest.mark.parametrize("name", NAMED)
def test_every_data_set_can_be_posed_as_the_papers_pose_it(name: str) -> None:
    data = NAMED[name]
    assert data.name == name
    assert data.classes == tuple(str(i) for i in range(len(data.labels)))
    assert len(set(data.verbalizers.values())) == len(set(data.labels)) == len(data.classes)
    assert data.revision is not None
    assert re.fullmatch(r"[0-9a-f]{40}", data.revision)
    assert "{mask}" in Template(data.template).source
    assert data.instruction.endswith(".")


def test_the_words_of_classes_are_those_that_the_papers_name() -> None:
    for name in ("sst-2", "yelp-2", "mr", "cr"):
        assert NAMED[name].verbalizers == {"0": " terrible", "1": " great"}
    assert list(NAMED["agnews"].verbalizers.values()) == ["World", "Sports", "Business", "Tech"]
    assert NAMED["subj"].verbalizers == {"0": " subjective", "1": " objective"}


# Published files


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_folder_gives_three_files_with_one_header(tmp_path: Path, nested: bool, end: str) -> None:
    folder = tmp_path / "in"
    published(folder / "16-shot" if nested else folder, end=end)
    paths = materialise("cr", "16-100", tmp_path / "out", folder=folder)
    assert {part: Path(path) for part, path in paths.items()} == {
        part: tmp_path / "out" / "cr" / "16-100" / f"{part}.tsv" for part in PARTS
    }
    assert {Path(path).read_text().split("\n")[0] for path in paths.values()} == {"text\tlabel"}
    for part in ("train", "validation"):
        assert rows_of(paths, part) == [Row('"it works', "1"), Row("no ", "0")]
    assert len(rows_of(paths, "test")) == 20  # without the blank one


def test_the_test_file_may_lie_in_the_split(tmp_path: Path) -> None:
    folder = published(tmp_path / "in")
    (folder / "cr" / "16-100" / "test.tsv").write_text("text\tlabel\nnear\t0\n")
    assert rows_of(materialise("cr", "16-100", tmp_path, folder=folder), "test") == [Row("near", "0")]


def test_what_is_the_same_is_left_alone_and_what_is_not_is_written(tmp_path: Path) -> None:
    folder = published(tmp_path / "in")
    paths = materialise("cr", "16-100", tmp_path, folder=folder)
    before = {part: Path(path).stat().st_mtime_ns for part, path in paths.items()}
    Path(paths["train"]).write_text("damaged")
    assert materialise("cr", "16-100", tmp_path, folder=folder) == paths
    assert rows_of(paths, "train")[0] == Row('"it works', "1")
    assert all(Path(paths[part]).stat().st_mtime_ns == before[part] for part in ("validation", "test"))
    assert sorted(p.name for p in Path(paths["train"]).parent.iterdir()) == ["test.tsv", "train.tsv", "validation.tsv"]


def test_test_rows_are_drawn_once_for_all_splits(tmp_path: Path) -> None:
    folder = published(tmp_path / "in")
    other = published(tmp_path / "other", split="16-13")
    (folder / "cr" / "16-13").mkdir()
    for file in ("train.tsv", "dev.tsv"):
        (folder / "cr" / "16-13" / file).write_bytes((other / "cr" / "16-13" / file).read_bytes())
    everything = rows_of(materialise("cr", "16-100", tmp_path / "all", folder=folder), "test")
    one = rows_of(materialise("cr", "16-100", tmp_path / "few", folder=folder, test=7), "test")
    two = rows_of(materialise("cr", "16-13", tmp_path / "few", folder=folder, test=7), "test")
    assert one == two == [row for row in everything if row in one]
    assert len(one) == 7
    assert rows_of(materialise("cr", "16-100", tmp_path / "few", folder=folder, test=99), "test") == everything


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=8))
def test_a_text_comes_back_as_it_was(tmp_path: Path, texts: list[str]) -> None:
    texts = [text_of([one]) for one in [*texts, '"', 'a ""quoted"" b', "'", "\\n", "a\\tb", "\x85\u2028\x0b"]]
    rows = [Row(one, str(i % 2)) for i, one in enumerate(texts) if one.strip()]
    assert read_rows(write(tmp_path / "rows.tsv", rows), text="text", label="label") == rows


def test_what_cannot_stand_in_a_field_becomes_a_space() -> None:
    assert text_of(["one\ttwo", None, "\r\nthree\0four"]) == "one two   three four"
    assert text_of(["as  it is \\n"]) == "as  it is \\n"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published files are not here")
@pytest.mark.parametrize("name", ["sst-2", "agnews", "cr", "subj"])
def test_the_published_files_come_back_as_they_are(tmp_path: Path, name: str) -> None:
    tests = []
    for split in SPLITS:
        paths = materialise(name, split, tmp_path, folder=SHARED)
        for part, file in PARTS.items():
            source = SHARED / "16-shot" / name / ("" if part == "test" else split) / file
            with source.open(encoding="utf-8", newline="") as stream:
                _, *records = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = rows_of(paths, part)
            assert [(row.text, row.label) for row in rows] == [(t, label) for t, label in records if t.strip()]
            assert {row.label for row in rows} == set(NAMED[name].classes)
            if part != "test":
                assert len(records) == 16 * len(NAMED[name].classes)  # one of cr's training rows is blank
        tests.append(rows_of(paths, "test"))
    assert tests[0] == tests[1] == tests[2]


# The draw


def lm_bff(rows: list[tuple[str, int]], k: int, seed: int) -> tuple[list[int], list[int]]:
    """What the papers' script does to a list of rows, written anew."""
    rows = list(rows)
    np.random.seed(seed)
    np.random.shuffle(rows)  # type: ignore[arg-type]
    by_label: dict[str, list[int]] = {}
    for label, number in rows:
        by_label.setdefault(label, []).append(number)
    return [i for own in by_label.values() for i in own[:k]], [i for own in by_label.values() for i in own[k : 2 * k]]


@given(st.integers(1, 4), st.integers(2, 4), st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_the_draw_is_the_papers_own(k: int, classes: int, seed: int, shuffle: Any) -> None:
    labels = [str(c) for c in range(classes) for _ in range(2 * k + shuffle.randrange(4))]
    shuffle.shuffle(labels)
    train, validation = drawn = draw(labels, k, seed=seed)
    assert drawn == lm_bff([(label, i) for i, label in enumerate(labels)], k, seed)
    for part in drawn:
        assert sorted(labels[i] for i in part) == sorted(str(c) for c in range(classes) for _ in range(k))
    assert not set(train) & set(validation)
    np.random.seed(1)  # the world's generator has no say in it
    assert draw(labels, k, seed=seed) == drawn


def test_another_seed_draws_others() -> None:
    labels = [str(i % 2) for i in range(200)]
    assert len({tuple(draw(labels, 16, seed=seed)[0]) for seed in (13, 21, 42, 87, 100)}) == 5


def test_rows_that_cannot_be_used_are_passed_over() -> None:
    labels = ["0", "1"] * 10
    train, validation = draw(labels, 2, seed=13, usable=lambda i: i % 4 > 1)
    assert all(i % 4 > 1 for i in (*train, *validation))


def test_a_class_with_too_few_rows_is_named() -> None:
    with pytest.raises(InputError, match="class '1' has 3 rows; 4 are needed for 2 shots"):
        draw(["0"] * 9 + ["1"] * 3, 2, seed=0)


# The hub, by a package that is not there


class Rows:
    """A part of a data set: rows by number, columns by name."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records

    def __getitem__(self, key: int | str) -> Any:
        return self.records[key] if isinstance(key, int) else [record[key] for record in self.records]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Rows], list[Any]]:
    """What the hub holds, and the calls that it gets."""
    held: dict[str, Rows] = {}
    calls: list[Any] = []

    def load_dataset(path: str, name: str | None = None, **options: Any) -> Rows:
        calls.append((path, name, options))
        return held[options["split"]]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return held, calls


def test_the_hub_is_asked_for_one_commit_and_no_code(tmp_path: Path, hub: Any) -> None:
    held, calls = hub
    held["train"] = Rows([{"topic": i % 10, "question_title": f"question {i}"} for i in range(400)])
    held["test"] = Rows([{"topic": i % 10, "question_title": f"asked {i}"} for i in range(30)])
    paths = materialise("yahoo", "16-42", tmp_path)
    data = NAMED["yahoo"]
    assert calls == [(data.hub, data.config, {"split": part, "revision": data.revision}) for part in ("train", "test")]
    drawn = draw([str(i % 10) for i in range(400)], 16, seed=42)
    for part, numbers in zip(("train", "validation"), drawn, strict=True):
        assert rows_of(paths, part) == [Row(f"question {i}", str(i % 10)) for i in numbers]
    assert rows_of(paths, "test") == [Row(f"asked {i}", str(i % 10)) for i in range(30)]
    assert len(rows_of(materialise("yahoo", "16-42", tmp_path, test=5), "test")) == 5


def test_classes_are_told_by_what_the_hub_calls_them(tmp_path: Path, hub: Any) -> None:
    held, _ = hub
    names = ("objective", "subjective")  # the hub's order; the papers' is the other
    for part, count in (("train", 80), ("test", 6)):
        held[part] = Rows([{"label": i % 2, "label_text": names[i % 2], "text": names[i % 2]} for i in range(count)])
    paths = materialise("subj", "16-13", tmp_path)
    for part in PARTS:
        assert {(row.text, row.label) for row in rows_of(paths, part)} == {("subjective", "0"), ("objective", "1")}


def test_texts_of_the_hub_are_made_to_fit_a_line(tmp_path: Path, hub: Any) -> None:
    held, _ = hub
    odd = {0: " \n", 1: None, 2: 'a "b"\n\tc', 3: "\x85 d"}
    held["train"] = Rows([{"label": i % 2, "text": odd.get(i, f"row {i}")} for i in range(12)])
    held["test"] = Rows([{"label": i % 2, "text": odd[i]} for i in range(4)])
    paths = materialise("sst-2", "2-13", tmp_path, shots=2)
    assert rows_of(paths, "test") == [Row('a "b" c', "0"), Row("\x85 d", "1")]
    both = [row.text for part in ("train", "validation") for row in rows_of(paths, part)]
    assert len(both) == 8
    assert all(text.strip() for text in both)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'hardprompt[data]'")):
        materialise("sst-2", "16-13", tmp_path)


def test_without_a_network_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'SetFit/sst2' on the Hub.\nand a page more")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(InputError, match=re.escape("(SetFit/sst2): Couldn't reach 'SetFit/sst2' on the Hub. Wi")) as e:
        materialise("sst-2", "16-13", tmp_path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"label": -1, "text": "unlabelled"}],
            "unknown class of sst-2 on the hub '-1'. Valid: 0, 1.",
        ),
        ([{"label": 0, "text": "a"}] * 40, "no training row of class '1'"),
        ([{"label": i % 2, "text": "a"} for i in range(40)], "class '0' has 20 rows; 32 are needed"),
    ],
)
def test_a_hub_that_holds_something_else_is_found_out(tmp_path: Path, hub: Any, rows: Any, message: str) -> None:
    held, _ = hub
    held["train"] = held["test"] = Rows(rows)
    with pytest.raises(InputError, match=re.escape(message)):
        materialise("sst-2", "16-13", tmp_path)
    assert not list(tmp_path.iterdir())


# Errors


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("sst2", "16-13", {}, "unknown named data set 'sst2'. Did you mean 'sst-2'?"),
        ("cr", "16-13", {"test": 0}, "test is 0; it must be at least 1."),
        ("cr", "16-13", {"shots": 0}, "shots is 0; it must be at least 1."),
        ("cr", "13", {}, "split '13' is not SHOTS-SEED, such as 16-100"),
        ("cr", f"16-{2**32}", {}, "with a seed below 4,294,967,296"),
        ("cr", "8-13", {}, "split '8-13' has 8 shots, but shots is 16; they must agree."),
    ],
)
def test_a_wrong_request_says_what_is_right(
    tmp_path: Path, name: str, split: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        materialise(name, split, tmp_path, **options)  # type: ignore[arg-type]


def test_a_folder_says_what_it_has(tmp_path: Path) -> None:
    folder = published(tmp_path / "in")
    (folder / "readme.txt").write_text("no data set")
    for name, split, message in (
        ("agnews", "16-100", "in 'agnews'. Valid: cr."),
        ("cr", "16-10", "'16-10'. Did you mean '16-100'? Valid: 16-100."),
        ("cr", "../..", "cr '../..'. Valid: 16-100."),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            materialise(name, split, tmp_path / "out", folder=folder)
    with pytest.raises(InputError, match="does not exist"):
        materialise("cr", "16-100", tmp_path / "out", folder=tmp_path / "no")
    (folder / "cr" / "16-100" / "dev.tsv").unlink()
    with pytest.raises(InputError, match=r"dev\.tsv' does not exist"):
        materialise("cr", "16-100", tmp_path / "out", folder=folder)
    assert not (tmp_path / "out").exists()


def test_a_class_that_the_data_set_does_not_have_is_named(tmp_path: Path) -> None:
    folder = published(tmp_path / "in")
    (folder / "cr" / "16-100" / "dev.tsv").write_text("text\tlabel\nfine\t2\n")
    with pytest.raises(InputError, match=r"unknown class of cr in .*dev\.tsv '2'. Valid: 0, 1\."):
        materialise("cr", "16-100", tmp_path / "out", folder=folder)
