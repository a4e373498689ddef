"""About how much memory a search will take, said before it takes it."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil
import torch

from hardprompt.lms.causal import TEXTS_SHARE, CausalLM
from hardprompt.lms.kept import room
from hardprompt.lms.machine import memory
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.rows import KEPT_TOKENS
from hardprompt.lms.sampling import side_by_side

_LOG = logging.getLogger(__name__)

_PROMPTS = 16  # that are scored together, as most methods propose them
_TOKENS = 1024  # of a pass over short texts
_WIDTHS = 6  # vectors as wide as the model's widest that a layer holds of a token at once
_LOGITS = 2  # copies of a logit: as the head makes it, and scaled or in the sum over the vocabulary
_COPIES = 4  # of a layer's keys and values: as they are lent, behind the new ones, and spread over the heads


class Footprint(NamedTuple):
    """Bytes at the most, on the CPU or a GPU."""

    models: int  # and all else that the process holds already
    kept: int
    room: int  # that keys and values may take
    batch: int
    available: int  # beside what is held already

    @property
    def total(self) -> int:
        """All of it."""
        return self.models + self.kept + self.batch

    def __str__(self) -> str:
        models, kept, most, batch, total = (
            f"{size / 1e9:.1f}" for size in (self.models, self.kept, self.room, self.batch, self.total)
        )
        return f"about {total} GB of memory: models {models}, keys and values {kept} of {most}, a batch {batch}"

    def warn(self) -> None:
        """Say so where it is more than there is."""
        if self.kept + self.batch > self.available:
            _LOG.warning(
                "the search may take %.1f GB more than it has already, and %.1f GB are available: shorten the texts "
                "(--max-text-tokens) or use a smaller task model",
                (self.kept + self.batch) / 1e9, self.available / 1e9,
            )  # fmt: skip


class Reading(NamedTuple):
    """A set of texts that prompts are scored on."""

    lengths: Sequence[int]  # tokens of each text
    held: bool  # whether keys and values of them are
    normalised: bool  # whether what is scored is normalised over the vocabulary


class Writing(NamedTuple):
    """Continuations of contexts that are asked for at once."""

    lengths: Sequence[int]  # tokens of each context
    limits: Sequence[int]  # the most that are written behind it
    samples: int  # of each


def footprint(sets: Sequence[tuple[Any, Reading]], written: Sequence[tuple[Any, Writing]] = ()) -> Footprint:
    """What a search over sets of texts takes once its models are loaded.

    Args:
        sets: each with its task LM; one that is none of ours takes nothing here.
        written: what each task LM writes, likewise.
    """
    ours = [(lm, what) for lm, what in sets if isinstance(lm, CausalLM | MaskedLM) and what.lengths]
    writers = [(lm, what) for lm, what in written if isinstance(lm, CausalLM)]
    models = [*(lm for lm, *_ in ours), *(lm for lm, _ in writers)]
    device = models[0].device if models else torch.device("cpu")
    most = room(device).limit
    kept = sum(sum(what.lengths) * lm.packed.token_bytes for lm, what in ours if what.held and isinstance(lm, CausalLM))
    batch = max([_batch(lm, what) for lm, what in ours] + [_written(lm, what) for lm, what in writers], default=0)
    if device.type == "cuda":
        own, available = torch.cuda.memory_allocated(device), torch.cuda.mem_get_info(device)[0]
    else:
        own, available = psutil.Process().memory_info().rss, memory().available
    return Footprint(own, min(kept, int(TEXTS_SHARE * most)), most, batch, available)


def _batch(lm: CausalLM | MaskedLM, what: Reading) -> int:
    """Of the largest pass: a long text on its own, many rows behind what is kept, or the vocabulary behind them."""
    longest = max(what.lengths)
    passing = _passing(lm, longest)
    if isinstance(lm, MaskedLM):
        return passing
    layers: int = lm.model.config.get_text_config().num_hidden_layers
    lent = min(KEPT_TOKENS, len(what.lengths) * longest) * lm.packed.token_bytes // layers * _COPIES
    head = lm.packed.head
    rows = min(head.rows, len(what.lengths) * _PROMPTS) if what.normalised else 0
    return max(passing + max(longest * lm.packed.token_bytes, lent), rows * len(head.weight) * 4 * _LOGITS)


def _written(lm: CausalLM, what: Writing) -> int:
    """Of the largest batch of continuations: the contexts' pass, and the keys and values of all that is written."""
    layers: int = lm.model.config.get_text_config().num_hidden_layers
    copies = [what.samples] * len(what.lengths)
    taken = [0]
    for batch in side_by_side(what.lengths, what.limits, copies, token_bytes=lm.packed.token_bytes):
        length = max(what.lengths[i] for i in batch)
        width = length + max(what.limits[i] for i in batch)
        held = len(batch) * what.samples * width * lm.packed.token_bytes
        taken.append(_passing(lm, len(batch) * length) + held + held // layers * _COPIES)
    return max(taken)


def _passing(lm: CausalLM | MaskedLM, tokens: int) -> int:
    """What a pass over tokens holds beside keys and values."""
    model, tables = lm.model, (lm.model.get_input_embeddings(), lm.model.get_output_embeddings())
    weights = [w for part in model.modules() if part not in tables for w in part.parameters(recurse=False)]
    widest: int = max((max(w.shape) * w.element_size() for w in weights if w.ndim == 2), default=0)
    return max(tokens, _TOKENS) * _WIDTHS * widest
