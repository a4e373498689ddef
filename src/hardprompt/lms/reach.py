"""How many tokens a model reads: where its table of positions ends, seen from the row that it takes for the first."""

import contextlib
from typing import Any

import torch
from torch import Tensor

from hardprompt.lms import probes

_TOKENS = 4
_SAID = ("max_position_embeddings", "max_seq_len")  # where a configuration says how far positions, or biases, go


@torch.no_grad()
def reach(model: Any) -> int | None:
    """Tokens of a text that the model has positions for, or None where its configuration says nothing of that.

    Some models count positions from behind the padding token's number, so that the rows before are never used; the
    configuration counts them all the same. A few tokens are run where there is such a table, to see which are used.
    """
    config = model.config.get_text_config()
    said = (getattr(config, name, None) for name in _SAID)
    rows: int | None = next((number for number in said if number is not None and number >= 1), None)
    if rows is None:
        return None
    first, padding = 0, getattr(config, "pad_token_id", None)
    # They count down and hold no padding, so that what counts up are positions.
    ids = torch.tensor([i for i in range(9, 0, -1) if i != padding][:_TOKENS])

    def watch(_module: Any, given: tuple[Any, ...]) -> None:
        nonlocal first
        if given and isinstance(given[0], Tensor) and not given[0].is_floating_point():
            asked = given[0].flatten()[:_TOKENS].tolist()
            if asked == [*range(asked[0], asked[0] + _TOKENS)]:
                first = max(first, asked[0])

    tables = [part for part in model.modules() if _rows(part) == rows]
    with contextlib.ExitStack() as hooks:
        for part in tables:
            hooks.callback(part.register_forward_pre_hook(watch).remove)
        if tables:
            with contextlib.suppress(*probes.ERRORS):  # whoever runs it next says what is wrong
                model(input_ids=ids[None].to(model.device))
    return rows - first


def _rows(part: torch.nn.Module) -> int | None:
    weight = dict(part.named_parameters(recurse=False)).get("weight")
    return None if weight is None or weight.ndim != 2 else len(weight)


def text_limit(model: Any, tokenizer: Any) -> int | None:
    """Tokens that a text may have, special ones included, or None where neither model nor tokenizer says so."""
    places = reach(model)
    limit = min(10**9 if places is None else places, tokenizer.model_max_length)
    return int(limit) if limit < 10**9 else None
