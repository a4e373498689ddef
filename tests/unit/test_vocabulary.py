"""Which tokens may be proposed, which may open a prompt, and which prompts survive being pasted."""

import unicodedata
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from hardprompt.errors import InputError
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.scripts import check_script
from hardprompt.lms.tokens import special_ids
from hardprompt.lms.vocabulary import Place, allowed_tokens, first_tokens, prompt_text, survives
from tests.conftest import ENGLISH, VOCABULARY
from tests.kinds import KINDS, joining, tiny_with

BEHIND = Place(None, spaced=True)
WORDS = (" film", "film", " Film", " é", " naïve", " a", " A", " I", "a")
MARKS = (",", " ,", ".", "!", "?", "'", '"', "(", "-", "'s", "'ll", "'t")
NOT_WORDS = (" FILM", " camelCase", " x", " B", " 12", " a1", "](", "--", "...", "\n", "\t", " ", "  ", " two words")
OTHER_SCRIPTS = {"cyrillic": " кот", "greek": " γάτα", "hangul": " 고양이"}
NOT_TEXT = ("\x07", "\x00", "\ufffd", " bad\ufffd", "\ue000")


def word_level(*texts: str) -> PreTrainedTokenizerFast:
    """A tokenizer that takes a whole string as one token, or as ``<unk>``."""
    inner = Tokenizer(models.WordLevel({text: i for i, text in enumerate(("<unk>", *texts))}, unk_token="<unk>"))
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", clean_up_tokenization_spaces=False)


def metaspace() -> PreTrainedTokenizerFast:
    """A sentencepiece-like tokenizer as Llama 2 and Mistral have: its decoder drops the first space of a text."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], show_progress=False)
    apart = ENGLISH.replace(".", " .").replace(",", " ,")  # so that marks are tokens too
    inner.train_from_iterator(apart.strip().splitlines(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


def texts_of(tokenizer: Any, mask: torch.Tensor) -> set[str]:
    return {tokenizer.decode([i]) for i in mask.nonzero()[:, 0].tolist()}


def test_words_keeps_words_of_the_script_and_single_marks_and_nothing_else() -> None:
    tokenizer = word_level(*WORDS, *MARKS, *NOT_WORDS, *OTHER_SCRIPTS.values(), *NOT_TEXT)
    assert texts_of(tokenizer, allowed_tokens(tokenizer, len(tokenizer))) == {*WORDS, *MARKS}


@pytest.mark.parametrize("script", OTHER_SCRIPTS)
def test_words_of_another_script_replace_those_of_latin(script: str) -> None:
    tokenizer = word_level(*WORDS, *MARKS, *OTHER_SCRIPTS.values())
    allowed = texts_of(tokenizer, allowed_tokens(tokenizer, len(tokenizer), script=script))
    assert allowed == {OTHER_SCRIPTS[script], *MARKS}


def test_any_keeps_everything_that_can_be_pasted() -> None:
    tokenizer = word_level(*WORDS, *MARKS, *OTHER_SCRIPTS.values(), " FILM", " 12", "](", "🙂", *NOT_TEXT)
    allowed = texts_of(tokenizer, allowed_tokens(tokenizer, len(tokenizer), tokens="any"))
    assert allowed == {*WORDS, *MARKS, *OTHER_SCRIPTS.values(), " FILM", " 12", "](", "🙂"}


@pytest.mark.parametrize("tokens", ["words", "any"])
def test_every_allowed_token_of_a_byte_level_tokenizer_comes_back_from_its_own_text(
    tiny_tokenizer: Any, tokens: Any
) -> None:
    mask = allowed_tokens(tiny_tokenizer, VOCABULARY, tokens=tokens)
    for i in mask.nonzero()[:, 0].tolist():
        text = tiny_tokenizer.decode([i])
        assert tiny_tokenizer(text, add_special_tokens=False)["input_ids"] == [i]
        assert "\ufffd" not in text
        assert not any(unicodedata.category(c).startswith("C") for c in text)
    assert not mask[tiny_tokenizer.all_special_ids].any()


def test_words_of_a_byte_level_tokenizer_include_frequent_words_and_exclude_the_rest(tiny_tokenizer: Any) -> None:
    allowed = texts_of(tiny_tokenizer, allowed_tokens(tiny_tokenizer, VOCABULARY))
    assert {" film", " good", " great", "The", ",", ".", " I", " a"} <= allowed
    assert not {"<s>", "<mask>", "\n", "7", " t", "_", "[", "B"} & allowed


def test_words_are_a_subset_of_any(tiny_tokenizer: Any) -> None:
    words, every = (allowed_tokens(tiny_tokenizer, VOCABULARY, tokens=t) for t in ("words", "any"))
    assert not (words & ~every).any()
    assert int(every.sum()) > int(words.sum())


def test_rows_of_the_head_that_no_token_has_are_never_allowed(tiny_tokenizer: Any) -> None:
    mask = allowed_tokens(tiny_tokenizer, VOCABULARY + 14, tokens="any")
    assert mask.shape == (VOCABULARY + 14,)
    assert not mask[VOCABULARY:].any()
    assert torch.equal(mask[:VOCABULARY], allowed_tokens(tiny_tokenizer, VOCABULARY, tokens="any"))


def test_tokens_beyond_the_head_are_never_allowed(tiny_tokenizer: Any) -> None:
    mask = allowed_tokens(tiny_tokenizer, 300)
    assert torch.equal(mask, allowed_tokens(tiny_tokenizer, VOCABULARY)[:300])


@pytest.mark.unchecked
def test_an_unknown_kind_of_tokens_raises_and_offers_the_valid_ones(tiny_tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"word.*Did you mean 'words'.*any, words"):
        allowed_tokens(tiny_tokenizer, VOCABULARY, tokens="word")  # type: ignore[arg-type]


def test_a_vocabulary_without_an_allowed_token_raises() -> None:
    with pytest.raises(InputError, match="no token"):
        allowed_tokens(word_level("\x07", "]("), 3)


def test_marks_alone_are_no_vocabulary() -> None:
    tokenizer = word_level(*WORDS, *MARKS, OTHER_SCRIPTS["cyrillic"])
    with pytest.raises(InputError, match=r"no token of the vocabulary is a word of the script 'greek'; .* latin, cyr"):
        allowed_tokens(tokenizer, len(tokenizer), script="greek")
    with pytest.raises(InputError, match="can stand in a prompt"):
        allowed_tokens(word_level("\x07"), 2, tokens="any")


@pytest.mark.parametrize("script", ["latin", "CYRILLIC", "hangul", "cjk", "old turkic"])
def test_a_script_is_known_by_the_names_of_its_letters(script: str) -> None:
    check_script(script)


@pytest.mark.parametrize("script", ["han", ""])  # what the names of several begin with
def test_what_no_letter_is_called_is_no_script(script: str) -> None:
    with pytest.raises(InputError, match=f"unknown script {script!r}"):
        check_script(script)


def test_a_prompt_opens_with_a_word_that_is_spaced_as_asked_and_goes_on_with_spaced_words_and_marks() -> None:
    tokenizer = word_level(" film", "film", "Film", " good", ",", " ,", "'s")
    allowed = allowed_tokens(tokenizer, len(tokenizer))
    for spaced, expected in ((True, {" film", " good"}), (False, {"film", "Film"})):
        opens, follows = first_tokens(tokenizer, allowed, tokens="words", place=Place(None, spaced))
        assert texts_of(tokenizer, opens) == expected
        assert texts_of(tokenizer, follows) == {" film", " good", ",", " ,", "'s"}


def test_any_token_may_open_and_follow_when_all_are_asked_for(tiny_tokenizer: Any) -> None:
    allowed = allowed_tokens(tiny_tokenizer, VOCABULARY, tokens="any")
    opens, follows = first_tokens(tiny_tokenizer, allowed, tokens="any", place=BEHIND)
    assert torch.equal(opens, allowed)
    assert torch.equal(follows, allowed)


def test_nothing_outside_allowed_opens_or_follows(tiny_tokenizer: Any) -> None:
    allowed = allowed_tokens(tiny_tokenizer, VOCABULARY)
    for spaced in (True, False):
        for part in first_tokens(tiny_tokenizer, allowed, tokens="words", place=Place(None, spaced)):
            assert part.any()
            assert not (part & ~allowed).any()


def test_without_a_word_of_the_asked_spacing_any_allowed_token_opens() -> None:
    tokenizer = word_level("film", "good", ",")
    allowed = allowed_tokens(tokenizer, len(tokenizer))
    opens, follows = first_tokens(tokenizer, allowed, tokens="words", place=BEHIND)
    assert texts_of(tokenizer, opens) == {"film", "good", ","}
    assert texts_of(tokenizer, follows) == {","}


@pytest.mark.parametrize("spaced", [True, False])
def test_words_may_follow_where_the_tokenizer_drops_the_first_space_of_a_text(spaced: bool) -> None:
    tokenizer = metaspace()
    film, comma = tokenizer.convert_tokens_to_ids(["▁film", ","])
    allowed = allowed_tokens(tokenizer, len(tokenizer))
    opens, follows = first_tokens(tokenizer, allowed, tokens="words", place=Place.behind("", spaced=spaced))
    assert allowed[film]
    assert opens[film]  # the only way in which such a tokenizer opens a text
    assert follows[film]
    assert follows[comma]  # which at the beginning of a text would get a space
    assert not opens[comma]
    assert survives(tokenizer, [film, comma, tokenizer.convert_tokens_to_ids("▁good"), film])


@pytest.mark.parametrize("before", ["", " ", "The film was\n", "The film was", "The film was "])
@pytest.mark.parametrize("tokens", ["words", "any"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_proposes_the_tokens_that_its_texts_are_read_as(kind: str, before: str, tokens: Any) -> None:
    """Two tokens that may open a prompt and go on with it, put behind what the policy model reads before them."""
    lm, spaced = tiny_with(kind), before.endswith("was")
    tokenizer = lm.tokenizer
    policy = PolicyLM(lm.model, tokenizer, start=before, spaced=spaced, tokens=tokens, probed=lm.packed)
    firsts, seconds = policy.opens.nonzero()[:, 0].tolist(), policy.follows.nonzero()[:, 0].tolist()
    prompts = [[first, seconds[7 * i % len(seconds)]] for i, first in enumerate(firsts)][:: len(firsts) // 20 + 1]
    kept = [prompt for prompt in prompts if survives(tokenizer, prompt)]
    assert len(kept) > len(prompts) // 3
    closing = len(special_ids(tokenizer)[1])
    begun, *read = (
        ids[: len(ids) - closing]
        for ids in tokenizer([before.removesuffix(" "), *[before + policy.text(p) for p in kept]])["input_ids"]
    )
    wrong = [(ids, prompt) for ids, prompt in zip(read, kept, strict=True) if ids != [*begun, *prompt]]
    if tokens == "any" and spaced:  # a mark may grow together with the word before it
        wrong = [(ids, prompt) for ids, prompt in wrong if ids[: len(begun)] == begun]
    if (kind, before) == ("prepend", " "):  # the space that it puts before every text stays a token of its own
        more = tokenizer.convert_tokens_to_ids("▁")
        assert read == [[*begun, more, *prompt] for prompt in kept]
        return
    assert wrong == []
    with torch.no_grad():
        plain = lm.model(input_ids=torch.tensor(read[-1:])).logits[0, -1]
    torch.testing.assert_close(policy.logits(policy.states(kept[-1:]))[0], plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("before", "spaced"), [(" ", False), ("The film\t", False), ("Review: (", False), ("It (", True)]
)
def test_no_word_opens_a_prompt_that_grows_together_with_what_stands_before_it(before: str, spaced: bool) -> None:
    tokenizer = joining()
    place = Place.behind(before, spaced=spaced)
    allowed = allowed_tokens(tokenizer, len(tokenizer))
    words, _ = first_tokens(tokenizer, allowed, tokens="words", place=place)
    begun = tokenizer(before.removesuffix(" "))["input_ids"]
    opening = words.nonzero()[:, 0].tolist()
    assert len(opening) > 20
    for i in opening:
        assert tokenizer(before + prompt_text(tokenizer, [i], place))["input_ids"] == [*begun, i]
    others = (allowed & ~words).nonzero()[:, 0].tolist() if not place.spaced else []
    for i in others:  # of which none could have been read
        text = tokenizer.decode([i])
        assert not text.isalpha() or tokenizer(before + text)["input_ids"] != [*begun, i]


@given(data=st.data())
def test_prompts_of_whole_words_survive(tiny_tokenizer: Any, data: st.DataObject) -> None:
    allowed = allowed_tokens(tiny_tokenizer, VOCABULARY)
    opens, follows = first_tokens(tiny_tokenizer, allowed, tokens="words", place=BEHIND)
    words = [i for i in follows.nonzero()[:, 0].tolist() if tiny_tokenizer.decode([i]).startswith(" ")]
    first = data.draw(st.sampled_from(opens.nonzero()[:, 0].tolist()))
    assert survives(tiny_tokenizer, [first, *data.draw(st.lists(st.sampled_from(words), max_size=8))])


@given(text=st.lists(st.sampled_from(sorted(set(ENGLISH.split()))), min_size=1, max_size=12).map(" ".join))
def test_the_tokens_of_an_ordinary_text_survive(tiny_tokenizer: Any, text: str) -> None:
    assert survives(tiny_tokenizer, tiny_tokenizer(text, add_special_tokens=False)["input_ids"])


@given(ids=st.lists(st.integers(5, VOCABULARY - 1), min_size=1, max_size=6))
def test_pasting_a_survivor_gives_the_model_its_ids_and_a_casualty_others_or_no_text(
    tiny_tokenizer: Any, ids: list[int]
) -> None:
    text = tiny_tokenizer.decode(ids)
    pasted = tiny_tokenizer(text, add_special_tokens=False)["input_ids"]
    assert survives(tiny_tokenizer, ids) == (pasted == ids and "\ufffd" not in text and text.strip() != "")


def test_pieces_of_a_word_that_is_a_token_of_its_own_do_not_survive(tiny_tokenizer: Any) -> None:
    film, fil, m = (
        tiny_tokenizer(text, add_special_tokens=False)["input_ids"] for text in (" film", " fil", "m")
    )  # fmt: skip
    assert [len(x) for x in (film, fil, m)] == [1, 1, 1]
    assert tiny_tokenizer.decode([*fil, *m]) == " film"
    assert survives(tiny_tokenizer, film)
    assert not survives(tiny_tokenizer, [*fil, *m])


def test_half_a_character_white_space_and_nothing_do_not_survive(tiny_tokenizer: Any) -> None:
    emoji = tiny_tokenizer("🙂", add_special_tokens=False)["input_ids"]
    assert survives(tiny_tokenizer, emoji)
    assert not survives(tiny_tokenizer, emoji[:-1])
    for blank in (" ", "\n"):
        assert not survives(tiny_tokenizer, tiny_tokenizer(blank, add_special_tokens=False)["input_ids"])
    assert not survives(tiny_tokenizer, [])
