"""Tokenizers of every kind that treats the beginning or the end of a text in a way of its own."""

import functools
from collections.abc import Callable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hardprompt.lms.causal import CausalLM
from tests.conftest import ENGLISH, SPECIAL, VOCABULARY, make_tiny, make_tokenizer


def sentencepiece(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer that puts a space before a text, as Llama 2 (``prepend``) or Metaspace has it; ``never`` as Gemma."""
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    if kind == "prepend":
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind)
    strip = [] if kind == "never" else [decoders.Strip(content=" ", left=1, right=0)]
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), *strip])
    # Without a pre-tokenizer the merges would reach over words, which those of Llama 2 do not.
    split = Tokenizer(models.BPE(unk_token="<unk>"))
    split.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<unk>", "<s>", "</s>", "<pad>"], show_progress=False,
        initial_alphabet=["\n", "(", "▁", ",", "."],
    )  # fmt: skip
    split.train_from_iterator(ENGLISH.replace("\n", " ").replace(",", " ,").replace(".", " .").split("  "), trainer)
    inner.model = split.model
    inner.add_special_tokens(["<unk>", "<s>", "</s>", "<pad>"])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def wordpiece() -> PreTrainedTokenizerFast:
    """A tokenizer as Chinese GPT-2 has it: ``[CLS]`` opens a text, ``[SEP]`` closes it, and nothing is its end."""
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    inner.train_from_iterator([*ENGLISH.splitlines(), "电影很好 电影很差 这部"], trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        mask_token="[MASK]", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def whole_words() -> PreTrainedTokenizerFast:
    """A tokenizer as XLM-RoBERTa has it: white space of any kind is one space, which stands before each word."""
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    inner.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY - 1, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>",
        show_progress=False,
    )  # fmt: skip
    inner.train_from_iterator([*ENGLISH.splitlines(), ENGLISH.replace(",", " ,").replace(".", " .")], trainer)
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token=AddedToken("<mask>", lstrip=True, special=True), clean_up_tokenization_spaces=False,
    )  # fmt: skip


def prefixed() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes that puts a space before a text."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def joining() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes as Llama 3 and Qwen have it: a mark or a tab is in one piece with the word behind it."""
    tokenizer = make_tokenizer()
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    pieces = pre_tokenizers.Split(words, "isolated")
    inner = tokenizer.backend_tokenizer
    inner.pre_tokenizer = pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(False, use_regex=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=2 * VOCABULARY, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    parts = [ENGLISH.replace(" ", mark) for mark in (" ", "\t", "(", "\n")]
    inner.train_from_iterator("\n".join(parts).splitlines(keepends=True), trainer)
    return tokenizer


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "first": lambda: sentencepiece("first"),
    "always": lambda: sentencepiece("always"),
    "prepend": lambda: sentencepiece("prepend"),
    "never": lambda: sentencepiece("never"),
    "whole words": whole_words,
    "prefixed": prefixed,
    "wordpiece": wordpiece,
    "bytes": make_tokenizer,
}


@functools.cache
def tiny_with(kind: str) -> CausalLM:
    """A tiny Llama behind a tokenizer of that kind."""
    return CausalLM(make_tiny("llama"), KINDS[kind]())
