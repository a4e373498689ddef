"""How likely a text is of the target style: by a classifier trained here, a ready one, or the user's function."""

import logging
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, SupportsFloat, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.torch import save as to_bytes
from torch import Tensor

from hardprompt.errors import InputError, RewardError, unknown
from hardprompt.lms.embedding import Embedder, outputs
from hardprompt.lms.load import check_config, load_tokenizer, load_weights, read_config, resolve
from hardprompt.lms.reach import text_limit
from hardprompt.lms.roles import ROLES
from hardprompt.search.plugins import load_object, said
from hardprompt.search.writing import write_bytes
from hardprompt.tasks.intervals import bootstrap
from hardprompt.tasks.restyle.reward import Style
from hardprompt.tasks.restyle.texts import LEAST

_LOG = logging.getLogger(__name__)

_HELD_OUT = 0.2  # of the rarer style
_WEAK = 0.7  # held-out accuracy below which its judgement is worth little


@runtime_checkable
class StyleModel(Style, Protocol):
    """Says how likely texts are of the target style: float32 on the CPU, 0 for a blank text."""

    name: str  # what to call it in a report


class TrainedStyle:
    """Logistic regression on sentence embeddings e: sigmoid(w · e + b), w in float64."""

    def __init__(self, embedder: Embedder, *, weight: Float[Tensor, " d"], bias: float) -> None:
        self.name = f"logistic regression on {embedder.name}"
        self.weight = weight.double()
        self.bias = bias
        self._embedder = embedder

    def target(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """Probability of the target style of each text, in [0, 1]; 0 for a blank text."""
        logits = self._embedder.sentences(texts).double() @ self.weight + self.bias
        return _unless_blank(texts, logits.sigmoid().float())

    def save(self, path: Path) -> None:
        """Write weight [d] and bias [1], float64, and whose they are, as safetensors and in one step."""
        tensors = {"weight": self.weight, "bias": torch.tensor([self.bias], dtype=torch.float64)}
        write_bytes(path, to_bytes(tensors, metadata={"embedder": self._embedder.name}))


def train_style(
    embedder: Embedder, source: Sequence[str], target: Sequence[str], *, seed: int
) -> tuple[TrainedStyle, TrainedStyle, dict[str, Any]]:
    """Two independent classifiers of the target style: one to reward a prompt, one to test it.

    A prompt that games the first is seen by the second: no text trains both. A text that occurs twice counts once, and
    one that stands in both styles not at all. As many texts of each style are held out to measure both; the seed parts
    the texts. The report has the ``texts`` that were used of each style, ``duplicates`` and ``dropped`` (in both
    styles) that were not, ``held_out``, and ``accuracy`` and ``interval`` of ``reward`` and ``test`` on those held out.

    Raises:
        InputError: fewer than ``LEAST`` texts of a style.
    """
    given = [[text for text in map(str.strip, texts) if text] for texts in (source, target)]
    distinct = [dict.fromkeys(texts) for texts in given]
    both = distinct[0].keys() & distinct[1].keys()
    if both:
        _LOG.warning("%d texts stand in both styles and train neither, for example %r", len(both), min(both)[:60])
    styles = [[text for text in texts if text not in both] for texts in distinct]
    held = round(_HELD_OUT * min(map(len, styles)))
    if min(map(len, styles)) < LEAST:
        raise InputError(
            f"{len(styles[0])} source and {len(styles[1])} target texts are left of {len(source)} and {len(target)} "
            f"given; {LEAST} different ones of each style are needed, and two beside those held out."
        )
    shuffled = [random.Random(f"{seed} {i}").sample(texts, len(texts)) for i, texts in enumerate(styles)]
    probe = [text for texts in shuffled for text in texts[:held]]
    report: dict[str, Any] = {
        "texts": {"source": len(styles[0]), "target": len(styles[1])},
        "duplicates": sum(map(len, given)) - sum(map(len, distinct)),
        "dropped": len(both),
        "held_out": 2 * held,
    }
    reward, test = (_fit(embedder, *(texts[at::2] for texts in shuffled)) for at in (held, held + 1))
    for name, model in (("reward", reward), ("test", test)):
        right = ((model.target(probe) > 0.5).numpy() == np.repeat([0, 1], held)).astype(float)
        report[name] = {"accuracy": float(right.mean()), "interval": bootstrap(right)}
        if right.mean() < _WEAK:
            _LOG.warning(
                "the style classifier of the %s is right for %.0f %% of %d held-out texts only: its scores say little",
                name, 100 * right.mean(), len(right),
            )  # fmt: skip
    return reward, test, report


class NamedStyle:
    """A sequence classification model of transformers, frozen, and the index of the label that is the target style."""

    def __init__(self, model: Any, tokenizer: Any, *, label: int, name: str) -> None:
        self.name, self._label = name, label
        self._model, self._tokenizer = model.eval().requires_grad_(False), tokenizer
        self._limit = text_limit(model, tokenizer)
        # Labels that do not exclude each other have a probability each.
        self._many = getattr(model.config, "problem_type", None) == "multi_label_classification"

    @torch.no_grad()
    def target(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """Probability of the label for each text, in [0, 1]; 0 for a blank text."""
        result = torch.zeros(len(texts))
        for i, output, _ in outputs(self._model, self._tokenizer, texts, self._limit):
            logits = output.logits[0].float()
            result[i] = (logits.sigmoid() if self._many else logits.softmax(-1))[self._label].cpu()
        return _unless_blank(texts, result)


def named_style(name: str, label: str, *, revision: str | None = None) -> NamedStyle:
    """A ready classifier by its folder or hub name, and the target style as its ``id2label`` names it, or its index.

    ``revision`` is the commit of one on the hub.

    Raises:
        InputError: no such model or label, one with fewer than two labels or that was not trained to classify, or one
            without all weights, in safetensors.
    """
    from transformers import AutoModelForSequenceClassification

    source = resolve(name, ROLES["classifier"], revision=revision)
    config = read_config(source)
    check_config(source, config)
    labels = {int(i): str(label) for i, label in config.id2label.items()}
    if len(labels) < 2:
        raise InputError(f"model {name!r} has one label; a classifier with two or more is needed here.")
    tokenizer = load_tokenizer(source)
    model = load_weights(AutoModelForSequenceClassification, source, config, tokenizer)
    index = {**{str(i): i for i in labels}, **{text: i for i, text in labels.items()}}  # a name wins over an index
    if label not in index:
        raise unknown(f"label of {name!r}", label, labels.values())
    return NamedStyle(model, tokenizer, label=index[label], name=f"{name}, label {labels[index[label]]}")


@dataclass
class FunctionStyle:
    """The user's own function from a list of texts to probabilities of the target style, and what to call it."""

    function: Callable[[list[str]], Any]
    name: str

    def target(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """What the function says of each text; 0 for a blank text, which it is not asked about.

        Raises:
            RewardError: it raised, or returned anything but one number in [0, 1] for each text.
        """
        asked = [text for text in texts if text.strip()]
        if not asked:
            return torch.zeros(len(texts))
        about, given = f"style function {self.name!r}", f"{len(asked)} texts, the first {asked[0][:60]!r}"
        try:
            values = list(self.function(list(asked)))
        except Exception as error:
            raise RewardError(f"{about} failed for {given}: {said(error)}.") from error
        if len(values) != len(asked):
            raise RewardError(f"{about} returned {len(values)} values for {given}.")
        numbers = []
        for text, value in zip(asked, values, strict=True):
            try:
                numbers.append(float(value) if isinstance(value, SupportsFloat) else math.nan)
            except (TypeError, ValueError, RuntimeError):
                numbers.append(math.nan)  # a row of numbers, say
            if not 0 <= numbers[-1] <= 1:
                wrong = f"{about} returned {str(value)[:60]!r} for {text[:60]!r}"
                raise RewardError(f"{wrong}; a number from 0 to 1 is expected.")
        chances = iter(numbers)
        return torch.tensor([next(chances) if text.strip() else 0.0 for text in texts], dtype=torch.float32)


def function_style(name: str) -> FunctionStyle:
    """The user's function ``package.module:function``, found from where the user stands.

    Raises:
        InputError: it cannot be imported or called.
    """
    return FunctionStyle(load_object("style function", name), name=name)


def _fit(embedder: Embedder, source: list[str], target: list[str]) -> TrainedStyle:
    # Only here: importing it takes longer than loading a small model.
    from sklearn.linear_model import LogisticRegression

    x: NDArray[np.float64] = embedder.sentences([*source, *target]).double().numpy()
    y = np.repeat([0, 1], [len(source), len(target)])
    fitted = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(x, y)
    return TrainedStyle(embedder, weight=torch.from_numpy(fitted.coef_[0].copy()), bias=float(fitted.intercept_[0]))


def _unless_blank(texts: Sequence[str], chances: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """A text of nothing is of no style, whatever a model says of it."""
    return chances * torch.tensor([bool(text.strip()) for text in texts], dtype=chances.dtype)
