"""Loads models by name; what was loaded once is handed out again."""

from collections.abc import Callable
from typing import Any, TypeVar

from hardprompt.lms import TaskLM
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.embedding import Embedder, load_embedder
from hardprompt.lms.image_text import ImageText, load_image_text
from hardprompt.lms.load import load_causal, load_masked, load_task_lm
from hardprompt.lms.own import is_own

Loaded = TypeVar("Loaded")


class Models:
    """Loads models by name; each way raises what the function raises that loads such a model.

    Args:
        keep: whether what was loaded once is handed out again; else it is loaded anew.

    A causal or masked LM is new each time, over the same weights and tokenizer: the keys and values that it keeps end
    with it. An embedder, an image–text model and a task LM of the user's own are the same object again.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._kept: dict[tuple[Any, str], Any] = {}

    def causal(self, name: str) -> CausalLM:
        """The causal LM of that name."""
        lm = self._once(_causal, name)
        return lm.over(lm.model)

    def task(self, name: str) -> TaskLM:
        """The task LM of that name."""
        if is_own(name):
            return self._once(load_task_lm, name)
        masked = self._once(load_masked, name)
        return self.causal(name) if masked is None else masked.over(masked.model)

    def embedder(self, name: str) -> Embedder:
        """The encoder of that name."""
        return self._once(load_embedder, name)

    def image_text(self, name: str) -> ImageText:
        """The image–text model of that name."""
        return self._once(load_image_text, name)

    def _once(self, load: Callable[[str], Loaded], name: str) -> Loaded:
        found: Loaded = self._kept[load, name] if (load, name) in self._kept else load(name)
        if self._keep:
            self._kept[load, name] = found
        return found


def _causal(name: str) -> CausalLM:
    return CausalLM(*load_causal(name))
