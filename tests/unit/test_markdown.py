"""Text of a model's stays text: in Markdown, and in a spreadsheet."""

import csv
import io
import re
from pathlib import Path
from urllib.parse import unquote

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hardprompt.data.files import columns, csv_text
from hardprompt.data.markdown import block, code, code_cell, link, plain

NASTY = st.text(st.sampled_from("`~#*_[]<>|!\\&$-=+@'\"ab \n\t\r"), max_size=25)


@given(NASTY)
def test_nothing_in_a_block_ends_it(text: str) -> None:
    tokens = MarkdownIt().parse(f"before\n\n{block(text)}\n\nafter")
    assert [token.type for token in tokens][3:4] == ["fence"]
    assert [token.type for token in tokens].count("paragraph_open") == 2
    assert tokens[3].content == f"{text}\n".replace("\r\n", "\n").replace("\r", "\n")


@given(NASTY)
@example(" x ")
@example("a|b")
@example("`")
def test_code_within_a_line_is_shown_as_it_is(text: str) -> None:
    (inline,) = [token for token in MarkdownIt().parse(f"a {code(text)} b") if token.type == "inline"]
    shown = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    if text:
        kinds = [(child.type, child.content) for child in inline.children or ()]
        assert kinds == [("text", "a "), ("code_inline", shown), ("text", " b")]
    else:
        assert inline.content == "a (empty) b"


@given(NASTY.filter(bool))
def test_code_within_a_cell_is_shown_as_it_is(text: str) -> None:
    tokens = MarkdownIt().enable("table").parse(f"| a | b |\n|---|---|\n| {code_cell(text)} | c |")
    found = [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]
    assert found == [text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")]
    assert [token.type for token in tokens].count("td_open") == 2


@given(NASTY.filter(str.strip))
@example("a>b (x).jpg")
def test_a_link_leads_where_it_says(text: str) -> None:
    name = " ".join(text.split())
    (inline,) = [token for token in MarkdownIt().parse(f"- {link(name, name + '/a')}") if token.type == "inline"]
    opening, *inside, _ = inline.children or ()
    assert opening.type == "link_open"
    assert unquote(str(opening.attrs["href"])) == f"{name}/a"
    assert "".join(child.content for child in inside) == name


@given(NASTY.filter(str.strip))
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(f"x {plain(text)} x")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    (_, inline, _) = tokens
    shown = "".join(child.content for child in inline.children or ())
    assert {child.type for child in inline.children or ()} <= {"text", "text_special"}
    assert shown == f"x {' '.join(text.split())} x"


@given(
    st.lists(st.text(st.sampled_from("=+-@＝'\t\r\nab,;\"1 "), max_size=8), min_size=1, max_size=4),
    st.sampled_from(",;\t"),
)
@example(["a;=1+1", '";"=1+1', "\n=1+1", "x\n=1+1"], ";")
def test_no_cell_is_a_formula_however_a_spreadsheet_parts_them(cells: list[str], separator: str) -> None:
    text = csv_text(["line", f"P({cells[0]})"], [[1, cell] for cell in cells])
    shown = [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) for cell in row]
    numbers = {cell for cell in shown if re.fullmatch(r"[+-]?\d+", cell)}
    assert not any(cell.startswith(("=", "+", "-", "@", "＝")) for cell in {*shown} - numbers)
    if separator == ",":
        assert not any(cell.startswith(("\t", "\r", "\n")) for cell in shown)


@given(st.lists(st.text(st.sampled_from("=+-@＝'\t\r\nab,;\"1 "), max_size=8), min_size=1, max_size=4))
def test_reading_gives_what_was_written(tmp_path: Path, cells: list[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(csv_text(["prompt"], [[cell] for cell in cells]), encoding="utf-8", newline="")
    assert [cell for (cell,) in columns(path, "prompt")] == cells


def test_numbers_stay_numbers_and_texts_stand_in_quotation_marks() -> None:
    assert csv_text(["reward"], [[-1.5]]) == '"reward"\r\n-1.5\r\n'
    stream = io.StringIO(csv_text(["label", "P(-1)"], [["-1", "a;b"], ["+2.5e-3", "x"], ["-1 + 1", ""]]), newline="")
    assert stream.getvalue().count('"') == 2 * 8
    assert [row[0] for row in csv.reader(stream)] == ["label", "-1", "+2.5e-3", "'-1 + 1"]
