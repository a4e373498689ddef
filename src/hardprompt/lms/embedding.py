"""Embeds texts and their tokens as unit vectors with any encoder of transformers."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from hardprompt.errors import InputError
from hardprompt.lms.load import check_config, load_tokenizer, load_weights, read_config, resolve
from hardprompt.lms.reach import text_limit
from hardprompt.lms.roles import ROLES

_CHUNK = 1024  # texts whose tokens are held at once when only their sentences are wanted
_KEPT = 256 << 20  # bytes of vectors


class _Vectors(NamedTuple):
    sentence: Float[Tensor, " d"]
    tokens: Float[Tensor, "t d"]


class Embedder:
    """Unit vectors of sentences and of tokens, by one pass through a frozen encoder.

    Each text has a pass of its own: what it gets does not depend on the others, to the last bit, and a run that is
    resumed ends as if it had not stopped. A text beyond the model's limit is cut there. Recent texts are remembered.

    Args:
        model: an encoder of transformers without a head; it is frozen.
        tokenizer: its tokenizer.
        name: what the user calls it.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str) -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.width: int = model.config.hidden_size
        self.texts_run = 0  # texts that went through the model so far: the work, counted instead of timed
        self._limit = text_limit(model, tokenizer)
        self._known: OrderedDict[str, _Vectors] = OrderedDict()
        self._bytes = 0

    def sentences(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """The mean of each text's token states, special tokens included, at length 1; float32 on the CPU.

        A text without any token, special ones included, is all zeros.

        Source: Reimers & Gurevych 2019 (Sentence-BERT), mean pooling.
        """
        result = torch.zeros(len(texts), self.width)
        for at in range(0, len(texts), _CHUNK):
            for i, vectors in enumerate(self._embed(texts[at : at + _CHUNK]), start=at):
                result[i] = vectors.sentence
        return result

    def tokens(self, texts: Sequence[str]) -> list[Float[Tensor, "t d"]]:
        """The state of each token of each text, at length 1, without special tokens; float32 on the CPU.

        An empty text has none: [0, d].
        """
        return [vectors.tokens for vectors in self._embed(texts)]

    def _embed(self, texts: Sequence[str]) -> list[_Vectors]:
        found = {text: self._known[text] for text in dict.fromkeys(texts) if text in self._known}
        for text in found:
            self._known.move_to_end(text)
        new = [text for text in dict.fromkeys(texts) if text not in found]
        for text, vectors in zip(new, self._run(new), strict=True):
            found[text] = self._known[text] = vectors
            self._bytes += sum(part.nbytes for part in vectors)
        while self._bytes > _KEPT:
            self._bytes -= sum(part.nbytes for part in self._known.popitem(last=False)[1])
        return [found[text] for text in texts]

    @torch.no_grad()
    def _run(self, texts: list[str]) -> list[_Vectors]:
        self.texts_run += len(texts)
        result = [_Vectors(torch.zeros(self.width), torch.zeros(0, self.width)) for _ in texts]
        for i, output, special in outputs(self.model, self.tokenizer, texts, self._limit):
            states = output.last_hidden_state[0].float()
            vectors = normalize(states, dim=-1).cpu()
            result[i] = _Vectors(normalize(states.mean(0), dim=-1).cpu(), vectors[torch.tensor(special) == 0])
        return result


def load_embedder(name: str, *, revision: str | None = None) -> Embedder:
    """The encoder of that name: ``embedded:minilm``, a folder or a hub name, of a sentence model or a masked LM.

    ``revision`` is the commit of one on the hub.

    Raises:
        InputError: no such model, one that is no encoder, or one without all weights, in safetensors.
        MissingExtra: the package that embeds it is not installed.
    """
    from transformers import AutoModel

    source = resolve(name, ROLES["encoder"], revision=revision)
    config = read_config(source)
    check_config(source, config)
    tokenizer = load_tokenizer(source)
    model = load_weights(AutoModel, source, config, tokenizer, spare=["pooler."])  # which no vector needs
    return Embedder(model, tokenizer, name=name)


def outputs(
    model: Any, tokenizer: Any, texts: Sequence[str], limit: int | None
) -> Iterator[tuple[int, Any, list[int]]]:
    """Number, output and mask of special tokens of each text that has a token, cut to ``limit`` tokens.

    They are run one by one: what a text gets does not depend on the others.

    Raises:
        InputError: a text that the model cannot read.
    """
    cut = {} if limit is None else {"truncation": True, "max_length": limit}
    found = tokenizer(list(texts), return_special_tokens_mask=True, **cut) if texts else {"input_ids": []}
    for i, own in enumerate(found["input_ids"]):
        if own:
            ids = torch.tensor([own], device=model.device)
            try:
                output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # some cannot read a text of a token or two
                reason = str(error).splitlines()[0].rstrip(".")
                count = f"{len(own)} token{'s' * (len(own) > 1)}"
                raise InputError(f"the encoder cannot read {texts[i][:60]!r}, which has {count}: {reason}.") from error
            yield i, output, found["special_tokens_mask"][i]
