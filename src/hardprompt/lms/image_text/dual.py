"""CLIP and SigLIP models of transformers as image–text models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError, MissingExtra, pip_install
from hardprompt.lms.image_text.pillow import pillow
from hardprompt.lms.image_text.protocol import read_texts
from hardprompt.lms.image_text.shown import as_shown
from hardprompt.lms.load import check_config, load_weights, read_config, resolve
from hardprompt.lms.quiet import one_line, quiet
from hardprompt.lms.roles import ROLES
from hardprompt.lms.tokens import check_limit

if TYPE_CHECKING:
    from PIL.Image import Image

_IMAGES = 16  # at once


class DualEncoder:
    """A picture tower and a text tower that were trained together: a CLIP or SigLIP model of transformers.

    ``padded`` says that every text is filled up to the limit, in lower case and without a mask, as SigLIP was trained.

    Source: CLIP, Radford et al. 2021; SigLIP, Zhai et al. 2023.
    """

    stand_in: str | None = None

    def __init__(self, *, name: str, model: Any, tokenizer: Any, processor: Any, padded: bool) -> None:
        self.name = name
        self.model, self.tokenizer, self.processor = model.eval().requires_grad_(False), tokenizer, processor
        self.text_limit = min(model.config.text_config.max_position_embeddings, tokenizer.model_max_length)
        self.embedding = model.text_model.get_input_embeddings()
        self._padded = padded

    @torch.inference_mode()
    def images(self, images: Sequence[Image]) -> Float[Tensor, "n d"]:
        """Unit vectors of one picture or more."""
        found = []
        for start in range(0, len(images), _IMAGES):
            batch = [as_shown(image) for image in images[start : start + _IMAGES]]
            pixels = self.processor(images=batch, return_tensors="pt")
            found.append(self.model.get_image_features(**pixels.to(self.model.device)).pooler_output)
        return _unit(torch.cat(found))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors of one text or more, as ``read_texts``."""
        return read_texts(self, texts)

    def read(self, ids: Sequence[Sequence[int]]) -> Float[Tensor, "n d"]:
        """Unit vectors of tokenised texts, with gradients for what the input embedding gives."""
        batch = self.tokenizer.pad(
            {"input_ids": [list(own) for own in ids]},
            padding="max_length" if self._padded else "longest",
            max_length=self.text_limit if self._padded else None,
            return_attention_mask=not self._padded,
            return_tensors="pt",
        )
        return _unit(self.model.get_text_features(**batch.to(self.model.device)).pooler_output)

    def padding(self, tokens: int) -> int:
        """Columns that ``read`` puts before a text of so many tokens."""
        return self.text_limit - tokens if self._padded and self.tokenizer.padding_side == "left" else 0

    def count(self, text: str) -> int:
        """Tokens of ``text``, special ones included."""
        return len(self.ids([text])[0])

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it is read, special ones included."""
        read = [text.lower() for text in texts] if self._padded else list(texts)
        return list(self.tokenizer(read, truncation=False, padding=False)["input_ids"])


def load_dual(name: str, *, revision: str | None = None) -> DualEncoder:
    """The CLIP or SigLIP model in a folder or on the hub, on the best device, in float32."""
    pillow()
    import transformers

    source = resolve(name, ROLES["image model"], revision=revision)
    config = read_config(source)
    check_config(source, config)
    where = {"revision": source.revision, "trust_remote_code": False}
    with quiet(), one_line(name, source.role.valid):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.path, **where)
        except ImportError as error:
            if transformers.utils.is_sentencepiece_available():
                raise
            # Of the first SigLIP models; transformers says so in a page.
            raise MissingExtra(
                f"the tokenizer of model {name!r} needs a package that is not installed: "
                + pip_install("sentencepiece")
            ) from error
        check_limit(tokenizer)
        # Pillow's resizing with and without torchvision, so that scores agree between machines.
        processor = transformers.AutoImageProcessor.from_pretrained(source.path, backend="pil", **where)
    if tokenizer.pad_token is None:
        raise InputError(f"the tokenizer of model {name!r} has no padding token, which texts of unlike lengths need.")
    model = load_weights(transformers.AutoModel, source, config, tokenizer)
    padded = not isinstance(config, transformers.CLIPConfig)
    return DualEncoder(name=name, model=model, tokenizer=tokenizer, processor=processor, padded=padded)


def _unit(vectors: Tensor) -> Float[Tensor, "n d"]:
    return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu()
