"""Loads models by name; what was loaded once is handed out again."""

from collections.abc import Callable
from typing import Any

from hardprompt.lms import TaskLM
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.embedding import Embedder, load_embedder
from hardprompt.lms.image_text import ImageText, load_image_text
from hardprompt.lms.load import load_causal, load_masked, load_task_lm
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.own import is_own


class Models:
    """Loads models by name, by the functions of the same purpose, whose errors these raise.

    Args:
        keep: whether what was loaded is handed out again; else each call loads anew.

    A causal or masked LM is new each time, over the same weights and tokenizer: the keys and values that it keeps end
    with it. All others are the same object again.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._kept: dict[tuple[Any, str], Any] | None = {} if keep else None

    def causal(self, name: str) -> CausalLM:
        """The causal LM of that name."""
        lm: CausalLM = self._once(_causal, name)
        return lm.over(lm.model)

    def task(self, name: str) -> TaskLM:
        """The task LM of that name."""
        if is_own(name):
            own: TaskLM = self._once(load_task_lm, name)
            return own
        masked: MaskedLM | None = self._once(load_masked, name)
        return self.causal(name) if masked is None else masked.over(masked.model)

    def embedder(self, name: str) -> Embedder:
        """The encoder of that name."""
        embedder: Embedder = self._once(load_embedder, name)
        return embedder

    def image_text(self, name: str) -> ImageText:
        """The image–text model of that name."""
        model: ImageText = self._once(load_image_text, name)
        return model

    def _once(self, load: Callable[[str], Any], name: str) -> Any:
        if self._kept is None:
            return load(name)
        if (load, name) not in self._kept:
            self._kept[load, name] = load(name)
        return self._kept[load, name]


def _causal(name: str) -> CausalLM:
    return CausalLM(*load_causal(name))
