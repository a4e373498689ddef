"""Reading and splitting labelled texts."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.data.tables import Row, classes, few_shot, read_rows, read_texts, split
from hardprompt.errors import InputError

TEXTS = ['He said "no".', "a, b, c", "naïve café", "one\ttab".replace("\t", " ")]


def write(path: Path, kind: str) -> Path:
    import csv

    import pyarrow
    import pyarrow.parquet

    file = path / f"data.{kind}"
    records = [{"text": t, "label": str(i % 2), "id": i} for i, t in enumerate(TEXTS)]
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), file)
    elif kind == "jsonl":
        file.write_text("\n".join(json.dumps(r) for r in records) + "\n\n", encoding="utf-8")
    elif kind == "tsv":
        file.write_text("text\tlabel\n" + "".join(f"{r['text']}\t{r['label']}\n" for r in records), encoding="utf-8")
    else:
        with file.open("w", newline="", encoding="utf-8-sig") as stream:
            writer = csv.DictWriter(stream, ["text", "label", "id"])
            writer.writeheader()
            writer.writerows(records)
    return file


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    rows = read_rows(write(tmp_path, kind), text="text", label="label")
    assert [row.text for row in rows] == TEXTS
    assert [row.label for row in rows] == ["0", "1", "0", "1"]


def test_a_quotation_mark_is_an_ordinary_character_in_tsv(tmp_path: Path) -> None:
    file = tmp_path / "raw.tsv"
    file.write_text('sentence\tlabel\n"quoted at the start\t0\nit ends" with one\t1\n')
    assert [r.text for r in read_rows(file, text="sentence", label="label")] == [
        '"quoted at the start',
        'it ends" with one',
    ]


def test_a_row_without_a_text_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "some.tsv"
    file.write_text("sentence\tlabel\nfine\t0\n \t0\nbad\t1\n")
    assert [r.text for r in read_rows(file, text="sentence", label="label")] == ["fine", "bad"]
    assert "1 with an empty 'sentence'" in caplog.text
    assert "in row 2" in caplog.text


labelled = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8)), min_size=12, max_size=60)


@given(labelled, st.integers(0, 5))
def test_a_split_parts_groups_nowhere_and_loses_nothing(drawn: list[tuple[str, int]], seed: int) -> None:
    rows = [Row(f"text {i}", label, str(group)) for i, (label, group) in enumerate(drawn)]
    try:
        first, second = split(rows, 0.3, seed=seed)
    except InputError:
        return
    assert sorted(r.text for r in first + second) == sorted(r.text for r in rows)
    assert {r.group for r in first}.isdisjoint({r.group for r in second})
    assert {r.label for r in second} == {r.label for r in rows} == {r.label for r in first}
    assert split(rows, 0.3, seed=seed) == (first, second)


@given(st.integers(1, 5), st.integers(0, 5))
def test_few_shot_is_balanced_and_seeded(shots: int, seed: int) -> None:
    rows = [Row(f"text {i}", "abc"[i % 3]) for i in range(30)]
    taken = few_shot(rows, shots, seed=seed)
    assert {label: [r.label for r in taken].count(label) for label in "abc"} == dict.fromkeys("abc", shots)
    assert few_shot(rows, shots, seed=seed) == taken


def test_a_text_that_stands_twice_is_never_on_both_sides() -> None:
    rows = [Row(f"text {i % 10}", "ab"[i % 2]) for i in range(40)]
    first, second = split(rows, 0.3, seed=1)
    assert {r.text for r in first}.isdisjoint({r.text for r in second})


def test_number_labels_are_sorted_by_value() -> None:
    assert classes([Row("x", label) for label in ("10", "2", "1")]) == ["1", "2", "10"]


def test_only_line_ends_end_a_line_of_text(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("one\u2028still one\r\n\r\ntwo\x0bstill two\n three ".encode())
    assert read_texts(file) == ["one\u2028still one", "", "two\x0bstill two", "three"]
    (tmp_path / "t.csv").write_text("text,n\na,1\n,2\n")
    assert read_texts(tmp_path / "t.csv", text="text") == ["a", ""]
    assert read_texts(file, text="text") == read_texts(file)  # a column is of tables
    for name, text, message in (("t.csv", None, "name the column"), ("t.csv", "txt", "Did you mean 'text'")):
        with pytest.raises(InputError, match=message):
            read_texts(tmp_path / name, text=text)
    file.write_text("\n \n")
    with pytest.raises(InputError, match="has no text"):
        read_texts(file)
