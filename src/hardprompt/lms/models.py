"""Loads models by name; what was loaded once is handed out again."""

from collections.abc import Callable, Mapping
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
        revisions: by the name of a model on the hub the commit that is loaded; of others it is the newest.

    A causal or masked LM is new each time, over the same weights and tokenizer: the keys and values that it keeps end
    with it. An embedder, an image–text model and a task LM of the user's own are the same object again.
    """

    def __init__(self, *, keep: bool = False, revisions: Mapping[str, str] | None = None) -> None:
        self.revisions: Mapping[str, str] = revisions or {}
        self._keep = keep
        self._kept: dict[tuple[Any, str, str | None], Any] = {}

    def pinned(self, revisions: Mapping[str, str]) -> "Models":
        """These commits of models on the hub; what was loaded is shared."""
        other = Models(keep=self._keep, revisions=revisions)
        other._kept = self._kept
        return other

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

    def _once(self, load: Callable[..., Loaded], name: str) -> Loaded:
        key = load, name, self.revisions.get(name)
        found: Loaded = self._kept[key] if key in self._kept else load(name, revision=key[2])
        if self._keep:
            self._kept[key] = found
        return found


def _causal(name: str, *, revision: str | None) -> CausalLM:
    return CausalLM(*load_causal(name, revision=revision))
