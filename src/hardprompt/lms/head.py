"""A causal model's output head, found by watching the model's own forward: what goes in, and what becomes of it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hardprompt.lms.probes import apart

_HUGE, _HALF_HUGE = 1e6, 1e4  # products with the vocabulary, so that a cap on logits shows
_ROWS = 1024  # of the matrix that are looked at
_LOGITS = 100_000_000  # at once, where the vocabulary is only passed through
_LIMIT, _HALF_LIMIT = 1e-5, 5e-2  # of differences, relative to the largest entry


class Head:
    """The output matrix of a causal model, and what the model's own code makes of the product with it.

    A *state* is what goes into the matrix. What comes out may be scaled, capped, or both before the model calls it
    logits; that is found by giving the matrix states of any size and looking at the model's logits. Where it is none
    of those, the model's own code is asked each time, with a token for every state, which is slower.

    Args:
        model: a causal model of transformers.
        like: the head of the same model in another precision, whose finding holds; without it the first call is
            ``whole``.

    Raises:
        ValueError: the model has no output matrix, or makes something else of it.
    """

    def __init__(self, model: Any, *, like: "Head | None" = None) -> None:
        self._model = model
        self.module = model.get_output_embeddings()
        if self.module is None:
            raise ValueError("it has no output matrix")
        self.half = self.weight.dtype != torch.float32
        self._known = like is not None
        self._scale: float = like._scale if like else 1.0
        self._cap: float | None = like._cap if like else None
        self.quick: bool = like.quick if like else False  # whether they are all that becomes of the product

    @property
    def weight(self) -> Float[Tensor, "vocabulary hidden"]:
        """The matrix."""
        weight: Tensor = self.module.weight.detach()
        return weight

    @property
    def bias(self) -> Float[Tensor, " vocabulary"] | None:
        """What is added to the product, if anything."""
        bias: Tensor | None = self.module.bias if isinstance(self.module, nn.Linear) else None
        return None if bias is None else bias.detach()

    def states(self, **inputs: Any) -> Float[Tensor, "n tokens hidden"]:
        """What the model's own forward gives to the matrix; the vocabulary is not computed."""
        return self._seen(inputs, keep=0)[0]

    def whole(
        self, ids: Int[Tensor, "n tokens"], *, together: bool
    ) -> tuple[Float[Tensor, "n tokens hidden"], Float[Tensor, "n tokens vocabulary"]]:
        """What the model's own forward gives to the matrix, and the logits that it makes of it.

        What becomes of the product is found where it is not known: ``together`` in the same pass, with states of any
        size behind those of the tokens, else in one of its own.
        """
        sample, factors = self._given()
        given = torch.cat([sample * f for f in factors])
        if self._known or not together:
            if not self._known:
                self._find(self._own(given))
            states, output = self._seen({"input_ids": ids}, keep=None)
            return states, output.logits
        seen: list[Tensor] = []

        def append(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen.append(args[0])
            return (torch.cat([args[0], given.expand(len(args[0]), -1, -1)], 1),)

        logits: Tensor = self._watched(append, input_ids=ids).logits
        if len(seen) != 1 or logits.shape[1] != ids.shape[1] + len(given):
            raise ValueError("its output matrix is not used once, on every token")
        self._find(logits[0, ids.shape[1] :])
        return seen[0], logits[:, : ids.shape[1]]

    def logits(self, states: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        """The model's logits, in float32."""
        if not self.quick:
            return self._own(states).float()
        return self._finish(self.module(states.to(self.weight.dtype)).float())

    def at(self, states: Float[Tensor, "n hidden"], ids: Int[Tensor, " k"]) -> Float[Tensor, "n k"]:
        """The logits of some tokens, in float32: the vocabulary is not computed."""
        if not self.quick:
            return torch.cat([self.logits(part)[:, ids] for part in self._parts(states)])
        product = states.float() @ self.weight[ids].float().T
        return self._finish(product if self.bias is None else product + self.bias[ids].float())

    def each(self, states: Float[Tensor, "n hidden"], ids: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The logit of one token for each state, in float32."""
        if not self.quick:
            pairs = zip(self._parts(states), self._parts(ids.to(states.device)), strict=True)
            return torch.cat([self.logits(part).gather(-1, own[:, None])[:, 0] for part, own in pairs])
        product = (self.weight[ids].float() * states.float()).sum(-1)
        return self._finish(product if self.bias is None else product + self.bias[ids].float())

    def log_p(self, states: Float[Tensor, "n hidden"], token: int) -> Float[Tensor, " n"]:
        """The log-probability of one token after each state."""
        every = map(self.logits, self._parts(states))
        return torch.cat([logits[:, token] - logits.logsumexp(-1) for logits in every])

    def normalisers(self, states: Float[Tensor, "n hidden"]) -> Float[Tensor, " n"]:
        """The logarithm of the sum over the vocabulary of exp(logit), for each state."""
        return torch.cat([self.logits(part).logsumexp(-1) for part in self._parts(states)])

    @property
    def rows(self) -> int:
        """Of how many states the vocabulary is computed at once, where it is only passed through."""
        return max(1, _LOGITS // len(self.weight))

    def _parts(self, values: Tensor) -> Sequence[Tensor]:
        parts: Sequence[Tensor] = values.split(self.rows)
        return parts

    def _finish(self, product: Tensor) -> Tensor:
        product = product * self._scale
        return product if self._cap is None else self._cap * torch.tanh(product / self._cap)

    def _seen(self, inputs: dict[str, Any], *, keep: int | None) -> tuple[Tensor, Any]:
        """What goes into the matrix, of which so many tokens go on, and the model's output."""
        seen: list[Tensor] = []

        def watch(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen.append(args[0])
            return (args[0][:, :keep],)

        output = self._watched(watch, **inputs)
        if len(seen) != 1:
            raise ValueError(f"its output matrix is used {len(seen)} times")
        return seen[0], output

    def _own(self, states: Float[Tensor, "n hidden"]) -> Float[Tensor, "n vocabulary"]:
        """What the model's own code makes of states, which take the place of a token's each."""

        def replace(_module: Any, _args: Any) -> tuple[Tensor]:
            return (states[:, None].to(self.weight.dtype),)

        ids = torch.zeros(len(states), 1, dtype=torch.int64, device=states.device)
        logits: Tensor = self._watched(replace, input_ids=ids).logits[:, 0]
        return logits

    def _watched(self, hook: Callable[..., Any], **inputs: Any) -> Any:
        handle = self.module.register_forward_pre_hook(hook)
        try:
            return self._model(**inputs)
        finally:
            handle.remove()

    def _given(self) -> tuple[Float[Tensor, "two hidden"], list[float]]:
        """Two states, and factors that make them small to huge, as the product with a part of the matrix says."""
        states = torch.randn(2, self.weight.shape[1], generator=torch.Generator().manual_seed(0)).to(self.weight)
        size = float((states @ self.weight[:_ROWS].T).abs().max().clamp_min(1e-6))
        return states, [f / size for f in (1.0, 30.0, _HALF_HUGE if self.half else _HUGE)]

    @torch.no_grad()
    def _find(self, logits: Float[Tensor, "six vocabulary"]) -> None:
        """Scale, cap or None, and whether they are all that becomes of the product, from the logits of ``_given``."""
        states, factors = self._given()
        bias = torch.zeros(()).to(self.weight) if self.bias is None else self.bias
        product = self.module(states) - bias
        made = [product * f + bias for f in factors]
        own, raw = [part.double() for part in logits.chunk(3)], [part.double() for part in made]
        most = float(own[2].abs().max())
        grows = most / raw[2].abs().max() > 0.5 * own[0].abs().max() / raw[0].abs().max()
        cap = None if grows else most
        low = own[0] if cap is None else cap * (own[0] / cap).atanh()
        scale = float((raw[0] * low).sum() / raw[0].square().sum())
        if abs(scale - 1) < (1e-2 if self.half else 1e-6):
            scale = 1.0
        found = [part * scale if cap is None else cap * (part * scale / cap).tanh() for part in raw]
        matrix = states @ self.weight[:_ROWS].T  # the head may be more than a matrix
        pairs = [(matrix, product[:, : matrix.shape[1]]), *zip(own, found, strict=True)]
        limit = _HALF_LIMIT if self.half else _LIMIT
        self._scale, self._cap, self.quick = scale, cap, all(apart(*pair) <= limit for pair in pairs)
        self._known = True
