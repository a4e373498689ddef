"""A causal model as task LM: scores, perplexity and cutting, against the plain model."""

from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import processors
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.tokens import start_ids, truncate
from tests.conftest import ARCHITECTURES, ENGLISH, RESCALED, VOCABULARY, Tiny, make_tokenizer

TEXTS = ("The film was great.", "The food was cold and the service slow.", "A good book")
PROMPTS = (" In one word it was", " The answer is", "")
CHOICES = {
    "one token each": [" good", " bad", " great"],
    "several tokens each": [" good story", " bad film", " better"],
    "one and several": [" good", " good film was", " bad news", " terrible"],
    "the same beginning": [" good", " good film", " good film and"],
}


def plain_scores(tiny: Tiny, contexts: list[str], choices: list[str]) -> Tensor:
    """Sum of log-probabilities of each choice's tokens after each context, every sequence run alone and whole."""
    scores = torch.empty(len(contexts), len(choices))
    for i, context in enumerate(contexts):
        start = tiny.tokenizer(context)["input_ids"]
        for j, choice in enumerate(choices):
            ids = tiny.tokenizer(choice, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                log_p = tiny.model(input_ids=torch.tensor([[*start, *ids]])).logits[0].log_softmax(-1)
            scores[i, j] = sum(log_p[len(start) - 1 + k, token] for k, token in enumerate(ids))
    return scores


@pytest.mark.parametrize("kind", CHOICES)
@pytest.mark.parametrize("arch", [*ARCHITECTURES, *RESCALED])
def test_scores_are_log_probabilities_of_the_choices_up_to_a_constant_per_context(
    tiny_of: Any, arch: str, kind: str
) -> None:
    tiny = tiny_of(arch)
    contexts = [text + prompt for text in TEXTS for prompt in PROMPTS]
    scores = CausalLM(tiny.model, tiny.tokenizer).score(contexts, CHOICES[kind])
    expected = plain_scores(tiny, contexts, CHOICES[kind])
    assert scores.shape == (len(contexts), len(CHOICES[kind]))
    torch.testing.assert_close(scores.log_softmax(-1), expected.log_softmax(-1), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", CHOICES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("prompt_first", [False, True])
def test_preparing_texts_never_changes_a_score(tiny_of: Any, arch: str, kind: str, prompt_first: bool) -> None:
    tiny = tiny_of(arch)
    contexts = [prompt + text if prompt_first else text + prompt for text in TEXTS for prompt in PROMPTS]
    fresh, prepared = (CausalLM(tiny.model, tiny.tokenizer) for _ in range(2))
    prepared.prepare(list(TEXTS))
    a, b = fresh.score(contexts, CHOICES[kind]), prepared.score(contexts, CHOICES[kind])
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_prepared_texts_are_not_run_again(tiny_causal: Tiny) -> None:
    lm = CausalLM(*tiny_causal)
    lm.prepare(list(TEXTS))
    before = lm.tokens_run
    lm.score([text + " In one word" for text in TEXTS], [" good", " bad"])
    prompt = lm.count(" In one word")
    assert lm.tokens_run - before == prompt * len(TEXTS)


def test_preparing_nothing_and_scoring_an_empty_context_work(tiny_causal: Tiny) -> None:
    lm = CausalLM(*tiny_causal)
    lm.prepare([])
    expected = plain_scores(tiny_causal, [""], [" good", " bad"])
    torch.testing.assert_close(
        lm.score([""], [" good", " bad"]).log_softmax(-1), expected.log_softmax(-1), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("choices", [[" good", ""], ["", " good film"]])
def test_a_choice_without_a_token_raises_and_is_shown(tiny_causal: Tiny, choices: list[str]) -> None:
    with pytest.raises(InputError, match="''"):
        CausalLM(*tiny_causal).score(["The film"], choices)


def test_a_tokenizer_that_closes_every_text_gives_the_scores_of_one_that_does_not(tiny_causal: Tiny) -> None:
    closing = make_tokenizer()
    closing.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    assert closing("")["input_ids"] == [0, 1]
    contexts, choices = ["The film was", ""], [" good", " bad film"]
    open_lm, closed_lm = CausalLM(*tiny_causal), CausalLM(tiny_causal.model, closing)
    assert torch.equal(open_lm.score(contexts, choices), closed_lm.score(contexts, choices))


@pytest.mark.parametrize("arch", [*ARCHITECTURES, *RESCALED])
def test_perplexity_is_the_inverse_geometric_mean_of_the_token_probabilities(tiny_of: Any, arch: str) -> None:
    tiny = tiny_of(arch)
    result = CausalLM(tiny.model, tiny.tokenizer).perplexity(list(TEXTS))
    for perplexity, text in zip(result.tolist(), TEXTS, strict=True):
        ids = [tiny.tokenizer.bos_token_id, *tiny.tokenizer(text, add_special_tokens=False)["input_ids"]]
        product = 1.0
        for t in range(1, len(ids)):
            with torch.no_grad():
                logits = tiny.model(input_ids=torch.tensor([ids[:t]])).logits[0, -1].double()
            product *= float(logits.softmax(-1)[ids[t]])
        assert perplexity == pytest.approx(product ** (-1.0 / (len(ids) - 1)), rel=1e-4)


def test_perplexity_of_no_text_is_not_a_number_and_leaves_the_others_alone(tiny_causal: Tiny) -> None:
    lm = CausalLM(*tiny_causal)
    result = lm.perplexity(["", TEXTS[0]])
    assert result.isnan().tolist() == [True, False]
    assert float(result[1]) == float(lm.perplexity([TEXTS[0]])[0])


def test_count_is_the_number_of_tokens_without_special_ones(tiny_causal: Tiny) -> None:
    lm = CausalLM(*tiny_causal)
    assert lm.count("") == 0
    assert lm.count(" film was good") == 3


def test_context_length_is_that_of_the_model_and_none_where_there_is_no_limit(tiny_of: Any) -> None:
    assert CausalLM(*tiny_of("gpt2")).context_length == 256
    assert CausalLM(*tiny_of("llama")).context_length == 256
    assert CausalLM(*tiny_of("mamba")).context_length is None


def test_truncate_cuts_to_the_first_tokens(tiny_tokenizer: Any) -> None:
    text = " film was good and bad"
    assert truncate(tiny_tokenizer, text, 2) == " film was"
    assert truncate(tiny_tokenizer, text, 0) == ""
    assert truncate(tiny_tokenizer, text, 5) == text
    assert truncate(tiny_tokenizer, text, 100) == text
    assert truncate(tiny_tokenizer, "", 3) == ""


@given(
    words=st.lists(st.sampled_from([*ENGLISH.split(), "é", "🙂", "日本", "\n"]), max_size=15), tokens=st.integers(0, 20)
)
@example(words=["🙂", "good"], tokens=1)
@example(words=["日本"], tokens=4)
def test_truncate_gives_a_beginning_of_the_text_that_is_no_longer_than_asked(
    tiny_causal: Tiny, words: list[str], tokens: int
) -> None:
    lm, text = CausalLM(*tiny_causal), " ".join(words)
    cut = lm.truncate(text, tokens)
    assert text.startswith(cut)
    assert lm.count(cut) <= tokens
    assert cut == text or lm.count(text) > tokens
    assert "\ufffd" not in cut


def test_a_text_begins_after_the_opening_tokens_of_the_tokenizer_else_after_a_line_break() -> None:
    tokenizer = make_tokenizer()
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert start_ids(tokenizer) == [0]
    for single, expected in (("$A", newline), ("$A </s>", [1]), ("<s> $A </s>", [0])):
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("<s>", 0), ("</s>", 1)]
        )
        assert start_ids(tokenizer) == expected


def test_scores_of_a_model_from_a_folder_are_those_of_the_model_in_memory(tiny_folder: Any, tiny_causal: Tiny) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = CausalLM(AutoModelForCausalLM.from_pretrained(tiny_folder), AutoTokenizer.from_pretrained(tiny_folder))
    assert loaded.packed.head.weight.shape[0] == VOCABULARY
    for choices in CHOICES.values():
        assert torch.equal(loaded.score(list(TEXTS), choices), CausalLM(*tiny_causal).score(list(TEXTS), choices))
