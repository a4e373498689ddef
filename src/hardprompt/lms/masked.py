"""A masked language model as task LM: scores choices in the place of the blank."""

import itertools
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms import probes
from hardprompt.lms.answers import Pooling, answers, check_known
from hardprompt.lms.placing import padded, put
from hardprompt.lms.proof import Proved
from hardprompt.lms.reach import text_limit
from hardprompt.lms.tokens import truncate, whole_ids
from hardprompt.lms.unpadded import Unpadded
from hardprompt.search.passes import passes

_LOG = logging.getLogger(__name__)

_BATCH_TOKENS = 1024  # of one forward pass, padding included,
_GPU_BATCH_TOKENS = 32_768  # and what it takes to fill a GPU
_LOGITS = 100_000_000  # of one pass: each of its sequences, or of its tokens, has a row of the vocabulary
_ROW_LIMIT = 5e-5  # what a row may differ from sequences run alone; one that mixes them may differ by little more
_ROUNDING = 1e-5
_WORDS = 500  # tokens that rows are tried on


class MaskedLM:
    """Scores choices at a mask with any masked model of transformers.

    Args:
        model: the model; it is frozen.
        tokenizer: its tokenizer, which must know a mask token.
        probed: the same over this model in float32: how it is run holds here, too, and shows more clearly there.

    A choice of k tokens is given k masks, which are filled from left to right: each token's log-probability is that
    given the tokens before it. The space at a word boundary belongs to the choice.

    Raises:
        InputError: the tokenizer has no mask token, or the model's own forward fails on short texts.
    """

    def __init__(self, model: Any, tokenizer: Any, *, probed: "MaskedLM | None" = None) -> None:
        if tokenizer.mask_token_id is None:
            raise InputError("the task model is masked, but its tokenizer has no mask token.")
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.blank: str = tokenizer.mask_token
        self.device = next(model.parameters()).device
        self.context_length: int | None = text_limit(model, tokenizer) if probed is None else probed.context_length
        self._batch_tokens = _BATCH_TOKENS if self.device.type == "cpu" else _GPU_BATCH_TOKENS
        self.tokens_run = 0
        self.places_run = 0  # tokens and padding
        self.logits_computed = 0  # rows of the vocabulary: the work, counted instead of timed
        self._unpadded: Unpadded | None = None
        self._full = self  # in float32, where it shows up to which length a row is right
        self._proved = Proved(self.context_length)
        self._short: bool
        self.pads: bool  # whether padding leaves the other places as they are
        if probed is not None:
            self._short, self.pads = probed._short, probed.pads
            self._unpadded = Unpadded(model, first=probed._unpadded.first) if probed._unpadded is not None else None
            self._full = probed._full
            return
        self._short = self._probe_head()
        if not self._short:
            _LOG.info("the model's head is not asked for one place alone: the vocabulary is computed at every token")
        try:
            self.pads, self._unpadded = self._probe_lengths()
        except Exception as error:  # the code is any model's: it may raise anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise InputError(f"a {type(model).__name__} cannot be run as a masked model: {reason}.") from error
        if self._unpadded is None:
            alike = "like length share a padded pass" if self.pads else "one length share a pass"
            _LOG.warning("a %s runs no row of several texts: those of %s, which is slower", type(model).__name__, alike)

    def over(self, model: Any) -> "MaskedLM":
        """The same over the model or a copy of it in another precision."""
        return MaskedLM(model, self.tokenizer, probed=self)

    def prepare(self, contexts: Sequence[str]) -> None:
        """Nothing: what stands behind the prompt changes every state, so no work can be kept."""

    @torch.no_grad()
    def score(
        self,
        contexts: Sequence[str],
        choices: Sequence[str],
        *,
        after: str = "",  # noqa: ARG002, it stands in the context already
        how: Pooling = "sum",
    ) -> Float[Tensor, "n choices"]:
        """Log-probability of each choice in the place of the blank, exact.

        Raises:
            InputError: as ``answers``, or a context without exactly one blank.
        """
        options = answers(self.tokenizer, tuple(choices), how=how)
        check_known(self.tokenizer, options, len(self.model.get_input_embeddings().weight))
        mask = self.tokenizer.mask_token_id
        encoded = whole_ids(self.tokenizer, contexts)
        for context, ids in zip(contexts, encoded, strict=True):
            if ids.count(mask) != 1:
                raise InputError(f"the context {context[:60]!r} has {ids.count(mask)} masks; one is expected.")
        scores = torch.zeros(len(encoded), len(options), device=self.device)
        states: dict[tuple[int, int, tuple[int, ...]], list[int]] = defaultdict(list)  # columns of each filling so far
        for column, option in enumerate(options):
            for done in range(len(option.ids)):
                states[len(option.ids), done, option.ids[:done]].append(column)
        with passes(len(states) * len(encoded)) as more:
            for (length, done, filled), columns in states.items():
                blank = [*filled, *[mask] * (length - done)]
                here = [ids[: ids.index(mask)] + blank + ids[ids.index(mask) + 1 :] for ids in encoded]
                at = [ids.index(mask) + done for ids in encoded]
                log_p = self._log_probabilities(here, at, [options[c].ids[done] for c in columns], more)
                weights = put(torch.tensor([options[c].weights[done] for c in columns]), self.device)
                scores[:, put(columns, self.device)] += weights * log_p
        return scores.cpu()

    def count(self, text: str) -> int:
        """Tokens of ``text``, and the two that open and close a sequence."""
        return len(self.tokenizer(text, add_special_tokens=True)["input_ids"])

    def truncate(self, text: str, tokens: int) -> str:
        """The first ``tokens`` tokens of ``text`` as a string."""
        return truncate(self.tokenizer, text, tokens)

    def _log_probabilities(
        self,
        sequences: list[list[int]],
        at: list[int],
        tokens: list[int],
        more: Callable[[int], None] = lambda _: None,
    ) -> Float[Tensor, "n tokens"]:
        """Log p of ``tokens`` at one place of each sequence, on the model's device."""
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        ids, columns, found, done = [sequences[i] for i in order], put(tokens, self.device), [], 0
        if ids and self._unpadded is not None:
            self._takes(ids[-1])  # the longest may speak for all
        while done < len(order):
            row = self._unpadded if self._unpadded is not None and self._takes(ids[done]) else None
            size = self._fitting(ids[done:], row)
            batch, places = ids[done : done + size], [at[i] for i in order[done : done + size]]
            logits = self._row(row, batch, places) if row is not None else self._padded(batch, places)
            found.append(logits.float().log_softmax(-1)[:, columns])
            self.tokens_run += sum(map(len, batch))
            done += size
            more(size)
        back = sorted(range(len(order)), key=order.__getitem__)
        return torch.cat(found)[put(back, self.device)] if found else torch.zeros(0, len(tokens), device=self.device)

    def _fitting(self, ids: list[list[int]], row: Unpadded | None) -> int:
        """How many of these sequences, which are sorted by length, share a pass with the first."""
        used = 0
        most: int = max(1, _LOGITS // len(self.model.get_input_embeddings().weight))
        tokens = self._batch_tokens if self._short else min(self._batch_tokens, most)
        for size, own in enumerate(ids[:most]):
            used = used + len(own) if row is not None else (size + 1) * len(own)
            shares = self._takes(own) if row is not None else self.pads or len(own) == len(ids[0])
            if size and (used > tokens or not shares):
                return size
        return min(len(ids), most)

    @property
    def in_rows(self) -> bool:
        """Whether sequences share a row without padding."""
        return self._unpadded is not None

    def _takes(self, sequence: Sequence[int]) -> bool:
        """Whether a row may hold a sequence of that length: attention may reach no further than a window."""
        full = self._full
        return full._proved.holds("row", len(sequence), full._row_right)

    def _row_right(self, length: int) -> bool:
        """Whether two sequences of so many tokens get in one row what each gets alone, at their ends and middle."""
        if self._unpadded is None:
            return False
        before = self.logits_computed, self.places_run
        special, size = {*self.tokenizer.all_special_ids}, len(self.model.get_input_embeddings().weight)
        words = [i for i in range(min(size, _WORDS)) if i not in special]
        drawn = random.Random(length)
        one = [(drawn.choices(words, k=length), at) for at in (0, length // 2, length - 1)]
        ids, at = (list(column) for column in zip(*one, strict=True))
        try:
            alone = torch.cat([self._padded([own], [place]) for own, place in one])
            return probes.apart(alone, self._row(self._unpadded, ids, at)) <= _ROW_LIMIT
        except probes.ERRORS as error:
            _LOG.debug("a row of %d tokens each failed: %s", length, error)
            return False
        finally:
            self.logits_computed, self.places_run = before  # what was tried is no work for anybody

    def _padded(self, sequences: list[list[int]], at: list[int]) -> Float[Tensor, "n vocabulary"]:
        ids, seen = padded(sequences, self.device, pad=self.tokenizer.pad_token_id or 0)
        return self.logits(ids, seen, put(at, self.device))

    def _row(self, unpadded: Unpadded, sequences: list[list[int]], at: list[int]) -> Float[Tensor, "n vocabulary"]:
        starts = itertools.accumulate(map(len, sequences[:-1]), initial=0)
        places = put([start + place for start, place in zip(starts, at, strict=True)], self.device)
        with unpadded.row(sequences) as inputs:
            return self._asked(torch.zeros_like(places), places, **inputs)

    def logits(self, ids: Tensor, seen: Tensor, at: Tensor) -> Float[Tensor, "n vocabulary"]:
        """Logits at one place of each row; the head sees no other place, where the model lets itself be asked so."""
        return self._asked(torch.arange(len(ids), device=self.device), at, input_ids=ids, attention_mask=seen)

    def _asked(self, rows: Tensor, at: Tensor, **inputs: Tensor) -> Float[Tensor, "n vocabulary"]:
        self.places_run += inputs["input_ids"].numel()
        if not self._short:
            self.logits_computed += inputs["input_ids"].numel()
            logits: Tensor = self.model(**inputs).logits[rows, at]
            return logits

        def narrow(_module: Any, _inputs: Any, output: Any) -> Any:
            output.last_hidden_state = output.last_hidden_state[rows, at][:, None]
            return output

        self.logits_computed += len(at)
        hook = self.model.base_model.register_forward_hook(narrow)
        try:
            logits = self.model(**inputs).logits[:, 0]
        finally:
            hook.remove()
        return logits

    @torch.no_grad()
    def _probe_head(self) -> bool:
        ids = torch.tensor([[3, 5, 4, 6], [6, 3, 3, 5]], device=self.device)
        at = torch.tensor([2, 1], device=self.device)
        try:
            self._short = False
            whole = self.logits(ids, torch.ones_like(ids), at)
            self._short = True
            short = self.logits(ids, torch.ones_like(ids), at)
        except probes.ERRORS:
            return False
        finally:
            self.logits_computed = self.places_run = 0
        return probes.alike(whole, short)

    @torch.no_grad()
    def _probe_lengths(self) -> tuple[bool, Unpadded | None]:
        """Whether padding changes nothing, and what runs a row without any, if it can: every place is looked at."""
        sequences = [[3, 5, 4, 6, 5, 7], [6, 3, 5], [4, 6, 3], [7, 5]]
        one = [(ids, place) for ids in sequences for place in range(len(ids))]
        alone = torch.cat([self._padded([ids], [place]) for ids, place in one])
        ids, at = (list(column) for column in zip(*one, strict=True))
        found: list[tuple[float, Unpadded]] = []
        pads = probes.alike(alone, self._padded(ids, at))
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 10**9
        for first in (0, (self.tokenizer.pad_token_id or 0) + 1):
            if first + max(map(len, sequences)) > positions:
                continue  # an index out of its table cannot be recovered from on a GPU
            unpadded = Unpadded(self.model, first=first)
            try:
                found.append((probes.apart(alone, self._row(unpadded, ids, at)), unpadded))
            except probes.ERRORS as error:
                _LOG.debug("probe of a row without padding failed: %s", error)
                break
        self.logits_computed = self.places_run = 0
        # What rounding alone parts is the same: where positions are relative any first one is right, and 0 is taken.
        best = min(found, key=lambda pair: max(pair[0], _ROUNDING), default=None)
        return pads, best[1] if best is not None and best[0] <= _ROW_LIMIT else None
