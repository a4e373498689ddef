"""The Q-learner: PIN, with a prior or without, and through its settings every variant that the paper compares."""

import copy
import functools
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import embedding
from torch.nn.utils.rnn import pad_sequence

from hardprompt.errors import InputError, unknown
from hardprompt.lms.placing import put, read
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.adam import adam_state, load_adam
from hardprompt.optimizers.checks import check
from hardprompt.optimizers.drawing import Ids, drawn
from hardprompt.optimizers.qlearning.beam import stochastic_beam
from hardprompt.optimizers.qlearning.entropy import TsallisEntropy
from hardprompt.optimizers.qlearning.losses import LOSSES, LossName, Values
from hardprompt.optimizers.qlearning.prefix import PrefixTree, proper_prefixes
from hardprompt.optimizers.qlearning.qhead import QHead
from hardprompt.optimizers.qlearning.replay import Replay
from hardprompt.search.engine import EVERYTHING, Proposal
from hardprompt.search.seen import Seen

Normalise = Literal["none", "step", "replay"]
_HEAT = 1.1  # growth of the temperature from one redraw to the next
_ROOM, _WIDEST = 2, 8  # prompts of a beam for each that is wanted: some were tried, some do not survive
_BEAMS = 16  # before giving up
_STATES = 128  # whose logits of the whole vocabulary are held at a time
_MOST = 64  # prompts that recommend() may return


@dataclass(kw_only=True, eq=False)
class QLearner:
    """Learns action values of the next prompt token and samples prompts from their Tsallis policy.

    The logits of the policy are Q/alpha + prior * log p_LM, over the ``top_k`` tokens that the frozen LM finds
    most probable. Every quantity inside is in units of alpha.

    Raises:
        InputError: a setting out of range.

    Source: PIN Algorithm 1; RLPrompt section 2; the prior is this project's.
    """

    policy: PolicyLM  # frozen
    length: int = 5  # tokens of a prompt
    seed: int = 0  # of the initial weights and of all sampling
    q: float = 2.0  # entropic index; 1 softmax, 2 sparsemax
    alpha: float = 1.0  # temperature; the reward scale is 1/alpha
    prior: float = 0.0  # beta, the weight of the LM's log-probability in the logits; 0 is the paper
    top_k: int | None = 10_000  # k of the filter of ignorable tokens; None keeps all
    loss: LossName = "monte_carlo"  # or ``single_step``, ``path_consistency``
    gamma: float = 1.0  # discount, in (0, 1]
    rho: float = 0.001  # rate of the target network's update
    replay: int = 100_000  # capacity of the replay buffer; 0 trains on each step's own prompts (on-policy)
    batch: int = 256  # prompts replayed for one update
    updates: int = 1  # gradient steps after each batch of rewards
    proposals: int = 16  # prompts asked for in a step
    learning_rate: float = 5e-5  # of Adam
    hidden: int = 2048  # width of the MLP
    # Z-score of the rewards over the ``step``'s prompts, over all in ``replay`` at the time of an update, or ``none``.
    normalise: Normalise = "step"
    sample_top: int | None = None  # sample among this many largest logits only; None samples the whole policy
    # How often a prompt that was already tried is drawn again, each time with all logits divided by a temperature 1.1
    # times higher, before it is accepted; 0 is the paper. It keeps a policy whose support has collapsed from spending
    # its budget on what it knows.
    redraws: int = 0
    # Draw different prompts that were never tried, without replacement, all of a step in as many passes of the policy
    # LM as a prompt has tokens; where the policy has too few, it is heated likewise. `redraws` count for nothing then.
    distinct: bool = False
    recommended: int = 8  # how many of the best prompts seen ``recommend`` returns, after the greedy one

    def __post_init__(self) -> None:
        check(
            length=(self.length, 1, 32), alpha=(self.alpha, 1e-6, 1e6), prior=(self.prior, 0.0, 1e6),
            gamma=(self.gamma, 1e-6, 1.0), rho=(self.rho, 0.0, 1.0), replay=(self.replay, 0, 10**8),
            batch=(self.batch, 1, 10**6), updates=(self.updates, 1, 10**4), proposals=(self.proposals, 1, 10**4),
            learning_rate=(self.learning_rate, 1e-12, 10.0), hidden=(self.hidden, 1, 10**6),
            redraws=(self.redraws, 0, 10**4), recommended=(self.recommended, 0, _MOST),
            sample_top=(1 if self.sample_top is None else self.sample_top, 1, 10**7),
        )  # fmt: skip
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)
        if self.normalise not in ("none", "step", "replay"):
            raise unknown("normalise", self.normalise, ("none", "step", "replay"))
        if self.normalise == "replay" and not self.replay:
            raise InputError("normalise is 'replay' but replay is 0: there is no replay to take the mean of.")
        if self.gamma != 1.0 and not LOSSES[self.loss].discounts:
            raise InputError(f"gamma is {self.gamma}; {self.loss} is exact for gamma = 1 only.")
        self._entropy, self._loss = TsallisEntropy(self.q), LOSSES[self.loss]
        self._generator = torch.Generator().manual_seed(self.seed)
        self.tree = PrefixTree(policy=self.policy, top_k=self.top_k)
        self.online = QHead(self.policy.hidden_size, hidden=self.hidden, generator=self._generator)
        self.online.to(self.policy.device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self._adam = torch.optim.Adam(self.online.parameters(), lr=self.learning_rate)
        self._replay = Replay(capacity=self.replay, length=self.length) if self.replay else None
        self._seen: Seen[Ids] = Seen()

    def ask(self, room: int = EVERYTHING) -> Proposal:
        """Sample prompts from the current policy; the memo holds their token ids."""
        if self.distinct:
            return self._proposed(*self._draw_distinct(min(self.proposals, room)))
        prompts, sizes = self._sample(min(self.proposals, room))
        for attempt in range(self.redraws):
            old = [i for i, p in enumerate(prompts) if p in self._seen or p in prompts[:i]]
            if not old:
                break
            for i, fresh in zip(old, self._sample(len(old), heat=_HEAT ** (attempt + 1))[0], strict=True):
                prompts[i] = fresh
        return self._proposed(prompts, sizes)

    def tell(self, proposal: Proposal, rewards: Float[Tensor, " n"]) -> dict[str, float]:
        """Store the outcome and train; returns the mean loss of the step and the support size of its policy."""
        ids = torch.tensor(proposal.memo["ids"])
        self._seen.add([tuple(prompt) for prompt in proposal.memo["ids"]], rewards.tolist())
        if self.normalise == "step":
            rewards = (rewards - rewards.mean()) / (rewards.std(correction=0) + 1e-4)
        if self._replay is not None:
            self._replay.add(ids, rewards.float())
        losses = []
        for _ in range(self.updates):
            if self._replay is not None:
                ids, rewards = self._replay.sample(self.batch, self._generator)
                if self.normalise == "replay":
                    held = self._replay.rewards
                    rewards = (rewards - held.mean()) / (held.std(correction=0) + 1e-4)
            losses.append(self._update(ids, rewards.float()))
        read_losses = torch.stack(losses).tolist()  # once a step: each reading would wait for a GPU
        return {"loss": sum(read_losses) / len(read_losses), "support_size": proposal.memo["support_size"]}

    def recommend(self) -> list[str]:
        """The greedy prompt of the policy, then the best prompts seen by training reward, no two of a kind.

        Of prompts that differ in one token only the best is recommended: a search that has found a good family would
        else spend the validation on its members.
        """
        best: list[Ids] = []
        for prompt in sorted(self._seen, key=lambda p: -self._seen[p]):
            if len(best) == self.recommended:
                break
            if all(sum(a != b for a, b in zip(prompt, other, strict=True)) > 1 for other in best):
                best.append(prompt)
        greedy = self.greedy()
        return [self.policy.text(p) for p in dict.fromkeys([*([greedy] if greedy else []), *best])]

    def greedy(self) -> Ids | None:
        """The prompt of the most probable token at each place, or None when its text does not survive."""
        prompt: Ids = ()
        for _ in range(self.length):
            actions = self.tree.actions(prompt)
            if len(actions.ids) == 0:
                return None
            (logits,) = self.logits([prompt], self.online)
            prompt = (*prompt, int(actions.ids[logits.argmax()]))
        return prompt if survives(self.policy.tokenizer, list(prompt)) else None

    @torch.no_grad()
    def logits(self, prefixes: list[Ids], head: QHead) -> list[Float[Tensor, " k"]]:
        """Q/alpha + prior * log p_LM of the tokens that may follow each prefix, in the order of ``actions``."""
        return self._logits(prefixes, head(self.tree.states(prefixes)))

    def state_dict(self) -> dict[str, Any]:
        """Networks, Adam, replay, prefix tree, generator and what was seen: enough to go on exactly."""
        return {
            "online": copy.deepcopy(self.online.state_dict()),
            "target": copy.deepcopy(self.target.state_dict()),
            "adam": adam_state(self._adam),
            "replay": self._replay.state_dict() if self._replay is not None else None,
            "tree": self.tree.state_dict(),
            "generator": self._generator.get_state(),
            "seen": self._seen.past(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned for a learner of the same settings."""
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        load_adam(self._adam, state["adam"])
        if self._replay is not None:
            self._replay.load_state_dict(state["replay"])
        self.tree.load_state_dict(state["tree"])
        self._generator.set_state(state["generator"])
        self._seen.restore(state["seen"], tuple)

    def _proposed(self, prompts: list[Ids], sizes: list[int]) -> Proposal:
        memo = {"ids": [list(p) for p in prompts], "support_size": sum(sizes) / len(sizes)}
        return Proposal([self.policy.text(p) for p in prompts], memo)

    def _draw_distinct(self, count: int) -> tuple[list[Ids], list[int]]:
        """Up to ``count`` prompts that were never tried and survive, and the support sizes of the policy.

        What does not survive is blocked. Where the policy has too few it is heated for the others, as redraws are, and
        there are fewer where that helps no more.
        """
        found: dict[Ids, None] = {}
        sizes: list[int] = []
        width, heat = _ROOM * count, 1.0
        for attempt in range(_BEAMS):
            met: list[int] = []

            def policies(prefixes: list[Ids], heat: float = heat, met: list[int] = met) -> list[tuple[Tensor, Tensor]]:
                chances = self._policies(prefixes, heat)
                met.extend(int((policy > 0).sum()) for policy in chances)
                return list(zip(read([a.ids for a in self.tree.actions_of(prefixes)]), chances, strict=True))

            prompts = stochastic_beam(policies, self.length, width, self._generator)
            sizes = sizes or met
            for prompt in prompts:
                if len(found) < count and prompt not in self._seen and prompt not in found:
                    if survives(self.policy.tokenizer, list(prompt)):
                        found[prompt] = None
                    else:
                        self.tree.block(prompt)
            if len(found) == count:
                break
            if len(prompts) == width < _WIDEST * count:
                width *= 2
            else:  # every time by more, so that in the end all that the filter lets through is in reach
                heat *= _HEAT ** (attempt + 1)
        return list(found), sizes

    def _sample(self, count: int, *, heat: float = 1.0) -> tuple[list[Ids], list[int]]:
        """Draw prompts that survive re-tokenisation, and the support sizes met on the way."""
        sizes: list[int] = []
        draw = functools.partial(self._draw, sizes, heat)
        return drawn(count, self.policy.tokenizer, draw, self.tree.block), sizes

    def _draw(self, sizes: list[int], heat: float, count: int) -> list[Ids]:
        prompts: list[Ids] = [()] * count
        for _ in range(self.length):
            prefixes = list(dict.fromkeys(prompts))
            choices = dict(zip(prefixes, self.tree.actions_of(prefixes), strict=True))
            policies = dict(zip(prefixes, self._policies(prefixes, heat), strict=True))
            sizes.extend(int((policy > 0).sum()) for policy in policies.values())
            at = [int(torch.multinomial(policies[p], 1, generator=self._generator)) for p in prompts]
            (tokens,) = read([torch.stack([choices[p].ids[k] for p, k in zip(prompts, at, strict=True)])])
            prompts = [(*p, token) for p, token in zip(prompts, tokens.tolist(), strict=True)]
        return prompts

    def _policies(self, prefixes: list[Ids], heat: float) -> list[Float[Tensor, " _"]]:
        computed = []
        for logits in self.logits(prefixes, self.online):
            if self.sample_top is not None and self.sample_top < len(logits):
                logits = logits.masked_fill(logits < logits.topk(self.sample_top).values[-1], -torch.inf)
            computed.append(self._entropy.policy(logits / heat))
        policies = read(computed)
        if not all(bool(policy.isfinite().all()) for policy in policies):
            raise InputError("the policy holds NaN: the action values have diverged; try a smaller learning_rate.")
        return policies

    def _update(self, ids: Tensor, rewards: Tensor) -> Float[Tensor, ""]:
        """One gradient step on the loss, then theta' <- rho theta + (1 - rho) theta'; nothing waits for a GPU."""
        device = self.policy.device
        prompts: list[Ids] = [tuple(row) for row in ids.tolist()]
        prefixes = proper_prefixes(prompts)
        row = {p: i for i, p in enumerate(prefixes)}
        at = put([[row[p[:t]] for t in range(self.length)] for p in prompts], device)
        ids, rewards = put(ids, device), put(rewards, device)
        states = self.tree.states(prefixes)
        adapted = self.online(states)
        chosen = self.policy.head_weight[ids].float()
        # Q of a chosen token is a dot product of two vectors: the vocabulary is not computed. (The gradient of
        # `adapted[at]` would add up in whatever order the threads come.)
        q = (embedding(at, adapted) * chosen).sum(-1)
        if self.policy.head_bias is not None:
            q = q + self.policy.head_bias[ids].float()
        v = target_v = None
        if self._loss.target_v:
            with torch.no_grad():
                target_v = self._values(prefixes, self.target(states))[at]
        if self._loss.v:
            v = embedding(at, self._values(prefixes, adapted)[:, None])[..., 0]
        loss = self._loss.of(Values(q, rewards / self.alpha, v, target_v), gamma=self.gamma)
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
                slow.lerp_(fast, self.rho)
        return loss.detach()

    def _logits(self, prefixes: list[Ids], adapted: Float[Tensor, "n hidden"]) -> list[Float[Tensor, " k"]]:
        scores = self.policy.head(adapted)
        actions = self.tree.actions_of(prefixes)
        chosen = [row.index_select(0, a.ids) for row, a in zip(scores, actions, strict=True)]
        return [x if self.prior == 0.0 else x + self.prior * a.log_p for x, a in zip(chosen, actions, strict=True)]

    def _values(self, prefixes: list[Ids], adapted: Float[Tensor, "n hidden"]) -> Float[Tensor, " n"]:
        values = []
        for i in range(0, len(prefixes), _STATES):
            rows = self._logits(prefixes[i : i + _STATES], adapted[i : i + _STATES])
            values.append(self._entropy.value(pad_sequence(rows, batch_first=True, padding_value=-torch.inf)))
        return torch.cat(values)
