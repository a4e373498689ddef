"""Tsallis entropy: the policy and the value that it gives to a row of logits."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hardprompt.errors import InputError

_LONG = 512  # entries from which it pays to look for the few that matter
_BISECTIONS = 64  # halves an interval of width 1 below float64's resolution
_TINY = torch.finfo(torch.float32).tiny  # what is in the support has this probability at least


@dataclass(frozen=True)
class TsallisEntropy:
    """The regulariser S_q(p) = (1 - sum p^q) / (q (q - 1)) and what it makes of logits x = Q/alpha.

    ``policy`` is argmax_p <p, x> + S_q(p) over the simplex and ``value`` is that maximum: softmax and
    logsumexp at q = 1 (the limit, Shannon), sparsemax and spmax at q = 2. Any number of leading dimensions;
    an entry of -inf equals absence. Half precision is computed, and returned, in float32. Rows on a GPU are not checked
    first, since the host would have to wait for the answer: there a faulty row gives NaN.

    Raises:
        InputError: q below 1 or not finite; a row with NaN, +inf or nothing but -inf.

    Source: PIN (Choi et al., 2024) eq. 4 and 5; Martins & Astudillo, 2016; Peters et al., 2019 (normalisation).
    """

    q: float = 2.0  # entropic index, finite and >= 1; in closed form at 1 and 2, found by bisection elsewhere

    def __post_init__(self) -> None:
        if not (math.isfinite(self.q) and self.q >= 1.0):
            raise InputError(f"entropic index q is {self.q}; it must be a finite number >= 1 (1 softmax, 2 sparsemax).")

    def policy(self, logits: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
        """Probabilities over the last dimension, differentiable; exact zeros outside the support when q > 1."""
        policy: Tensor = _Policy.apply(_checked(logits), self.q)  # type: ignore[no-untyped-call]
        return policy

    def value(self, logits: Float[Tensor, "*b v"]) -> Float[Tensor, "*b"]:
        """The regularised maximum; its gradient with respect to the logits is the policy (Danskin)."""
        x = _checked(logits)
        if self.q == 1.0:
            return torch.logsumexp(x, dim=-1)
        if self.q == 2.0 and _on_cpu(x):
            x = _contenders(x)[0]  # the rest have probability zero, whatever the threshold turns out to be
        p = _solve(x.detach(), self.q)
        # p is detached: the envelope theorem makes <p, x> carry the exact gradient, and keeps 0 * -inf out.
        inner = (p * torch.where(p > 0, x, torch.zeros_like(x))).sum(-1)
        if self.q == 2.0:
            return inner + 0.5 - 0.5 * p.square().sum(-1)
        # 1 - sum p^q = -sum p expm1((q-1) log p): no cancellation when q is close to 1.
        entropy = -(p * torch.expm1((self.q - 1.0) * p.clamp_min(_TINY).log())).sum(-1) / (self.q * (self.q - 1.0))
        return (inner + entropy).to(x.dtype)

    def support_size(self, logits: Float[Tensor, "*b v"]) -> Int[Tensor, "*b"]:
        """How many entries have a probability above zero."""
        x = _checked(logits).detach()
        if self.q == 1.0:  # softmax may underflow to 0, but its support is every finite entry
            return torch.isfinite(x).sum(-1)
        return (_solve(x, self.q) > 0).sum(-1)


class _Policy(torch.autograd.Function):
    """One Jacobian serves every q: with s = p^(2-q) on the support, J = diag(s) - s s^T / sum(s)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, q: float) -> Tensor:
        p = _solve(x, q)
        ctx.save_for_backward(p)
        ctx.q = q
        return p.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (p,) = ctx.saved_tensors
        (grad,) = grads
        inside = p > 0
        log_s = torch.where(inside, (2.0 - ctx.q) * p.clamp_min(_TINY).log(), -torch.inf)
        # Where the policy is zero the gradient may be anything, also infinite: it must not reach the sums.
        g = torch.where(inside, grad, torch.zeros_like(grad)).to(p.dtype)
        largest = log_s.argmax(-1, keepdim=True)
        share = (log_s - log_s.gather(-1, largest)).exp()
        mean = (share * g).sum(-1, keepdim=True) / share.sum(-1, keepdim=True)
        # Above q = 2 an s may be huge and its g - mean rounded to nothing; the row sums to zero, which gives it.
        rest = (log_s.exp() * (g - mean)).scatter(-1, largest, 0.0)
        return rest.scatter(-1, largest, -rest.sum(-1, keepdim=True)).to(grad.dtype), None


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu"


def _checked(logits: Tensor) -> Tensor:
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise InputError(f"logits of shape {tuple(logits.shape)} have no last dimension to make a policy over.")
    if not logits.is_floating_point():
        raise InputError(f"logits are {logits.dtype}; a floating-point tensor was expected.")
    x = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    if not _on_cpu(x):
        return x
    top = x.detach().amax(-1)  # NaN and +inf both show in the maximum, so one pass finds all three faults
    if not bool(torch.isfinite(top).all()):
        if bool(torch.isnan(top).any()):
            raise InputError("logits hold NaN; every entry must be finite or -inf.")
        if bool((top == math.inf).any()):
            raise InputError("logits hold +inf; every entry must be finite or -inf.")
        raise InputError("a row of logits is -inf throughout: no action is left to choose from.")
    return x


def _solve(x: Tensor, q: float) -> Tensor:
    """The maximiser for finite-or--inf rows, without gradient; in float64 where q is neither 1 nor 2."""
    if x.numel() == 0:
        return x.clone()
    if q == 1.0:
        return torch.softmax(x, dim=-1)
    if q == 2.0:
        return _sparsemax(x)
    return (_below_two if q < 2.0 else _above_two)(x.double(), q)


def _sparsemax(x: Tensor) -> Tensor:
    """[x - tau]_+; most of a long row is left out before the threshold is sought."""
    if not _on_cpu(x):
        return _by_sort(x)
    few, where = _contenders(x)
    if where is None:
        return _newton(few)
    rows, columns, slots = where
    p = x.new_zeros(x.shape)
    p.view(-1, x.shape[-1])[rows, columns] = _newton(few).view(-1, few.shape[-1])[rows, slots]
    return p


def _contenders(x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
    """The entries of each row that may be in sparsemax's support, packed to the left: rows, columns, and new places.

    Not above the bound is out: a few passes over the row, and no sort of it. A row that is short, or mostly in, is
    handed back as it is.
    """
    size = x.shape[-1]
    if size < _LONG or x.numel() == 0:
        return x, None
    flat = x.reshape(-1, size)
    with torch.no_grad():
        inside = flat > _bound(flat)
        counts = inside.sum(-1)
        width = int(counts.max())
        if width > size // 4:
            return x, None
        rows, columns = inside.nonzero(as_tuple=True)
        slots = torch.arange(len(rows), device=x.device) - (counts.cumsum(0) - counts)[rows]
    few = flat.new_full((len(flat), width), -math.inf).index_put((rows, slots), flat[rows, columns])
    return few.reshape(*x.shape[:-1], width), (rows, columns, slots)


def _bound(x: Tensor) -> Tensor:
    """A threshold that is surely below sparsemax's.

    For any subset T of a row, the sum over T of [x - tau]_+ is at most 1, so tau >= (sum of the k largest of T - 1) / k
    for every k; T is made of the maxima of the row's parts.
    """
    part = int(x.shape[-1] ** 0.5)
    whole = x[..., : x.shape[-1] // part * part]
    maxima = whole.unflatten(-1, (-1, part)).amax(-1).sort(-1, descending=True).values
    top = maxima[..., :1].clamp_min(torch.finfo(x.dtype).min)
    rank = torch.arange(1, maxima.shape[-1] + 1, dtype=x.dtype, device=x.device)
    bound: Tensor = top + (((maxima - top).cumsum(-1) - 1.0) / rank).amax(-1, keepdim=True)
    return bound - 8.0 * torch.finfo(x.dtype).eps * (bound.abs() + 1.0)  # a rounding error must not cost an entry


def _newton(x: Tensor) -> Tensor:
    """[x - tau]_+: Newton from the left on sum [x - tau]_+ = 1, which ends at the exact root.

    The sum is convex and piecewise linear, so each step lands left of the root and drops entries for good
    (Michelot, 1986): it ends when none is dropped, after at most as many steps as there are pieces.
    """
    x = x - x.amax(-1, keepdim=True)  # the policy does not move when a constant is added
    tau = _bound(x).clamp_min(-1.0)  # the closer the start, the fewer steps and the smaller the rounding
    size = x.new_full((*x.shape[:-1], 1), math.inf)
    while True:
        p = (x - tau).clamp_min_(0.0)
        count = p.count_nonzero(-1)[..., None].to(x.dtype)
        # Not "equal": rounding may bring an entry at the threshold back, again and again.
        done = bool((count >= size).all())
        size, tau = torch.minimum(size, count), tau + (p.sum(-1, keepdim=True) - 1.0) / count
        if done:  # the last correction is of rounding only
            return (x - tau).clamp_min_(0.0)


def _by_sort(x: Tensor) -> Tensor:
    """[x - tau]_+ from the sorted row (Martins & Astudillo, 2016): more work, but how much does not depend on the row.

    So a GPU never has to tell the host how to go on.
    """
    x = x - x.amax(-1, keepdim=True)
    top = x.sort(-1, descending=True).values
    excess = top.cumsum(-1) - 1.0
    rank = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    size = (rank * top > excess).sum(-1, keepdim=True).clamp_min(1)  # a row of NaN has none, and stays NaN
    return (x - excess.gather(-1, size - 1) / size).clamp_min_(0.0)


def _below_two(x: Tensor, q: float) -> Tensor:
    """exp(log1p(-(q-1) (d + theta)) / (q-1)), d = max(x) - x: theta >= 0 is where the sum is one; softmax as q -> 1."""
    rate = q - 1.0
    drop = (x.amax(-1, keepdim=True) - x) * rate
    low = torch.zeros_like(drop[..., :1])
    high = torch.full_like(low, -math.expm1(-rate * math.log(x.shape[-1])))  # of equal logits, the flattest there are
    for _ in range(_BISECTIONS):
        theta = (low + high) / 2.0
        over = _power(-(drop + theta), rate).sum(-1, keepdim=True) >= 1.0
        low, high = torch.where(over, theta, low), torch.where(over, high, theta)
    p = _power(-(drop + low), rate)
    p = p / p.sum(-1, keepdim=True)
    return torch.where(drop + low < 1.0, p.clamp_min(_TINY), p)


def _power(x: Tensor, rate: float) -> Tensor:
    """[1 + x]_+^(1/rate) without cancellation where x and rate are small."""
    return torch.where(x > -1.0, (x.clamp_min(-1.0).log1p() / rate).exp(), torch.zeros_like(x))


def _above_two(x: Tensor, q: float) -> Tensor:
    """[t^(q-1) + (q-1) (x - x_k)]_+^(1/(q-1)), where x_k is the support's lowest logit and t its probability.

    The power makes a rounding error at the threshold a large one, so no two numbers that are close are subtracted here.
    """
    rate = q - 1.0
    top = x.sort(-1, descending=True).values
    # x_k is in the support if what stands above it does not make up one already; so are all above it.
    low = torch.zeros_like(top[..., :1], dtype=torch.int64)
    high = low + x.shape[-1] - 1
    for _ in range(x.shape[-1].bit_length()):
        middle = (low + high + 1) // 2
        inside = _above(top, top.gather(-1, middle), low.new_zeros(()), rate).sum(-1, keepdim=True) < 1.0
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle - 1)
    lowest = top.gather(-1, low)
    few, much = torch.zeros_like(lowest), torch.ones_like(lowest)
    for _ in range(_BISECTIONS):
        t = (few + much) / 2.0
        over = _above(top, lowest, t, rate).sum(-1, keepdim=True) >= 1.0
        few, much = torch.where(over, few, t), torch.where(over, t, much)
    return _above(x, lowest, much, rate)


def _above(x: Tensor, lowest: Tensor, t: Tensor, rate: float) -> Tensor:
    more = (x - lowest) * rate
    return torch.where(more >= 0.0, (t**rate + more.clamp_min(0.0)) ** (1.0 / rate), torch.zeros_like(x))
