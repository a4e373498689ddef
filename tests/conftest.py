"""Tiny models and a real byte-level tokenizer, built in the process: no test downloads anything."""

import builtins
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import config, install_import_hook
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoConfig,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from tests import checked

# Shapes and types of these layers are checked while tests run: all but flags and screens.
LAYERS = ("search", "lms", "data", "optimizers", "tasks", "runs", "compare", "testing")
install_import_hook([f"hardprompt.{layer}" for layer in LAYERS], f"{checked.__name__}.check")

settings.register_profile(
    "steady", deadline=None, derandomize=True, max_examples=40,
    database=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.load_profile("steady")  # the same examples every time, and no judgement of speed

VOCABULARY = 450
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]
BOS, EOS, PAD = 0, 1, 2

ENGLISH = """
The film was a great story about a man and a woman who went to the sea. It was not bad, and the music was good.
I saw the film in the morning with a friend, and we had a good time. The food was great and the people were kind.
A good book is like a good friend: it is there when you need it. This book was bad, and the story was not new.
The man in the house by the sea had a dog, and the dog was old and kind. He gave the dog water and food.
The news of the day was bad for the world, and the market went down. The game was good, but the team was not.
We went to the market in the morning and got food, water and a book. The people at the market were kind to us.
What a great day it was! The sun was high over the sea, and the wind was warm. I like the sea and the wind.
The service was slow and the food was cold, but the room was clean and the price was low. We had no time to wait.
The answer to the question is in the book. Is the film good or bad? The answer is that the film is great.
She said that the world is a good place and that people are kind. He said that the world is cold and slow.
Write the answer in one word. The word is good, or the word is bad. The story of the film is old, but it is great.
The team had a great game in the sun, and the news was good. In the house there was music and there was food.
The dog went down to the water and the man was there. It was a good time to be in the world, and it was a new day.
"""  # a few hundred words; the frequent ones become single tokens, the rare ones stay in pieces


class Tiny(NamedTuple):
    """A causal model and the tokenizer that it was sized for."""

    model: Any
    tokenizer: Any


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on ``ENGLISH``; it opens a text with ``<s>`` when asked for special tokens."""
    inner = Tokenizer(models.BPE(unk_token=None))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(ENGLISH.strip().splitlines(), trainer)
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        clean_up_tokenization_spaces=False,
    )


def _configs() -> dict[str, Any]:
    ends = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    # Weights far from zero, so that attention, positions and texts make a visible difference.
    small = {"vocab_size": VOCABULARY, "initializer_range": 0.3, **ends}
    sized = {**small, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    modern = {**sized, "intermediate_size": 64, "num_key_value_heads": 1, "max_position_embeddings": 256}
    gemma3 = {**modern, "head_dim": 16, "sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"]}
    sight = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    return {
        "llama": LlamaConfig(**modern),
        "gpt2": GPT2Config(**small, n_embd=32, n_layer=2, n_head=2, n_positions=256),
        "opt": OPTConfig(**sized, ffn_dim=64, max_position_embeddings=256, word_embed_proj_dim=16, init_std=0.3),
        "gemma3": Gemma3TextConfig(**gemma3),
        "bloom": BloomConfig(**small, hidden_size=32, n_layer=2, n_head=2),
        "mamba": MambaConfig(**small, hidden_size=32, num_hidden_layers=2, state_size=4),
        # the window and the text's settings lie one level down, as in Gemma 3 from 4B
        "gemma3-multimodal": Gemma3Config(
            text_config=gemma3, vision_config=sight, mm_tokens_per_image=4, **ends
        ),
        # local attention that counts places in memory, not positions
        "gpt-neo": GPTNeoConfig(
            **small, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, window_size=40,
            attention_types=[[["global", "local"], 1]], max_position_embeddings=256,
        ),
        # what comes out of the head is not yet a logit
        "gemma2": Gemma2Config(**gemma3, final_logit_softcapping=3.0),
        "granite": GraniteConfig(**modern, logits_scaling=4.0),
        "cohere": CohereConfig(**modern, logit_scale=0.25),
        "phi": PhiConfig(**modern),  # its head has a bias
        "roberta": RobertaConfig(**sized, intermediate_size=64, max_position_embeddings=256 + PAD + 1),
    }  # fmt: skip


ARCHITECTURES = ("llama", "gpt2", "opt", "gemma3", "bloom", "mamba")  # the everyday causal ones
WINDOWED = ("gemma3-multimodal", "gpt-neo")
RESCALED = ("gemma2", "granite", "cohere")


def make_tiny(arch: str, *, seed: int = 0, **changes: Any) -> Any:
    """A frozen tiny random model: causal ones as named above, or masked ``roberta``; ``changes`` go to its config."""
    config = _configs()[arch]
    config.update(changes)
    auto = AutoModelForMaskedLM if arch == "roberta" else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return auto.from_config(config).eval().requires_grad_(False)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each file that Python opens from now on, as often as it does."""
    names: list[str] = []
    real = io.open

    def counted(file: Any, *how: Any, **more: Any) -> Any:
        names.append(Path(str(file)).name)
        return real(file, *how, **more)

    monkeypatch.setattr(io, "open", counted)  # what pathlib calls
    monkeypatch.setattr(builtins, "open", counted)
    return names


@pytest.fixture(autouse=True)
def _checked(request: pytest.FixtureRequest) -> None:
    """Types and shapes are checked but where a test gives wrong ones on purpose, to see the error that a user sees."""
    config.update("jaxtyping_disable", request.node.get_closest_marker("unchecked") is not None)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of every tiny model."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def tiny_causal(tiny_tokenizer: PreTrainedTokenizerFast) -> Tiny:
    """A tiny Llama with its tokenizer."""
    return Tiny(make_tiny("llama"), tiny_tokenizer)


@pytest.fixture(scope="session")
def tiny_masked(tiny_tokenizer: PreTrainedTokenizerFast) -> Tiny:
    """A tiny RoBERTa with a tokenizer that has a mask token."""
    return Tiny(make_tiny("roberta"), tiny_tokenizer)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny_causal: Tiny) -> Path:
    """A folder that holds the tiny Llama and its tokenizer, as a user would name it."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_causal.model.save_pretrained(folder)
    tiny_causal.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_of() -> Callable[[str], Tiny]:
    """Any architecture by name, each built once."""
    known: dict[str, Tiny] = {}

    def get(arch: str) -> Tiny:
        if arch not in known:
            known[arch] = Tiny(make_tiny(arch), make_tokenizer())
        return known[arch]

    return get
