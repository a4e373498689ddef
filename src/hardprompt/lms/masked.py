"""A masked language model as task LM: scores choices in the place of the blank."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.causal import truncate

_LOG = logging.getLogger(__name__)

_BATCH_TOKENS = 1024  # of one forward pass, padding included


class MaskedLM:
    """Scores choices at a mask with any masked model of transformers.

    Args:
        model: the model; it is frozen.
        tokenizer: its tokenizer, which must know a mask token.

    A choice of k tokens is given k masks, which are filled from left to right: log P is the sum of each token's
    log-probability given the tokens before it. The space at a word boundary belongs to the choice.

    Raises:
        InputError: the tokenizer has no mask token.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        if tokenizer.mask_token_id is None:
            raise InputError("the task model is masked, but its tokenizer has no mask token.")
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.blank: str = tokenizer.mask_token
        self.device = next(model.parameters()).device
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        # Some models number positions from behind the padding token, so the tokenizer's limit may be lower.
        self.context_length: int | None = min(limit or 10**9, tokenizer.model_max_length)
        if self.context_length >= 10**9:
            self.context_length = None
        self.tokens_run = 0
        self.logits_computed = 0  # rows of the vocabulary: the work, counted instead of timed
        self._short = self._probe()
        if not self._short:
            _LOG.info("the model's head is not asked for one place alone: the vocabulary is computed at every token")

    def prepare(self, contexts: Sequence[str]) -> None:
        """Nothing: what stands behind the prompt changes every state, so no work can be kept."""

    @torch.no_grad()
    def score(self, contexts: Sequence[str], choices: Sequence[str]) -> Float[Tensor, "n choices"]:
        """Log-probability of each choice in the place of the blank, exact.

        Raises:
            InputError: a choice without a token, or a context without exactly one blank.
        """
        options = [self.tokenizer(c, add_special_tokens=False)["input_ids"] for c in choices]
        mask = self.tokenizer.mask_token_id
        encoded = self.tokenizer(list(contexts), add_special_tokens=True)["input_ids"] if contexts else []
        for context, ids in zip(contexts, encoded, strict=True):
            if ids.count(mask) != 1:
                raise InputError(f"the context {context[:60]!r} has {ids.count(mask)} masks; one is expected.")
        scores = torch.zeros(len(encoded), len(options))
        by_length: dict[int, list[int]] = {}
        for column, ids in enumerate(options):
            if not ids:
                raise InputError(f"the choice {choices[column]!r} has no token; give a word.")
            by_length.setdefault(len(ids), []).append(column)
        for length, columns in by_length.items():
            for filled in sorted({tuple(options[c][:j]) for c in columns for j in range(length)}):
                blank = [*filled, *[mask] * (length - len(filled))]
                here = [ids[: ids.index(mask)] + blank + ids[ids.index(mask) + 1 :] for ids in encoded]
                at = [ids.index(mask) + len(filled) for ids in encoded]
                log_p = self._log_probabilities(here, at, [options[c][len(filled)] for c in columns])
                for k, column in enumerate(columns):
                    if tuple(options[column][: len(filled)]) == filled:
                        scores[:, column] += log_p[:, k]
        return scores

    def count(self, text: str) -> int:
        """Tokens of ``text``, and the two that open and close a sequence."""
        return len(self.tokenizer(text, add_special_tokens=True)["input_ids"])

    def truncate(self, text: str, tokens: int) -> str:
        """The first ``tokens`` tokens of ``text`` as a string."""
        return truncate(self.tokenizer, text, tokens)

    def _log_probabilities(
        self, sequences: list[list[int]], at: list[int], tokens: list[int]
    ) -> Float[Tensor, "n tokens"]:
        """Log p of ``tokens`` at one place of each sequence; sequences of like length share a pass."""
        out = torch.zeros(len(sequences), len(tokens))
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        pad = self.tokenizer.pad_token_id or 0
        while order:
            size = 1
            while size < len(order) and (size + 1) * len(sequences[order[size]]) <= _BATCH_TOKENS:
                size += 1
            batch, order = order[:size], order[size:]
            width = len(sequences[batch[-1]])
            ids = torch.tensor([sequences[i] + [pad] * (width - len(sequences[i])) for i in batch])
            seen = torch.tensor([[1] * len(sequences[i]) + [0] * (width - len(sequences[i])) for i in batch])
            places = torch.tensor([at[i] for i in batch], device=self.device)
            logits = self.logits(ids.to(self.device), seen.to(self.device), places)
            out[batch] = logits.float().log_softmax(-1)[:, tokens].cpu()
            self.tokens_run += sum(len(sequences[i]) for i in batch)
        return out

    def logits(self, ids: Tensor, seen: Tensor, at: Tensor) -> Float[Tensor, "n vocabulary"]:
        """Logits at one place of each row; the head sees no other place, where the model lets itself be asked so."""
        rows = torch.arange(len(ids), device=self.device)
        if not self._short:
            self.logits_computed += ids.numel()
            logits: Tensor = self.model(input_ids=ids, attention_mask=seen).logits[rows, at]
            return logits

        def narrow(_module: Any, _inputs: Any, output: Any) -> Any:
            output.last_hidden_state = output.last_hidden_state[rows, at][:, None]
            return output

        self.logits_computed += len(ids)
        hook = self.model.base_model.register_forward_hook(narrow)
        try:
            logits = self.model(input_ids=ids, attention_mask=seen).logits[:, 0]
        finally:
            hook.remove()
        return logits

    @torch.no_grad()
    def _probe(self) -> bool:
        ids = torch.tensor([[3, 5, 4, 6], [6, 3, 3, 5]], device=self.device)
        at = torch.tensor([2, 1], device=self.device)
        try:
            self._short = False
            whole = self.logits(ids, torch.ones_like(ids), at)
            self._short = True
            short = self.logits(ids, torch.ones_like(ids), at)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return False
        finally:
            self.logits_computed = 0
        limit = 1e-3 if whole.dtype == torch.float32 else 5e-2
        return whole.shape == short.shape and bool((whole - short).abs().max() <= limit * whole.abs().max())
