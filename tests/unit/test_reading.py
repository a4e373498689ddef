"""What is said of a user's file: its encoding, the lines of its rows, its separator, and what is no class."""

import ast
import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import json
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.data.decoding import check_encoding
from hardprompt.data.files import columns, csv_text
from hardprompt.data.spelling import one_spelling
from hardprompt.data.tables import Row, check_missing, drawn, read_rows, read_texts
from hardprompt.errors import InputError, MissingExtra
from hardprompt.tasks.classify.settings import Classify
from hardprompt.tasks.classify.splits import read_splits
from hardprompt.tasks.restyle.texts import read as read_style


def read(file: Path, data: bytes, encoding: str | None = None) -> list[Row]:
    file.write_bytes(data)
    return read_rows(file, text="text", label="label", encoding=encoding)


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "utf-16-le", "utf-8", "utf-8-sig", "utf-16"])
def test_an_encoding_that_is_named_is_used(tmp_path: Path, encoding: str) -> None:
    rows = read(tmp_path / "a.csv", "text,label\r\nОтличный фильм,да\r\n".encode(encoding), encoding)
    assert [(row.text, row.label) for row in rows] == [("Отличный фильм", "да")]
    (tmp_path / "a.txt").write_bytes("фильм\nда".encode(encoding))
    assert [one.text for one in read_texts(tmp_path / "a.txt", encoding=encoding)] == ["фильм", "да"]


def test_another_encoding_is_read_as_windows_1252_after_a_word_that_names_the_flag(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(tmp_path / "a.csv", "text,label\nфильм,x\n".encode("cp1251"))
    assert "read as Windows-1252" in caplog.text
    assert "--encoding cp1251" in caplog.text


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        (["café crème".encode()] * 40 + ["résumé old".encode("cp1252")], 42),
        (["résumé old".encode("cp1252")] * 40 + ["Ákos".encode()], 2),  # whose Á is no Windows-1252
        (["фильм".encode(), "фильм".encode("cp1251")], 3),
        (["café crème, a long text that a program cut à la".encode() + "é".encode()[:1]], 2),
    ],
)
def test_a_file_of_two_encodings_is_refused_with_the_line_that_is_not_utf_8(
    tmp_path: Path, lines: list[bytes], bad: int
) -> None:
    data = b"\n".join([b"text,label", *(b'"' + line + b'",x' for line in lines), b""])
    with pytest.raises(InputError, match=rf"is UTF-8 in some .* not in all \(line {bad}, byte .*--encoding cp1252"):
        read(tmp_path / "a.csv", data)
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError, match=rf"not in all \(line {bad}, "):
        read_texts(tmp_path / "a.txt")
    assert len(read(tmp_path / "a.csv", data, "latin-1")) == len(lines)


@pytest.mark.parametrize("text", ["«CAFÉ»", "DÉJÀ VU, « L’ÉTÉ… »", "naïve", "“FIANCÉ” – Übermut", "São João"])
def test_no_line_of_windows_1252_is_taken_for_utf_8(tmp_path: Path, text: str) -> None:
    assert read(tmp_path / "a.csv", f'text,label\n"{text}",x\n'.encode("cp1252"))[0].text == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["text,label\nplain,x\n", "text,label\nнаивный é,x\n"])
def test_utf_16_without_its_mark_is_named(tmp_path: Path, encoding: str, text: str) -> None:
    with pytest.raises(InputError, match=f"looks like UTF-16 without its mark: add --encoding {encoding}"):
        read(tmp_path / "a.csv", text.encode(encoding))
    assert len(read(tmp_path / "a.csv", text.encode(encoding), encoding)) == 1


@pytest.mark.parametrize("name", ["mbcs", "rot13", "hex", "undefined", "base64", "oem", "cp1215", "utf8x", "1251x"])
def test_only_an_encoding_that_can_be_used_is_offered(name: str) -> None:
    with pytest.raises(InputError, match=f"unknown encoding {name!r}") as caught:
        check_encoding(name)
    near = re.search(r"Near ones: (.*?)\.", str(caught.value))
    for one in near[1].split(", ") if near else []:
        assert isinstance(io.TextIOWrapper(io.BytesIO(b"ab"), encoding=one).encoding, str)  # Python's own test
    assert near is None or name not in near[1].split(", ")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.tsv"])
def test_a_file_that_is_no_text_is_told_by_what_it_is(tmp_path: Path, name: str) -> None:
    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": ["b"]}), stream)
    with pytest.raises(InputError, match=r"is not text but Parquet; call it \.parquet"):
        read(tmp_path / name, stream.getvalue())
    with zipfile.ZipFile(stream := io.BytesIO(), "w") as packed:
        packed.writestr("xl/workbook.xml", "é")
    with pytest.raises(InputError, match=r"is not text but a zip file, as \.xlsx is"):
        read(tmp_path / name, stream.getvalue())
    with pytest.raises(InputError, match="is not text but gzip"):
        read(tmp_path / name, gzip.compress(b"text,label\na,b\n"), "latin-1")
    assert read(tmp_path / "b.csv", "text,label\nPAR1é,b\n".encode())[0].text == "PAR1é"


def test_quotation_marks_of_csv_in_a_tsv_file_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ['"quoted"', '""twice""', 'said "no"', '""', '"it""s']
    rows = read(tmp_path / "a.tsv", "".join(["text\tlabel\n", *(f"{text}\tx\n" for text in texts)]).encode())
    assert [row.text for row in rows] == texts
    assert not caplog.records
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t").writerows([["text", "label"], ["plain", "x"], ['a "b" 0', "x"], ['"', "y"]])
    read(tmp_path / "b.tsv", stream.getvalue().encode())
    assert f"2 rows of {tmp_path / 'b.tsv'} have quotation marks as CSV writes them, line 3 first" in caplog.text
    assert [row.text for row in read(tmp_path / "b.csv", stream.getvalue().encode())][1:] == ['a "b" 0', '"']


def test_without_pyarrow_the_command_for_this_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=re.escape(f"{sys.executable} -m pip install 'hardprompt[parquet]'")):
        read(tmp_path / "a.parquet", b"PAR1")


@pytest.mark.parametrize(("name", "near"), [("cp1215", "cp125"), ("utf8x", "utf8"), ("base64", ""), ("", "")])
def test_an_encoding_that_does_not_exist_is_refused_with_near_ones(tmp_path: Path, name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"unknown encoding {name!r}.*{near}.* Valid are Python's"):
        read(tmp_path / "a.csv", b"text,label\na,b\n", name)


def test_bytes_that_are_not_in_the_named_encoding_are_refused_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not ASCII text \(line 3, byte 17\)"):
        read(tmp_path / "a.csv", b"text,label\na,b\nna\xefve,x\n", "ascii")


cells = st.text(st.sampled_from('ab ,;|"\n\r\t='), max_size=6)


@given(st.lists(st.one_of(st.none(), st.tuples(cells, cells)), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_the_number_of_a_row_is_the_line_on_which_pythons_reader_meets_it(
    rows: list[tuple[str, str] | None], end: str
) -> None:
    import tempfile

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL)
    for row in [("text", "label"), *rows, ("the last", "x")]:
        writer.writerow(row) if row is not None else stream.write(end)
    lines = io.StringIO(stream.getvalue(), newline="")
    reader, begins = csv.reader(lines), [1]
    expected = []
    for fields in reader:
        if fields and fields[0].strip() and fields[1].strip():
            expected.append((begins[-1], fields[0]))
        begins.append(reader.line_num + 1)
    with tempfile.TemporaryDirectory() as folder:
        found = read(Path(folder) / "a.csv", stream.getvalue().encode())
    assert [(row.number, row.text) for row in found] == [one for one in expected if one[0] > 1]


def test_errors_and_warnings_name_the_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = b'text,label\n\n"two\nlines",x\nfine,\nbad,y,z\n'
    with pytest.raises(InputError, match=r"line 6 of .*a\.csv' does not have the header's 2 fields"):
        read(tmp_path / "a.csv", data)
    rows = read(tmp_path / "a.csv", data[: data.index(b"bad")])
    assert [row.where for row in rows] == ["line 3 of 'a.csv'"]
    assert "1 with an empty 'label', in line 5" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        "sep=;\ntext;label\n\"a, b\";x\n", "sep=|\r\ntext|label\r\na, b|x\r\n", "text|label\na, b|x\n",
        "text;label;a, b\na, b;x;1\n", '"text, or so";text;label\n1;a, b;x\n', "text\tlabel\na, b\tx\n",
        "label,text\nx,\"a, b\"\n", 'label,text,a;b\nx,"a, b",c;d\n',
    ],
)  # fmt: skip
def test_the_separator_is_that_which_parts_header_and_rows_alike(tmp_path: Path, data: str) -> None:
    rows = read(tmp_path / "a.csv", data.encode())
    assert [(row.text, row.label) for row in rows] == [("a, b", "x")]
    assert data.splitlines()[rows[0].number - 1].replace('"', "").count("a, b") == 1


def test_a_key_that_a_json_object_lacks_is_said_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3 of .*column 'label'.* Valid: lable, text"):
        read(tmp_path / "a.jsonl", b'{"text": "a", "label": 1}\n\n{"text": "b", "lable": 1}\n')


def test_the_faults_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.csv").write_text("text,kind\na,b\n")
    paths = [str(tmp_path / f"{name}.csv") for name in ("train", "validation", "test")]
    with pytest.raises(InputError, match=r"train\.csv 'label'.*validation\.csv 'label'.*test\.csv 'label'"):
        read_splits(train=paths[0], validation=paths[1], test=paths[2], text="text", label="label")


def labelled(file: Path, literals: Sequence[str]) -> str:
    """A file with four texts of each of these JSON literals, as JSONL or, as Python's reader has them, as CSV."""
    rows = [(f"{file.stem} {i}", one) for i, one in enumerate([*literals] * 4)]
    lines = [f'{{"text": "{text}", "label": {one}}}' for text, one in rows]
    if file.suffix == ".csv":
        lines = ["text,label", *(f"{text},{json.loads(one)}" for text, one in rows)]
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def test_files_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a/x", "b/x", "c"):
        (tmp_path / folder).mkdir(parents=True)
        labelled(tmp_path / folder / "data.csv", ['"x"', '"y"'])
        (tmp_path / folder / "data.csv").write_text(
            (tmp_path / folder / "data.csv").read_text().replace("data", folder)
        )
        (tmp_path / folder / "t.txt").write_text("".join(f"{folder} {i}\n" for i in range(9)))
    found = read_splits(train="a/x/data.csv", validation="b/x/data.csv", test="c/data.csv", text="text", label="label")
    parts = (found.train, found.validation, found.test)
    assert [{row.file for row in part} for part in parts] == [{"a/x/data.csv"}, {"b/x/data.csv"}, {"c/data.csv"}]
    for row in [*found.train, *found.validation, *found.test]:
        assert f"{row.text},{row.label}" == (tmp_path / row.file).read_text().splitlines()[row.number - 1]
    one = read_splits(
        train="a/x/data.csv", validation="./a/../a/x/data.csv", test="c/data.csv", text="text", label="label"
    )
    assert {row.file for row in [*one.train, *one.validation]} == {"x/data.csv"}  # which is one file
    texts = read_style(texts="a/x/t.txt", test=str(tmp_path / "b/x/t.txt"), shots=2, validation_rows=2, test_rows=2)
    for _, text in texts.places:
        assert (tmp_path / text.file).read_text().splitlines()[text.number - 1] == text.text


def test_styles_with_the_same_examples_are_refused_before_a_classifier_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own, other = ([f"{kind} {i}" for i in range(60)] for kind in ("own", "other"))
    for name, lines in (("own", own), ("other", other), ("some", [*own[:30], *other])):
        Path(f"{name}.txt").write_text("\n".join(lines))
    given: Any = {"texts": "own.txt", "shots": 2, "validation_rows": 2, "test_rows": 2}
    examples: Any
    for examples in ({"source_examples": "other.txt", "target_examples": "other.txt"}, {"target_examples": "own.txt"}):
        with pytest.raises(InputError, match=r"are examples of the other style too, such as 'o.* needs 20 or more"):
            read_style(**given, **examples)
    assert set(read_style(**given, target_examples="some.txt").target) > set(other)


LITERALS = ("1", "1.0", "1e0", "0", "-0.0", "0.10", "0.1", "true", "false")


@pytest.mark.parametrize("kinds", ["one", "csv jsonl"])
def test_classes_are_one_where_pythons_json_reader_has_equal_values(
    tmp_path: Path, kinds: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number, (one, other) in enumerate(itertools.combinations(LITERALS, 2)):
        first, second = json.loads(one), json.loads(other)
        names = [tmp_path / f"{number}{i}.{kind}" for i, kind in enumerate(kinds.split())]
        if kinds == "one":
            files: Any = {"train": labelled(tmp_path / f"{number}.jsonl", [one, other, '"x"'])}
        else:
            files = {"train": labelled(names[0], [one, '"x"']), "test": labelled(names[1], [other, '"x"'])}
        caplog.clear()
        if first == second and isinstance(first, bool) != isinstance(second, bool):
            with pytest.raises(InputError, match=r"'(True|False)' and .* has '.*: whether these are one class is not"):
                read_splits(**files, text="text", label="label")
        elif first == second or kinds == "one":
            found = read_splits(**files, text="text", label="label")
            assert len(found.verbalizers) == 2 + (first != second)
            spelt = {str(first), str(second)}
            assert ("are taken as one class" in caplog.text) == (first == second and len(spelt) > 1)
            assert {row.label for row in found.test} <= set(found.verbalizers) <= spelt | {"x"}
        else:
            with pytest.raises(InputError, match="which the training set does not have"):
                read_splits(**files, text="text", label="label")


def test_true_is_one_class_however_it_is_written_and_a_string_is_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = labelled(tmp_path / "a.jsonl", ["true", "false"])
    (tmp_path / "b.csv").write_text("text,label\nb,true\nc,FALSE\n")
    found = read_splits(train=train, test=str(tmp_path / "b.csv"), text="text", label="label")
    assert [row.label for row in found.test] == ["True", "False"]
    assert "the classes 'True' and 'true' of " in caplog.text
    caplog.clear()
    file = labelled(tmp_path / "c.jsonl", ['"1"', "1", '"01"'])
    assert list(read_splits(train=file, text="text", label="label").verbalizers) == ["01", "1"]
    assert not caplog.records


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.10", "1.1"), ("café", "cafe\u0301"), ("pos", "pos\u200b"), ("pos", "Pos"), ("very good", "very\u00a0good"),
        ("1e+16", "10000000000000000"), ("\u2764", "\u2764\ufe0f"),
    ],
)  # fmt: skip
def test_classes_and_groups_that_look_alike_are_two_and_that_is_said(
    tmp_path: Path, one: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text(f"text,label\n{one} a,{one}\n{other} a,{other}\n" + "x a,x\ny a,1.2\n")
    rows = read_rows(tmp_path / "a.csv", text="text", label="label")
    rows += [Row("b", "x", group=one), Row("c", "x", group=other), Row("d", "x", group="film")]
    assert one_spelling({"a.csv": rows})["a.csv"] == rows
    (shown,) = {record.message.partition(": ")[2] for record in caplog.records}
    assert "film" not in shown
    assert [ast.literal_eval(name) for name in shown.split(" and ")] == [one, other]  # they can be told apart
    assert ascii(one) != ascii(other)
    assert {record.message.split()[0] for record in caplog.records} == {"classes", "groups"}


def test_a_class_is_named_in_whichever_spelling_of_the_files(tmp_path: Path) -> None:
    train = labelled(tmp_path / "a.csv", ["1.0", "0.0"])
    (tmp_path / "b.csv").write_text("text,label\nb,1\nc,0\n")
    files: Any = {"train": train, "test": str(tmp_path / "b.csv"), "text": "text", "label": "label"}
    for words in ({"1.0": "good", "0.0": "bad"}, {"0": "bad", "1": "good"}, {"1": "good", "0.0": "bad"}):
        assert read_splits(**files, words=words).verbalizers == {"0": "bad", "1": "good"}
    true = labelled(tmp_path / "c.jsonl", ["true", "false", "1.5"])
    found = read_splits(train=true, text="text", label="label", words={"true": "a", "false": "b", "1.5": "c"})
    assert found.verbalizers == {"1.5": "c", "False": "b", "True": "a"}
    with pytest.raises(InputError, match=r"verbalizers of '1' and '1\.0' are of one class, '1'"):
        read_splits(**files, words={"1": "good", "1.0": "well", "0": "bad"})
    asked = Classify(**files, class_prior={"1.0": 3.0, "0.0": 1.0}, calibrate="batch")
    assert asked.plan()["verbalizers"] == {"0": " 0", "1": " 1"}


def test_a_group_is_one_in_whatever_file_and_spelling(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "".join(f'{{"text": "a {i}", "label": "{"xy"[i % 2]}", "film": {i // 2}}}\n' for i in range(8))
    )
    (tmp_path / "b.csv").write_text("text,label,film\nb,x,1.0\nc,y,1.0\n")
    files: Any = {"train": str(tmp_path / "a.jsonl"), "test": str(tmp_path / "b.csv")}
    found = read_splits(**files, text="text", label="label", group="film")
    assert {row.group for row in found.test}.isdisjoint({row.group for row in [*found.train, *found.validation]})
    assert sorted(row.text for row in found.left_out) == ["a 2", "a 3"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_rows_without_a_group_are_parted_as_if_each_had_its_own(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def written(name: str, alone: Sequence[str | None], rows: int = 200) -> str:
        table = [(f"{name} {i}", "ab"[i % 2], f"w{i}" if i % 4 else alone[i // 4 % len(alone)]) for i in range(rows)]
        file = tmp_path / f"{name}.{kind}"
        keys = ("text", "label", "who")
        lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in table]
        if kind == "csv":
            lines = [",".join(keys), *(",".join(cell or "" for cell in row) for row in table)]
        file.write_text("\n".join(lines) + "\n")
        return str(file)

    base: Any = {"text": "text", "label": "label", "group": "who"}
    whole = read_splits(train=written("a", ["", " ", None]), **base)
    plain = read_splits(train=written("a", ["", " ", None]), text="text", label="label")  # no group but of one row
    for part in ("train", "validation", "test"):
        assert len(getattr(whole, part)) == len(getattr(plain, part))
    first = 1 if kind == "jsonl" else 2
    assert f"50 of 200 rows of {tmp_path / 'a'}.{kind} have no group in 'who', line {first} of" in caplog.text
    given = read_splits(train=written("b", ["", None]), test=written("c", [" "], 4), **base)
    assert len([*given.train, *given.validation]) == 200 - 3  # w1, w2 and w3 stand in the test file


def test_a_group_is_without_the_spaces_around_it_and_a_missing_value_as_a_word_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label,who\na,x,author 3\nb,x,author 3 \nc,y, author 3\nd,y,nan\ne,y,nan\n")
    rows = read_rows(file, text="text", label="label", group="who")
    assert [row.group for row in rows] == ["author 3"] * 3 + ["nan"] * 2
    assert f"2 rows of {file} are kept together as the group 'nan'" in caplog.text


@pytest.mark.parametrize("name", ["nan", "None", "NULL", "N/A"])
def test_a_rare_class_that_is_called_as_a_missing_value_is_refused(name: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = [Row(f"text {i}", "ab"[i % 2], number=i + 2, file="a.csv") for i in range(20)]
    missing = [Row("nan", name, number=30 + i, file="a.csv") for i in range(20)]
    with pytest.raises(InputError, match=rf"4 rows have the class '{name}', line 30 of 'a.csv' first.*missing values"):
        check_missing([*rows, *missing[:4]])
    check_missing([*rows, *missing[:4]], known=[name])
    assert not caplog.records
    check_missing([*rows, *missing])  # a class that is really called so
    assert f"20 rows have the class {name!r}" in caplog.text


@given(
    st.lists(st.sampled_from("aaaaabbc"), min_size=3, max_size=80),
    st.integers(3, 60),
)
def test_what_is_drawn_of_a_large_set_is_like_it(labels: list[str], most: int) -> None:
    kept = drawn(labels, most, "train")
    assert kept == sorted(set(kept)) == drawn(labels, most, "train")
    assert len(kept) == min(most, len(labels))
    for label in set(labels):
        share = min(most, len(labels)) * labels.count(label) / len(labels)
        # Within a row of its share, but for what classes below one row take.
        assert max(1, share - 3) <= [labels[i] for i in kept].count(label) + (share < 1) <= share + 2
    assert drawn(labels, None, "train") == list(range(len(labels)))


def test_a_set_is_not_cut_below_its_classes_and_the_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--test-rows is 2 and the test set has 3 classes.* --test-rows 3 or more"):
        drawn("abcabc", 2, "test")
    file = labelled(tmp_path / "a.jsonl", [f'"c{i}"' for i in range(300)])
    asked = Classify(train=file, text="text", label="label")
    with pytest.raises(InputError, match=r"--train-rows is 256 and the train set has 300 classes.*--train-rows 300"):
        asked.plan()
    with pytest.raises(InputError, match=r"--validation-rows is 10 and the validation set has 300 classes"):
        dataclasses.replace(asked, train_rows=300, validation_rows=10).plan()


def test_many_small_classes_may_be_left_out_and_an_identifier_is_still_none(tmp_path: Path) -> None:
    rows = [(f"text {i}", f"c{i % 10}" if i < 410 else f"odd {i}", i) for i in range(1000)]
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": label, "id": i}) + "\n" for text, label, i in rows)
    )
    base: Any = {"train": str(tmp_path / "a.jsonl"), "text": "text"}
    with pytest.raises(InputError, match="600 different values in 1000 rows: it is no class"):
        read_splits(**base, label="label")
    assert len(read_splits(**base, label="label", drop_small_classes=True).verbalizers) == 10
    for drop in (False, True):
        with pytest.raises(InputError, match="1000 different values in 1000 rows: it is no class"):
            read_splits(**base, label="id", drop_small_classes=drop)


@pytest.mark.parametrize("drop", [False, True])
def test_a_class_that_a_set_lacks_is_named_with_its_file(tmp_path: Path, drop: bool) -> None:
    files = {name: labelled(tmp_path / f"{name}.csv", ['"a"', '"b"', *['"c"'] * (name != "v")]) for name in "tve"}
    base: Any = {"text": "text", "label": "label", "drop_small_classes": drop}
    with pytest.raises(InputError, match=r"the validation set, of .*v\.csv' lacks the class 'c'; it needs some"):
        read_splits(train=files["t"], validation=files["v"], test=files["e"], **base)
    (tmp_path / "e.csv").write_text("text,label\n" + "".join(f"t {i},c\n" for i in range(12)))
    with pytest.raises(
        InputError, match=r"training set, of .*t\.csv', without the texts .* lacks the classes 'a', 'b', 'c'"
    ):
        read_splits(train=files["t"], validation=files["e"], test=files["e"], text="text", label="label")


def test_rows_beyond_the_caps_are_left_out_counted_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"text": f"text {i}", "label": "abb"[i % 3]}) + "\n" for i in range(300)))
    whole = read_splits(train=str(file), text="text", label="label")
    parts = read_splits(train=str(file), text="text", label="label", train_rows=30, validation_rows=12, test_rows=90)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [30, 12, len(whole.test)]
    assert [row.label for row in parts.train].count("a") == 10
    assert set(parts.train) <= set(whole.train)
    numbers = sorted(row.number for part in (parts.train, parts.validation, parts.test, parts.left_out) for row in part)
    assert numbers == list(range(1, 301))
    cut = [(len(part), len(part) - kept) for part, kept in ((whole.train, 30), (whole.validation, 12))]
    assert (
        f"of {file} and what goes with it rows are left out, drawn at random: {cut[0][1]} of {cut[0][0]} for train "
        f"(--train-rows 30), {cut[1][1]} of {cut[1][0]} for validation (--validation-rows 12)"
    ) in caplog.text
    assert "for test" not in caplog.text
    shots = read_splits(train=str(file), text="text", label="label", train_rows=2, shots=16)
    assert len(shots.train) == 32


@pytest.mark.parametrize("given", ["", "test", "validation test"])
@pytest.mark.parametrize("shots", [None, 1, 4, 16])
def test_a_class_is_too_small_where_its_part_of_the_file_is(tmp_path: Path, given: str, shots: int | None) -> None:
    def trained(n: int) -> int:  # of n rows, as docs/data.md has it
        for name, share in (("test", 0.3), ("validation", 0.25)):
            n -= 0 if name in given else max(1, round(share * n))
        return n

    sizes = {f"c{n:02}": n for n in (*range(1, 12), 22, 29, 30, 31, 32, 40, 41)}
    rows = [{"text": f"{name} {i}", "label": name} for name, n in sizes.items() for i in range(n)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    others = {name: str(tmp_path / f"{name}.jsonl") for name in given.split()}
    for name, path in others.items():
        Path(path).write_text("".join(json.dumps({"text": f"{name} {c}", "label": c}) + "\n" for c in sizes))
    base: Any = {"train": str(tmp_path / "a.jsonl"), "text": "text", "label": "label", "shots": shots, **others}
    enough = {name for name, n in sizes.items() if trained(n) >= (shots or 1)}
    found = read_splits(**base, drop_small_classes=True)
    assert set(found.verbalizers) == enough
    for part in (found.train, found.validation, found.test):
        assert {row.label for row in part} == enough
    if shots is not None:
        assert [row.label for row in found.train] == sorted([*enough] * shots)
    if enough != set(sizes):
        with pytest.raises(InputError, match="--drop-small-classes"):
            read_splits(**base)


def test_the_rows_that_shots_need_are_those_of_the_page(tmp_path: Path) -> None:
    page = " ".join((Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8").split())
    named = re.findall(r"`--shots (\d+)` needs (\d+)", page)
    assert named
    for shots, needs in ((int(shots), int(needs)) for shots, needs in named):
        for rows, enough in ((needs, True), (needs - 1, False)):
            file = tmp_path / f"{rows}.csv"
            file.write_text("text,label\n" + "".join(f"{c} {i},{c}\n" for i in range(rows) for c in "ab"))
            with contextlib.nullcontext() if enough else pytest.raises(InputError, match=f"than the {shots} shots"):
                assert len(read_splits(train=str(file), text="text", label="label", shots=shots).train) == 2 * shots


def test_rows_of_a_few_groups_are_enough_for_shots_and_two_classes_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.csv"
    lines = [f"{c} {i},{c},{c}{i % 4}" for c in "ab" for i in range(40)] + ["odd,c,a0", "odder,c,b0", "oddest,c,a1"]
    file.write_text("\n".join(["text,label,film", *lines]) + "\n")
    base: Any = {"train": str(file), "text": "text", "label": "label", "group": "film", "drop_small_classes": True}
    found = read_splits(**base, shots=8)  # of a class 4 groups of 10 rows, 2 of them to train on
    assert [row.label for row in found.train] == ["a"] * 8 + ["b"] * 8
    assert "the classes c (3); each needs 8 to train on beside those that validate or test" in caplog.text
    with pytest.raises(InputError, match=r"fewer than two classes .* a \(40\), b \(40\), c \(3\); each needs 30"):
        read_splits(**base, shots=30)


@pytest.mark.parametrize("sign", "=+-@\t\r\n＝＋－＠")
def test_what_a_spreadsheet_would_run_has_an_apostrophe_before_it(tmp_path: Path, sign: str) -> None:
    file = tmp_path / "a.csv"
    cells = [f"{sign}1+1", f"'{sign}1+1", "plain", f"a{sign}1"]
    file.write_text(csv_text(["text"], [[cell] for cell in cells]), encoding="utf-8", newline="")
    with file.open(encoding="utf-8", newline="") as stream:
        written = [row["text"] for row in csv.DictReader(stream)]
    assert written == [f"'{sign}1+1", f"''{sign}1+1", "plain", f"a{sign}1"]
    assert [row[0] for row in columns(file, "text")] == cells
