"""Templates: slots, escapes, spacing, and texts that look like templates themselves."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError
from hardprompt.tasks.template import Template, check_template, unescaped

literals = st.text(alphabet="ab .mask prompt\n", max_size=8)
anything = st.text(alphabet="ab {}\\ntext prompt mask\0\n", max_size=12)


@pytest.mark.parametrize("source", ["{prompt}", "{text}", "", "It was {mask}."])
def test_a_missing_slot_raises_and_is_named(source: str) -> None:
    missing = "{text}" if "{text}" not in source else "{prompt}"
    with pytest.raises(InputError, match=missing.replace("{", r"\{").replace("}", r"\}")):
        Template(source)


@pytest.mark.parametrize("slot", ["text", "prompt", "mask"])
def test_a_repeated_slot_raises_with_its_count(slot: str) -> None:
    with pytest.raises(InputError, match=rf"\{{{slot}\}} 3 times"):
        Template("{text}{prompt}{mask}" + f"{{{slot}}}" * 2)


@pytest.mark.parametrize("slot", ["{promt}", "{}", "{ text }", "{TEXT}"])
def test_an_unknown_slot_raises_and_lists_the_valid_ones(slot: str) -> None:
    with pytest.raises(InputError, match=r"Valid: \{mask\}, \{prompt\}, \{text\}"):
        Template("{text}{prompt}" + slot)


def test_a_misspelt_slot_raises_with_the_nearest_valid_one() -> None:
    with pytest.raises(InputError, match=r"Did you mean '\{prompt\}'"):
        Template("{text}{promt}")


@pytest.mark.parametrize("order", list(itertools.permutations(["{text}", "{prompt}", "{mask}"])))
def test_slots_stand_in_any_order(order: tuple[str, ...]) -> None:
    before, after = Template("<" + "|".join(order) + ">").fill("T", "P")
    values = {"{text}": "T", "{prompt}": "P", "{mask}": "#"}
    assert before + "#" + after == "<" + "|".join(values[slot] for slot in order) + ">"


def test_without_a_mask_the_answer_follows_the_end() -> None:
    assert Template("{text} {prompt}:").fill("T", "P") == ("T P:", "")


def test_a_backslash_in_a_template_is_a_backslash() -> None:
    assert Template(r"${text}$ \nabla {prompt}\t").fill("T", "P") == (r"$T$ \nabla P\t", "")


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        (r"{text}\n{prompt}\t", "{text}\n{prompt}\t"),
        (r"{text} $\\nabla$ {prompt}", r"{text} $\nabla$ {prompt}"),
        (r"{text}\{prompt} \\ C:\dir", r"{text}\{prompt} \\ C:\dir"),
    ],
)
def test_typed_escapes_are_line_breaks_and_tabs_unless_a_backslash_stands_before_them(source: str, meant: str) -> None:
    assert unescaped(source) == meant


def test_what_looks_like_an_escape_in_a_file_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert check_template(r"Read: {text}\n{prompt}").source == r"Read: {text}\n{prompt}"
    assert len(caplog.records) == 1
    assert "backslash" in caplog.text
    check_template("Read: {text}\n{prompt}")
    assert len(caplog.records) == 1


@given(order=st.permutations(["{text}", "{prompt}", "{mask}"]), text=anything, blank=st.sampled_from(["", "<mask>"]))
def test_the_sides_of_the_prompt_are_the_filled_template_around_it(order: list[str], text: str, blank: str) -> None:
    template = Template("A " + " ".join(order) + " Z")
    left, right = template.sides(text, blank)
    assert left + "P" + right == blank.join(template.fill(text, "P"))
    assert left == "A " + "".join({"{text}": text, "{mask}": blank}[s] + " " for s in order[: order.index("{prompt}")])


def test_escapes_in_text_and_prompt_are_left_alone() -> None:
    assert Template("{text} {prompt}").fill(r"a\nb", r"\t") == (r"a\nb \t", "")


def test_braces_in_text_and_prompt_are_no_slots() -> None:
    before, after = Template("{text} {prompt} {mask}!").fill("{prompt} {mask} {0} {", "{text}}")
    assert (before, after) == ("{prompt} {mask} {0} { {text}} ", "!")


def test_the_word_mask_in_the_template_is_not_the_slot() -> None:
    assert Template("{text}mask{prompt} {mask}.").fill("T", "P") == ("TmaskP ", ".")
    assert Template("mask{text}text{prompt}prompt").fill("T", "P") == ("maskTtextPprompt", "")


@given(
    order=st.permutations(["text", "prompt", "mask"]),
    parts=st.tuples(literals, literals, literals, literals),
    text=anything,
    prompt=anything,
)
def test_filling_writes_text_and_prompt_into_their_slots_whatever_they_contain(
    order: list[str], parts: tuple[str, ...], text: str, prompt: str
) -> None:
    source = parts[0] + "".join(f"{{{slot}}}{part}" for slot, part in zip(order, parts[1:], strict=True))
    filled = {"text": text, "prompt": prompt}
    at = order.index("mask")
    before = parts[0] + "".join(filled[s] + p for s, p in zip(order[:at], parts[1 : at + 1], strict=True))
    after = parts[at + 1] + "".join(filled[s] + p for s, p in zip(order[at + 1 :], parts[at + 2 :], strict=True))
    assert Template(source).fill(text, prompt) == (before, after)


@pytest.mark.parametrize(
    ("source", "spaced"),
    [
        ("{text}{prompt}", True),
        ("{text}.{prompt}", True),
        ("{text} {prompt}", False),
        ("{text}\n{prompt}", False),
        ("{prompt}{text}", False),
        ("{prompt} {text}", False),
        ("Review:{prompt} {text}", True),
        ("{text} {mask}{prompt}", True),
    ],
)
def test_the_prompt_needs_its_own_space_exactly_when_something_else_than_space_stands_right_before_it(
    source: str, spaced: bool
) -> None:
    assert Template(source).spaced is spaced


@pytest.mark.parametrize(
    ("source", "fixed"),
    [
        ("{text} {prompt} {mask}", "T "),
        ("A {text}{prompt}", "A T"),
        ("{prompt} {text} {mask}", ""),
        ("In {prompt}: {text}", "In "),
        ("{text} {mask} {prompt}", "T "),
        ("{mask} {text} {prompt}", ""),
    ],
)
def test_before_prompt_is_what_every_prompt_leaves_the_same_at_the_beginning(source: str, fixed: str) -> None:
    assert Template(source).before_prompt("T") == fixed


@given(order=st.permutations(["{text}", "{prompt}", "{mask}"]), text=anything, prompt=anything)
def test_every_context_begins_with_what_stands_before_the_prompt(order: list[str], text: str, prompt: str) -> None:
    template = Template(" ".join(order))
    assert template.fill(text, prompt)[0].startswith(template.before_prompt(text))


def test_templates_with_one_source_are_equal() -> None:
    assert Template("{text}{prompt}") == Template("{text}{prompt}")
    assert Template("{text}{prompt}") != Template("{text} {prompt}")


def test_a_prompt_that_leads_stands_before_everything_and_the_written_one_in_its_slot() -> None:
    template = Template("Review: {text}\n{prompt}{mask}.", lead="{yes or no}?")
    assert template.fill("{prompt}", "An example. ") == ("An example. Review: {prompt}\n{yes or no}?", ".")
    assert template.before_prompt("a text") == ""
    assert not template.spaced
