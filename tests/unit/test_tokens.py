"""Which tokens go on behind a context: the whole string's own, whatever a tokenizer does at the beginning of a text."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.tokens import begins_apart, ids_behind, open_ids, say_controls, special_ids, text_behind
from hardprompt.lms.vocabulary import allowed_tokens
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template
from tests.conftest import Tiny, make_tiny, make_tokenizer
from tests.kinds import KINDS

CONTEXTS = (
    "The film was",
    "The food was cold.\nIt is",
    "A good\n",
    "It was (",
    "",
    "The sea, the sun and",
    "这部电影很好" * 20,
)
CHOICES = (" good", " great", " not good", "good", ", kind")


@pytest.fixture(scope="module")
def tiny_with() -> Callable[[str], Tiny]:
    """A tiny Llama behind a tokenizer of each kind."""
    made: dict[str, Tiny] = {}

    def get(kind: str) -> Tiny:
        if kind not in made:
            made[kind] = Tiny(make_tiny("llama"), KINDS[kind]())
        return made[kind]

    return get


def whole(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text that is still open: what closes it is taken off."""
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids[:-1] if ids[-1:] == [tokenizer.sep_token_id] else ids


def log_probabilities(tiny: Tiny, context: str, choice: str) -> Tensor | None:
    """Of each token that the choice adds to the whole string; None where the context's own are not its beginning."""
    start, ids = whole(tiny.tokenizer, context), whole(tiny.tokenizer, context + choice)
    if ids[: len(start)] != start or len(ids) == len(start):
        return None
    with torch.no_grad():
        log_p: Tensor = tiny.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return torch.stack([log_p[i - 1, ids[i]] for i in range(len(start), len(ids))])


def pooled(log_p: Tensor | None, how: str) -> Tensor:
    assert log_p is not None
    return log_p[0] if how == "first" else log_p.mean() if how == "mean" else log_p.sum()


@pytest.mark.parametrize("how", ["sum", "mean", "first"])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_scored_as_the_whole_string_is_read(tiny_with: Any, kind: str, how: Any) -> None:
    tiny = tiny_with(kind)
    lm, compared = CausalLM(*tiny), 0
    for context in CONTEXTS:
        found = {choice: log_probabilities(tiny, context, choice) for choice in CHOICES}
        known: dict[tuple[int, ...], str] = {}  # answers that are the same here are refused, which is tested below
        for choice in CHOICES:
            ids = ids_behind(tiny.tokenizer, choice, context)
            if found[choice] is not None:
                known.setdefault(tuple(ids[:1] if how == "first" else ids), choice)
        choices = list(known.values())
        if len(choices) < 2:
            continue
        expected = torch.stack([pooled(found[choice], how) for choice in choices])
        score = lm.score([context], choices, how=how)[0]
        torch.testing.assert_close(score.log_softmax(-1), expected.log_softmax(-1), atol=2e-5, rtol=1e-4)
        compared += len(choices)
    assert compared > 10


@pytest.mark.parametrize("kind", KINDS)
def test_contexts_that_end_otherwise_are_scored_together_as_each_alone(tiny_with: Any, kind: str) -> None:
    lm = CausalLM(*tiny_with(kind))
    together = lm.score(list(CONTEXTS), [" good", " bad"])
    alone = torch.cat([lm.score([context], [" good", " bad"]) for context in CONTEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["first", "always", "prepend"])
def test_a_word_behind_a_text_has_no_space_of_a_texts_beginning(kind: str) -> None:
    tokenizer = KINDS[kind]()
    great = tokenizer.convert_tokens_to_ids("▁great")
    assert great != tokenizer.unk_token_id
    for context in ("It was", "It was cold.\nIt was", None):
        assert ids_behind(tokenizer, " great", context) == [great]
    assert tokenizer.convert_ids_to_tokens(ids_behind(tokenizer, "great", "It was (")) != ["▁great"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_closes_a_text_is_in_no_context(kind: str) -> None:
    tokenizer = KINDS[kind]()
    _, closing = special_ids(tokenizer)
    assert (closing == []) == (tokenizer.sep_token is None)
    for context in CONTEXTS[:3]:
        (ids,) = open_ids(tokenizer, [context])
        assert ids == whole(tokenizer, context)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompts_text_behind_another_text_is_read_as_the_prompts_tokens(kind: str) -> None:
    tokenizer = KINDS[kind]()
    policy = PolicyLM(make_tiny("llama"), tokenizer)
    ids = whole(tokenizer, "It was good and kind")[len(whole(tokenizer, "It was")) :]
    assert policy.text(ids) == " good and kind"
    assert whole(tokenizer, "It was" + policy.text(ids))[-len(ids) :] == ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_continuation_is_what_it_adds_to_the_decoded_whole(tiny_with: Any, kind: str) -> None:
    model, tokenizer = tiny_with(kind)
    context = "The film was"
    ((text,),) = CausalLM(model, tokenizer).generate([context], longest=6, top_k=1, stop=())
    ids = torch.tensor([whole(tokenizer, context)])
    grown = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)[0]
    start = tokenizer.decode(ids[0], skip_special_tokens=True)
    assert text == tokenizer.decode(grown, skip_special_tokens=True)[len(start) :]


@pytest.mark.parametrize("template", ["{text}{prompt}", "{text} {prompt} so", "{text}{prompt}{mask}."])
@pytest.mark.parametrize("kind", ["first", "prepend", "wordpiece"])
@pytest.mark.parametrize("how", ["sum", "mean"])
def test_a_loss_at_a_prompts_vectors_is_the_rewards_view_of_its_text(
    tiny_with: Any, kind: str, template: str, how: Any
) -> None:
    tiny = tiny_with(kind)
    reward = Classification(
        lm=CausalLM(*tiny), examples=[Example("The film was cold", "a"), Example("A good book", "b")], how=how,
        template=Template(template), verbalizers={"a": " great", "b": " not good"},
    )  # fmt: skip
    objective = reward.objective()
    ids = ids_behind(tiny.tokenizer, " the man", "It was")
    found = objective.scores(objective.table[ids][None]).softmax(-1).double()
    torch.testing.assert_close(found, reward.probabilities([objective.text(ids)]), atol=2e-5, rtol=1e-4)


def test_an_opening_token_that_a_text_brings_along_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<go>"})
    go = tokenizer.convert_tokens_to_ids("<go>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<go> $A", special_tokens=[("<go>", go)]
    )
    for _ in range(2):
        assert open_ids(tokenizer, ["A film", "<go>A film"])[1][:2] == [go, go]
    (said,) = [record.message for record in caplog.records]
    assert "'<go>'" in said
    assert "twice" in said


@pytest.mark.parametrize("tokens", ["any", "words"])
def test_an_added_special_token_is_never_proposed_and_an_added_word_is(tokens: Any) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<|reserved_special_token_0|>", special=True), AddedToken("Zebra", special=False)])
    reserved, word = tokenizer.convert_tokens_to_ids(["<|reserved_special_token_0|>", "Zebra"])
    assert reserved not in tokenizer.all_special_ids
    allowed = allowed_tokens(tokenizer, len(tokenizer), tokens=tokens)
    assert (bool(allowed[reserved]), bool(allowed[word])) == (False, True)


def test_a_tokenizer_that_cannot_be_understood_is_refused() -> None:
    class Odd:
        all_special_ids: tuple[int, ...] = ()
        added_tokens_decoder: dict[int, str] = {}  # noqa: RUF012

        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            return {"input_ids": [5] if options else [1, 2]}

        def decode(self, ids: list[int]) -> str:
            return "a"

    with pytest.raises(InputError, match="cannot be used"):
        special_ids(Odd())


def lettered(letters: str, unknown: str | None, *, metaspace: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of single letters, which ``<s>`` opens a text for; without an unknown token it leaves others out."""
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *letters])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=unknown))
    if metaspace:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        inner.decoder = decoders.Metaspace(prepend_scheme="first")
    else:
        inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token=unknown)


@pytest.mark.parametrize("unknown", [None, "<s>"])
@pytest.mark.parametrize("letters", ["ACGT ", "0123456789", "доля "])
def test_a_tokenizer_without_the_letter_a_loses_no_token(letters: str, unknown: str | None) -> None:
    tokenizer = lettered(letters, unknown)
    assert special_ids(tokenizer) == ([0], [])
    assert open_ids(tokenizer, [letters]) == [[0, *range(2, 2 + len(letters))]]
    lm = CausalLM(make_tiny("llama"), tokenizer)
    choices, contexts = list(letters[:2]), [letters[:3], letters[2:4]]
    ids = [[0, *(2 + letters.index(letter) for letter in context)] for context in contexts]
    with torch.no_grad():
        plain = [lm.model(input_ids=torch.tensor([own])).logits[0, -1, [2, 3]].softmax(-1) for own in ids]
    torch.testing.assert_close(lm.score(contexts, choices).softmax(-1), torch.stack(plain), atol=1e-5, rtol=1e-4)


def test_what_a_text_begins_with_is_seen_without_the_letter_a_too() -> None:
    """Neither a full stop nor a line break is known here, and behind nothing a text would get a space of its own."""
    tokenizer = lettered("▁ACGT", None, metaspace=True)
    space, first = tokenizer.convert_tokens_to_ids(["▁", "A"])
    assert tokenizer("A", add_special_tokens=False)["input_ids"] == [space, first]
    assert begins_apart(tokenizer)
    assert ids_behind(tokenizer, "A") == [first]
    assert text_behind(tokenizer, [space, first]) == " A"


def test_a_tokenizer_that_reads_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="reads neither 'a' nor any token of its own"):
        special_ids(lettered("", None))


@pytest.mark.parametrize("how", ["sum", "mean", "first"])
def test_answers_that_are_the_same_to_the_model_are_refused_by_name(tiny_with: Any, how: Any) -> None:
    lm = CausalLM(*tiny_with("wordpiece"))
    with pytest.raises(InputError, match=r"' ☃' and ' ☀' .*\[UNK\]"):
        lm.score(["The film was"], [" ☃", " ☀", " good"], how=how)
    with pytest.raises(InputError, match="' good' and ' Good'"):
        lm.score(["The film was"], [" good", " Good"], how=how)


def test_answers_with_one_first_token_are_refused_where_it_alone_counts(tiny_with: Any, tiny_masked: Tiny) -> None:
    for lm in (CausalLM(*tiny_with("bytes")), MaskedLM(*tiny_masked)):
        with pytest.raises(InputError, match="' good' and ' good film' begin with the same token"):
            lm.score(["The film was" + lm.blank], [" good", " good film"], how="first")


def test_what_stands_behind_an_answer_counts_in_full_whatever_its_length(tiny_with: Any) -> None:
    tiny = tiny_with("bytes")
    tokenizer = tiny.tokenizer
    found = []
    for choice, length in ((" good", 1), (" not good", 2)):
        log_p = log_probabilities(tiny, "The film was", choice + " film.")
        assert log_p is not None
        assert len(tokenizer(choice, add_special_tokens=False)["input_ids"]) == length
        found.append(log_p[:length].mean() + log_p[length:].sum())
    score = CausalLM(*tiny).score(["The film was"], [" good", " not good"], after=" film.", how="mean")[0]
    torch.testing.assert_close(score.log_softmax(-1), torch.stack(found).log_softmax(-1), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("after", ["", " film."])
def test_answers_of_one_token_have_the_same_bits_in_sum_and_mean(tiny_with: Any, after: str) -> None:
    lm = CausalLM(*tiny_with("bytes"))
    one, other = (lm.score(list(CONTEXTS), [" good", " bad"], after=after, how=how) for how in ("sum", "mean"))
    assert torch.equal(one, other)


@pytest.mark.parametrize("how", ["sum", "mean", "first"])
def test_a_masked_answer_fills_its_masks_from_left_to_right(tiny_masked: Tiny, how: Any) -> None:
    model, tokenizer = tiny_masked
    choices = [" good", " not good"]
    expected = []
    for choice in choices:
        ids = tokenizer(choice, add_special_tokens=False)["input_ids"][: 1 if how == "first" else None]
        left, right = tokenizer("The film was")["input_ids"], tokenizer(".", add_special_tokens=False)["input_ids"]
        log_p = []
        for done, token in enumerate(ids):
            blank = [*ids[:done], *[tokenizer.mask_token_id] * (len(ids) - done)]
            logits = model(input_ids=torch.tensor([[*left, *blank, *right]])).logits[0, len(left) + done]
            log_p.append(float(logits.log_softmax(-1)[token]))
        expected.append(sum(log_p) / (len(log_p) if how == "mean" else 1))
    score = MaskedLM(model, tokenizer).score(["The film was<mask>."], choices, how=how)
    torch.testing.assert_close(score, torch.tensor([expected]), atol=2e-5, rtol=1e-4)


def test_a_special_token_in_a_users_text_is_said_once_with_count_and_first_line(
    tiny_causal: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [("line 2", "plain"), ("line 3", "a </s> b"), ("line 4", "<mask> </s>"), ("line 5", "</ s>")]
    tokenizer = tiny_causal.tokenizer
    special = {
        tokenizer.decode([i]) for _, text in texts for i in tokenizer(text, add_special_tokens=False)["input_ids"]
    }
    assert {"</s>", "<mask>"} <= special  # which the tokenizer itself takes for no letters
    for _ in range(2):
        say_controls(tokenizer, texts, but="<mask>")
    assert [record.message for record in caplog.records] == [
        "'</s>' is a special token of the task model, which does not read it as these letters; it stands in 2 of the "
        "texts, line 3 first."
    ]
