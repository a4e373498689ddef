"""Every causal and masked architecture of transformers that can be built small is scored as its own forward says."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.proof import Proved
from hardprompt.lms.quiet import quiet
from hardprompt.optimizers.gradient.objective import gradient
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template
from tests.conftest import BOS, EOS, PAD, VOCABULARY, make_tokenizer

MOST = 20_000_000  # parameters
CONTEXTS = ("The film was", "The food in the house by the sea was", "It is")
CHOICES = (" good", " bad", " not good", " great story about")
SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "d_embed"), 32),
    **dict.fromkeys(("input_embedding_size", "output_embedding_size", "word_embed_proj_dim", "d_inner"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_encoder_layers", "num_decoder_layers", "num_key_value_heads", "num_experts_per_tok"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim"), 48),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 128),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **{"vocab_size": VOCABULARY, "head_dim": 8, "moe_intermediate_size": 16, "moe_num_experts": 4, "moe_k": 2},
    **{"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD},
    # what one forward would not show at its default
    **{"lm_head_multiplier": 0.05, "logit_scale": 0.25, "final_logit_softcapping": 3.0, "logits_scaling": 4.0},
}


def config_of(kind: Any) -> Any:
    """A configuration of that class with as many of the sizes as it knows, and so its parts."""
    known = {*inspect.signature(kind.__init__).parameters}
    try:
        known |= {*kind().to_dict(), *kind.attribute_map}
    except Exception:  # it has no defaults
        known |= set()
    parts = {}
    for name, part in kind.sub_configs.items():
        if part is not transformers.AutoConfig:
            parts[name] = config_of(part).to_dict()
    return kind(**{name: size for name, size in SIZES.items() if name in known}, **parts)


def built(kind: Any, auto: Any, **changes: Any) -> Any:
    """A small random model of that configuration that its own forward runs, or None."""
    generator = torch.Generator().manual_seed(0)
    try:
        config = config_of(kind)
        config.update(changes)
        with torch.device("meta"):
            if sum(p.numel() for p in auto.from_config(config).parameters()) > MOST:
                return None
        model = auto.from_config(config).eval().requires_grad_(False)
        for p in model.parameters():
            if p.ndim >= 2:  # far from zero, so that attention and positions make a visible difference
                p.copy_(torch.randn(p.shape, generator=generator) / 4)
        return model if bool(model(input_ids=torch.arange(5, 13)[None]).logits.isfinite().any()) else None
    except Exception:  # it needs more than sizes, or a package that is not there
        return None


def models(mapping: Any, auto: Any) -> Iterator[tuple[str, Any]]:
    for kind in mapping:
        causal = mapping is MODEL_FOR_CAUSAL_LM_MAPPING and kind in MODEL_FOR_MASKED_LM_MAPPING
        with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = built(kind, auto, **({"is_decoder": True} if causal else {}))
        if model is not None:
            yield kind.__name__, model


@torch.no_grad()
def continued(model: Any, tokenizer: Any) -> Tensor:
    """Log-probability of each choice by a plain forward of context and choice."""
    scores = torch.zeros(len(CONTEXTS), len(CHOICES))
    for i, context in enumerate(CONTEXTS):
        for j, choice in enumerate(CHOICES):
            begin, end = tokenizer(context)["input_ids"], tokenizer(choice, add_special_tokens=False)["input_ids"]
            log_p = model(input_ids=torch.tensor([begin + end])).logits[0].float().log_softmax(-1)
            scores[i, j] = sum(log_p[len(begin) - 1 + k, token] for k, token in enumerate(end))
    return scores.log_softmax(-1)


@torch.no_grad()
def filled(model: Any, tokenizer: Any) -> Tensor:
    """Log-probability of each choice by a plain forward for each of its tokens, left to right."""
    scores, mask = torch.zeros(len(CONTEXTS), len(CHOICES)), tokenizer.mask_token_id
    for i, context in enumerate(CONTEXTS):
        for j, choice in enumerate(CHOICES):
            begin, end = tokenizer(context)["input_ids"], tokenizer(choice, add_special_tokens=False)["input_ids"]
            close = tokenizer(".", add_special_tokens=False)["input_ids"]
            for k, token in enumerate(end):
                ids = [*begin, *end[:k], *[mask] * (len(end) - k), *close]
                scores[i, j] += model(input_ids=torch.tensor([ids])).logits[0, len(begin) + k].log_softmax(-1)[token]
    return scores.log_softmax(-1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", ["causal", "masked"])
def test_each_is_scored_as_its_own_forward_says_or_is_refused(way: str) -> None:
    tokenizer, right = make_tokenizer(), 0
    wrong: list[tuple[str, Any]] = []
    refused: list[tuple[str, str]] = []
    mapping = MODEL_FOR_CAUSAL_LM_MAPPING if way == "causal" else MODEL_FOR_MASKED_LM_MAPPING
    auto = transformers.AutoModelForCausalLM if way == "causal" else transformers.AutoModelForMaskedLM
    end = "" if way == "causal" else "<mask>."
    for name, model in models(mapping, auto):
        expected = continued(model, tokenizer) if way == "causal" else filled(model, tokenizer)
        try:
            lm: Any = CausalLM(model, tokenizer) if way == "causal" else MaskedLM(model, tokenizer)
            lm.prepare(CONTEXTS[:2])
            scores = lm.score([context + end for context in CONTEXTS], CHOICES).log_softmax(-1)
        except InputError as error:
            refused.append((name, str(error)))
            continue
        except Exception as error:
            wrong.append((name, repr(error)[:200]))
            continue
        gap = float((scores - expected).abs().max())
        right += gap <= 1e-4
        if not gap <= 1e-4:
            wrong.append((name, gap))
    assert not wrong
    assert not [said for _, said in refused if "\n" in said]
    assert right >= (120 if way == "causal" else 35), (right, refused)
    assert len(refused) <= 8, refused


WAYS = {  # as the proof at load finds it for each; nothing that can be built small needs the last
    "tree": ("llama", "gpt2", "gemma2", "qwen2_moe", "opt", "granite", "cohere"),
    "padded": ("bloom", "mpt", "openai-gpt", "mamba", "minimax"),
    "alone": ("llama", "gemma2"),
}


def greedy(model: Any, tokenizer: Any, context: str, tokens: int) -> str:
    """The likeliest token again and again, each by a plain forward of all before it."""
    begin = ids = tokenizer(context)["input_ids"]
    while len(ids) < len(begin) + tokens:
        with torch.no_grad():
            ids = [*ids, int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())]
        if ids[-1] == EOS:
            return str(tokenizer.decode(ids[len(begin) : -1]))
    return str(tokenizer.decode(ids[len(begin) :]))


def plain_slope(model: Any, sequences: list[list[int]], begin: int, length: int, right: list[int]) -> Tensor:
    """Slope of -log P(right answer) of sequences that end in " good" or " bad", at a prompt's vectors in each."""
    embedding = model.get_input_embeddings()
    vectors = embedding(torch.tensor(sequences[0][begin : begin + length])).detach().requires_grad_()

    def replace(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        return torch.cat([output[:, :begin], vectors[None], output[:, begin + length :]], 1)

    handle = embedding.register_forward_hook(replace)
    scores = []
    for ids in sequences:
        log_p = model(input_ids=torch.tensor([ids[:-1]])).logits[0, -1].float().log_softmax(-1)
        scores.append(log_p[ids[-1]])
    handle.remove()
    loss = torch.stack(scores).view(-1, 2).log_softmax(-1)[torch.arange(len(right)), right].neg().mean()
    slope: Tensor = torch.autograd.grad(loss, vectors)[0]
    return slope


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("way", "kind"), [(way, kind) for way, kinds in WAYS.items() for kind in kinds])
def test_everything_else_is_what_its_own_forward_says(way: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "alone":
        monkeypatch.setattr(Proved, "holds", lambda *_: False)
    tokenizer = make_tokenizer()
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = built(transformers.CONFIG_MAPPING[kind], transformers.AutoModelForCausalLM)
    lm = CausalLM(model, tokenizer)
    found = next((name for name in ("tree", "padded") if lm.packed.allows(name, 8)), "alone")
    assert found == way
    written = [texts[0] for texts in lm.generate(CONTEXTS, longest=5, top_k=1, stop=())]
    assert written == [greedy(model, tokenizer, context, 5) for context in CONTEXTS]

    texts, prefixes = ["The film was good.", "It is a book"], [[], [40], [40, 50, 60], [70, 50]]
    policy = PolicyLM(model, tokenizer, tokens="any", probed=lm.packed)
    for text, perplexity in zip(texts, lm.perplexity(texts).tolist(), strict=True):
        ids = torch.tensor([[BOS, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            log_p = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        assert perplexity == pytest.approx(float(log_p.gather(-1, ids[0, 1:, None]).mean().neg().exp()), rel=1e-4)
    for prefix, logits in zip(prefixes, policy.logits(policy.states(prefixes)), strict=True):
        with torch.no_grad():
            own = model(input_ids=torch.tensor([[BOS, *prefix]])).logits[0, -1].float()
        torch.testing.assert_close(logits.log_softmax(-1), own.log_softmax(-1), atol=3e-4, rtol=1e-4)

    reward = Classification(
        lm=lm, examples=[Example("The film was great", "good"), Example("It was not bad", "bad")],
        template=Template("{prompt} {text} It is"), verbalizers={"good": " good", "bad": " bad"},
    )  # fmt: skip
    if way == "alone":  # a loss is of padded batches
        with pytest.raises(InputError, match="changes with padding"):
            reward.objective()
        return
    objective = reward.objective()
    prompt = tokenizer("The man", add_special_tokens=False)["input_ids"]
    _, slope = gradient(objective, objective.table[prompt][None])
    words = [
        tokenizer(f"The man {example.text} It is{word}")["input_ids"]
        for example in reward.examples
        for word in (" good", " bad")
    ]
    expected = plain_slope(model, words, 1, len(prompt), [0, 1])
    assert float(expected.norm()) > 1e-3
    torch.testing.assert_close(slope[0], expected, atol=2e-4 * float(expected.abs().max()) + 1e-6, rtol=2e-3)
