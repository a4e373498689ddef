"""The algorithm as it is written down, with nothing kept and nothing left out: what `step.py` compares with.

PIN's Algorithm 1 on Hugging Face models: the vocabulary's logits of both networks at every state, a full sort for the
filter and for sparsemax, no memory of prompts, prefixes or keys and values, one prompt at a time sampled and scored,
the task model's batches padded on the right. Both networks' logits are computed whatever the loss (`monte_carlo` does
not need the target's).
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hardprompt.data.tables import Example
from hardprompt.optimizers.qlearning.qhead import QHead
from hardprompt.tasks.template import Template


def sparsemax(x: Tensor) -> Tensor:
    """Martins & Astudillo, 2016, Algorithm 1: sort, accumulate, threshold."""
    ordered = x.sort(-1, descending=True).values
    rank = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    total = ordered.cumsum(-1)
    size = (1 + rank * ordered > total).sum(-1, keepdim=True)
    tau = (total.gather(-1, size - 1) - 1) / size
    return (x - tau).clamp_min(0)


def spmax(x: Tensor) -> Tensor:
    """Its value, 1/2 + 1/2 sum over the support of x^2 - tau^2."""
    p = sparsemax(x)
    inside = p > 0
    tau = torch.where(inside, x - p, torch.inf).amin(-1, keepdim=True)
    return 0.5 + 0.5 * torch.where(inside, x.square() - tau.square(), 0).sum(-1)


class PlainLearner:
    """Sampling and updates of PIN for a policy LM whose prompts follow ``start`` (token ids)."""

    def __init__(
        self, model: Any, start: Sequence[int], allowed: Tensor, *, length: int, top_k: int, loss: str, seed: int = 0
    ) -> None:
        self.model, self.start, self.allowed = model, list(start), allowed
        self.length, self.top_k, self.loss = length, top_k, loss
        self.head = model.get_output_embeddings()
        self.generator = torch.Generator().manual_seed(seed)
        self.online = QHead(self.head.weight.shape[1], generator=self.generator).to(model.device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.adam = torch.optim.Adam(self.online.parameters(), lr=5e-5)

    @torch.no_grad()
    def states(self, ids: Tensor) -> Tensor:
        """e_t of every proper prefix of each prompt, ``[n, length, hidden]``."""
        start = torch.tensor(self.start, device=ids.device).expand(len(ids), -1)
        body = self.model.get_decoder()
        return body(input_ids=torch.cat([start, ids[:, :-1]], 1)).last_hidden_state[:, -self.length :]

    @torch.no_grad()
    def ignorable(self, states: Tensor) -> Tensor:
        """Outside the k tokens that the frozen LM finds most probable."""
        lm = self.head(states).masked_fill(~self.allowed, -torch.inf)
        return lm < lm.sort(-1, descending=True).values[..., self.top_k - 1 : self.top_k]

    def filtered(self, adapted: Tensor, ignorable: Tensor) -> Tensor:
        """F_I[Q]: minus infinity for what may be ignored."""
        return self.head(adapted).masked_fill(ignorable, -torch.inf)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Prompts, one by one, every prefix run whole."""
        rows = []
        for _ in range(count):
            ids = torch.zeros(1, 0, dtype=torch.int64, device=self.model.device)
            for _ in range(self.length):
                start = torch.tensor([self.start], device=ids.device)
                state = self.model.get_decoder()(input_ids=torch.cat([start, ids], 1)).last_hidden_state[:, -1]
                policy = sparsemax(self.filtered(self.online(state), self.ignorable(state)))
                choice = torch.multinomial(policy.cpu(), 1, generator=self.generator).to(ids.device)
                ids = torch.cat([ids, choice], 1)
            rows.append(ids)
        return torch.cat(rows)

    def loss_of(self, ids: Tensor, rewards: Tensor) -> Tensor:
        """The loss of one minibatch, everything computed anew."""
        states = self.states(ids)
        ignorable = self.ignorable(states)
        q = self.filtered(self.online(states), ignorable).gather(-1, ids[..., None])[..., 0]
        with torch.no_grad():
            target = self.filtered(self.target(states), ignorable)
        if self.loss == "single_step":
            wanted = torch.cat([spmax(target)[:, 1:], rewards[:, None]], 1)
        else:
            wanted = rewards[:, None].expand_as(q)
        return (q - wanted).square().mean()

    def update(self, ids: Tensor, rewards: Tensor) -> float:
        """One gradient step and the target network's."""
        loss = self.loss_of(ids, rewards)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
                slow.mul_(0.999).add_(0.001 * fast)
        return float(loss.detach())


@torch.no_grad()
def rewards(
    model: Any, tokenizer: Any, examples: Sequence[Example], template: Template, verbalizers: dict[str, str],
    prompts: Sequence[str],
) -> Tensor:  # fmt: skip
    """PIN App. B.2 for a causal or a masked task model, one prompt at a time; verbalizers are one token each."""
    words = torch.tensor([tokenizer(w, add_special_tokens=False)["input_ids"][0] for w in verbalizers.values()])
    labels = torch.tensor([list(verbalizers).index(e.label) for e in examples])
    mask = tokenizer.mask_token_id if "{mask}" in template.source else None
    result = []
    for prompt in prompts:
        filled = [template.fill(e.text, prompt) for e in examples]
        texts = [before + (tokenizer.mask_token + after if mask is not None else "") for before, after in filled]
        encoded = [tokenizer(text)["input_ids"] for text in texts]
        width = max(map(len, encoded))
        ids = torch.tensor([e + [tokenizer.pad_token_id or 0] * (width - len(e)) for e in encoded])
        seen = torch.tensor([[1] * len(e) + [0] * (width - len(e)) for e in encoded])
        logits = model(input_ids=ids.to(model.device), attention_mask=seen.to(model.device)).logits
        at = [e.index(mask) if mask is not None else len(e) - 1 for e in encoded]
        here = logits[torch.arange(len(at)), torch.tensor(at)][:, words].float().cpu().softmax(-1)
        right = here.gather(-1, labels[:, None])[:, 0]
        gap = right - here.scatter(-1, labels[:, None], -torch.inf).amax(-1)
        result.append(torch.where(gap > 0, 200.0 * gap, 180.0 * gap).mean())
    return torch.stack(result)
