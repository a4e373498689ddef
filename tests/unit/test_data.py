"""Reading and splitting labelled texts."""

import contextlib
import csv
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.data.tables import Row, check_classes, classes, few_shot, read_rows, read_texts, split
from hardprompt.errors import InputError

TEXTS = ['He said "no".', "a, b, c", "naïve café", "one\ttab".replace("\t", " ")]


def write(path: Path, kind: str) -> Path:

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
    assert "in line 3" in caplog.text


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
    assert [(one.text, one.number) for one in read_texts(file)] == [
        ("one\u2028still one", 1), ("", 2), ("two\x0bstill two", 3), ("three", 4),
    ]  # fmt: skip
    (tmp_path / "t.csv").write_text("text,n\na,1\n,2\n")
    assert [(one.text, one.number) for one in read_texts(tmp_path / "t.csv", text="text")] == [("a", 2), ("", 3)]
    assert read_texts(file, text="text") == read_texts(file)  # a column is of tables
    for name, text, message in (("t.csv", None, "name the column"), ("t.csv", "txt", "Did you mean 'text'")):
        with pytest.raises(InputError, match=message):
            read_texts(tmp_path / name, text=text)
    file.write_text("\n \n")
    with pytest.raises(InputError, match="has no text"):
        read_texts(file)


def two(tmp_path: Path, data: bytes, name: str = "data.csv") -> list[tuple[str, str]]:
    """Text and class of the rows of a file of these bytes."""
    (tmp_path / name).write_bytes(data)
    return [(row.text, row.label) for row in read_rows(tmp_path / name, text="text", label="label")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_excel_writes_is_read(tmp_path: Path, separator: str, encoding: str) -> None:
    rows = [("text", "label"), ('"a; b, c\td ""e"""', "x"), ("naïve", "y")]
    text = "".join(f"{first}{separator}{second}\r\n" for first, second in rows)
    assert two(tmp_path, text.encode(encoding)) == [('a; b, c\td "e"', "x"), ("naïve", "y")]


def test_windows_1252_is_read_after_saying_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert two(tmp_path, "text,label\nplain,x\nnaïve – “quoted”,y\n".encode("cp1252"))[1] == ("naïve – “quoted”", "y")
    assert "is not UTF-8; it is read as Windows-1252, so line 3 is 'naïve – “quoted”,y'" in caplog.text


@pytest.mark.parametrize("data", [b"\x00\xff", b"\x81\x8d", b"\xff\x01"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"not UTF-8 text|not text"):
        two(tmp_path, b"text,label\n" + data + b",x\n")


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table([["a"], ["b"], ["c"]], names=["text", "label", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(InputError, match="'text' twice"):
        read_rows(tmp_path / "data.parquet", text="text", label="label")
    with pytest.raises(InputError, match="'text' twice"):
        two(tmp_path, b"text,label,text\na,b,c\n")
    with pytest.raises(InputError, match=r"line 1 .*'text' stands in it twice"):
        two(tmp_path, b'{"text": "a", "text": "b", "label": 1}\n', "data.jsonl")


def test_parquet_of_every_kind_is_read_as_pandas_means_it(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {
        "text": [b"great film", "naïve".encode(), None, b"bad"],
        "label": pyarrow.array([1.0, float("nan"), 0.0, -1.0]),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "data.parquet")
    rows = read_rows(tmp_path / "data.parquet", text="text", label="label")
    assert [(row.text, row.label, row.number) for row in rows] == [("great film", "1.0", 1), ("bad", "-1.0", 4)]
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"\xff\xfe"], "label": ["a"]}), tmp_path / "data.parquet")
    with pytest.raises(InputError, match=r"row 1 .* bytes in 'text' that are no UTF-8"):
        read_rows(tmp_path / "data.parquet", text="text", label="label")


@pytest.mark.parametrize("label", [["a"], {"a": 1}])
def test_a_list_or_an_object_is_no_label(tmp_path: Path, label: object) -> None:
    with pytest.raises(InputError, match=r"line 1 .* as 'label'; a text was expected"):
        two(tmp_path, json.dumps({"text": "a", "label": label}).encode(), "data.jsonl")


def test_half_a_character_is_refused_with_its_row(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text, "label": "a"}) for text in ("\ud83d\ude00", "\ud83d")]
    with pytest.raises(InputError, match=r"line 2 .* half a character"):
        two(tmp_path, "\n".join(lines).encode(), "data.jsonl")


def test_rows_without_a_class_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = b'{"text": "a", "label": NaN}\n{"text": "b", "label": null}\n{"text": "c", "label": "x"}\n'
    assert two(tmp_path, data, "data.jsonl") == [("c", "x")]
    assert "2 with an empty 'label', in line 1, 2" in caplog.text


def test_all_columns_that_are_not_there_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("txt,lab\na,b\n")
    with pytest.raises(InputError, match=r"'text'.* Did you mean 'txt'.*Nor is there a column 'label'.*'film'"):
        read_rows(tmp_path / "data.csv", text="text", label="label", group="film")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_identifier_is_no_class_and_better_columns_are_named(tmp_path: Path, kind: str) -> None:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    file = tmp_path / f"data.{kind}"
    (tmp_path / "data.csv").write_text("text,id,mood\n" + "".join(f"text {i},{i},{'ab'[i % 2]}\n" for i in range(300)))
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(tmp_path / "data.csv"), file)
    rows = read_rows(file, text="text", label="id")
    with pytest.raises(InputError, match=r"300 different values in 300 rows.*'mood' \(2\)"):
        check_classes(file, rows, text="text", label="id")
    check_classes(file, read_rows(file, text="text", label="mood"), text="text", label="mood")


def test_numbers_sort_by_value_below_zero_too() -> None:
    assert classes([Row("x", label) for label in ("10", "-2", "1", "-10", "0.5", "nan", "b")]) == [
        "-10", "-2", "0.5", "1", "10", "b", "nan",
    ]  # fmt: skip


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=4)), min_size=1, max_size=5))
def test_any_csv_is_read_as_pythons_own_reader_does_or_refused(rows: list[tuple[str, str]]) -> None:

    stream = io.StringIO()
    csv.writer(stream).writerows([("text", "label"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = two(Path(folder), stream.getvalue().encode("utf-8", "surrogatepass"))
        except InputError:
            return
    assert found == [(text, label.strip()) for text, label in rows if text.strip() and label.strip()]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8).filter(str.strip),
            st.sampled_from(["a", "b", "c,d", 'e"f', "g\nh", "é;i"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_csv_of_ordinary_rows_is_never_refused(rows: list[tuple[str, str]]) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("text", "label"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        assert two(Path(folder), stream.getvalue().encode()) == rows


@given(st.binary(max_size=80), st.sampled_from(["csv", "tsv", "jsonl", "parquet"]))
def test_any_bytes_are_rows_or_an_error_of_ours(data: bytes, kind: str) -> None:
    before = b'{"text": "a", "label": 1}\n' if kind == "jsonl" else b""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
        assert two(Path(folder), before + data, f"data.{kind}")


def test_a_quotation_mark_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"malformed: unexpected end of data"):
        two(tmp_path, b'text,label\na,"b\nc,d\n')


def test_a_column_of_parquet_that_nobody_asks_for_is_not_read(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    far = pyarrow.array([10**8], pyarrow.int32()).cast(pyarrow.date32())  # no date of Python's
    table = pyarrow.table({"when": far, "label": ["a"], "text": ["one"]})
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet")
    assert two(tmp_path, (tmp_path / "data.parquet").read_bytes(), "data.parquet") == [("one", "a")]
    with pytest.raises(InputError, match=r"unknown column.*'txt'|cannot be read as Parquet"):
        read_rows(tmp_path / "data.parquet", text="txt", label="label")


def test_text_of_parquet_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    bad = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe"))
    pyarrow.parquet.write_table(pyarrow.table({"text": bad, "label": ["a"]}), tmp_path / "data.parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_rows(tmp_path / "data.parquet", text="text", label="label")


def test_a_nul_is_no_text_and_empty_names_of_columns_may_repeat(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1 .* NUL in 'text'"):
        two(tmp_path, b'{"text": "a\\u0000b", "label": 1}\n', "data.jsonl")
    assert two(tmp_path, b"text,label,,\na,b,,\n") == [("a", "b")]


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    file = tmp_path / "data.csv"
    file.write_text("text,label\nfirst,a\n")
    os.utime(file, (1e9, 1e9))
    opened.clear()
    monkeypatch.chdir(tmp_path)
    for path in (file, "data.csv", str(file)):
        rows = read_rows(path, text="text", label="label")
        assert [row.text for row in rows] == ["first"]
        rows.clear()  # the caller's own
    assert opened.count("data.csv") == 1
    assert read_rows(file, text="label", label="text")[0].text == "a"  # other columns
    for number in range(8):  # of one size, and within one tick of the clock
        file.write_text(f"text,label\nchang{number},a\n")
        assert [row.text for row in read_rows(file, text="text", label="label")] == [f"chang{number}"]
    file.unlink()
    with pytest.raises(InputError, match="does not exist"):
        read_rows(file, text="text", label="label")
