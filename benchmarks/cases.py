"""The parts of a step, each computed in two ways: as it is written down (`plain.py`), and by hardprompt."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import plain
import torch
from torch import Tensor

from hardprompt import optimizers
from hardprompt.data.films import VERBALIZERS, films
from hardprompt.data.tables import Example
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.placing import half, search_copy
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.tokens import start_ids
from hardprompt.optimizers.qlearning.entropy import TsallisEntropy
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.optimizers.qlearning.prefix import proper_prefixes
from hardprompt.search.engine import Proposal
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template

PROMPTS, TEXTS, LENGTH, REPLAYED, TOP_K = 16, 32, 5, 256, 10_000
SETTINGS: dict[str, Any] = dict(optimizers.find("pin").settings)
LAYOUTS = {
    "reward_causal_suffix": "Review: {text}\\n{prompt}",
    "reward_causal_middle": "Review: {text}\\n{prompt} In one word, it is",
    "reward_causal_prefix": "{prompt}\\nReview: {text}\\nSentiment:",
    "reward_masked": "{text} {prompt} {mask}.",
}


@dataclass
class Case:
    """One thing computed in two ways; ``half`` is ours again where half precision applies."""

    plain: Callable[[], Tensor]
    ours: Callable[[], Tensor]
    half: Callable[[], Tensor] | None = None
    scale: float = 1.0  # the plain version did 1/scale of the work
    flops: float = 0.0
    bytes: float = 0.0
    fresh: Callable[[], None] = lambda: None  # before each turn
    extra: dict[str, Any] = field(default_factory=dict)


class Bench:
    """Models and data of the benchmark, loaded once."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            from shapes import gpu_models

            self.model, self.tokenizer, self.task_model = gpu_models()
        else:
            self.model, self.tokenizer = load_causal("embedded:smollm2")
            self.task_model = self.model
        rows = films()
        each = [[r for r in rows if r[1] == label][: TEXTS // 2] for label in sorted(VERBALIZERS)]
        self.examples = [Example(text, label) for part in each for text, label, _ in part]
        self.policy = PolicyLM(self.model, self.tokenizer, tokens="any", spaced=False)
        self.prompts = self.learner("monte_carlo").ask(PROMPTS).prompts

    def learner(self, loss: str, **settings: Any) -> QLearner:
        return QLearner(policy=self.policy, length=LENGTH, **{**SETTINGS, "loss": loss, **settings})

    def plain_learner(self, loss: str) -> plain.PlainLearner:
        return plain.PlainLearner(
            self.model, start_ids(self.tokenizer), self.policy.follows.to(self.device), length=LENGTH, top_k=TOP_K,
            loss=loss,
        )  # fmt: skip

    def sparsemax(self, support: int) -> Case:
        """64 states: the plain version sorts the vocabulary, -inf where it is filtered; ours takes out the 10,000."""
        few = _with_support(support).to(self.device)
        whole = torch.full((len(few), self.policy.vocabulary_size), -torch.inf, device=self.device)
        columns = torch.randperm(whole.shape[1], generator=torch.Generator().manual_seed(0))[:TOP_K].sort().values
        columns = columns.to(self.device)
        whole[:, columns] = few
        entropy = TsallisEntropy(2.0)
        return Case(
            lambda: plain.sparsemax(whole)[:, columns], lambda: entropy.policy(whole.index_select(1, columns)),
            bytes=3 * 4 * few.numel(),
        )  # fmt: skip

    def update(self, loss: str) -> Case:
        # Without a replay, and without normalising, a step learns once from its own prompts and rewards.
        learner, other = self.learner(loss, replay=0, normalise="none"), self.plain_learner(loss)
        ids = self._replayed(learner)
        prefixes = proper_prefixes([tuple(row) for row in ids.tolist()])
        learner.tree.states(prefixes)
        if loss == "single_step":
            learner.tree.actions_of(prefixes)
        rewards = torch.randn(REPLAYED, generator=torch.Generator().manual_seed(0))
        n, width, hidden = len(prefixes), self.policy.hidden_size, SETTINGS["hidden"]
        flops = 2.0 * n * width * hidden * 5  # two products forward, three backward: none for the frozen states
        if loss == "single_step":
            flops += 2.0 * n * width * (2 * hidden + self.policy.vocabulary_size)

        def same() -> None:
            learner.online.load_state_dict(other.online.state_dict())
            learner.target.load_state_dict(other.target.state_dict())

        return Case(
            lambda: torch.tensor([other.update(ids.to(self.device), rewards.to(self.device))]),
            lambda: torch.tensor([learner.tell(_scored(ids), rewards)["loss"]]),
            flops=flops, bytes=4.0 * (n * width + 7 * 2 * width * hidden), fresh=same,
        )  # fmt: skip

    def _replayed(self, learner: QLearner) -> Tensor:
        """256 prompts with about 920 distinct prefixes, every token within the filter of its place."""
        generator = torch.Generator().manual_seed(1)
        prompts: list[tuple[int, ...]] = [()] * REPLAYED
        for place in range(LENGTH):
            choices = learner.tree.actions_of(prompts)
            most = 250 if place == 0 else TOP_K
            picks = torch.randint(most, (REPLAYED,), generator=generator).tolist()
            prompts = [(*p, int(a.ids[k])) for p, a, k in zip(prompts, choices, picks, strict=True)]
        return torch.tensor(prompts)

    def sampling(self) -> Case:
        def ours() -> Tensor:
            return torch.tensor(self.learner("monte_carlo").ask(PROMPTS).memo["ids"])

        # Its draws come from another order of tokens, so only the work is the same, not the prompts.
        return Case(lambda: self.plain_learner("monte_carlo").sample(PROMPTS), ours)

    def reward(self, layout: str) -> Case:
        template = Template(LAYOUTS[layout])
        if layout == "reward_masked":
            from shapes import masked_model

            model, tokenizer = masked_model(self.tokenizer, large=self.device == "cuda")
            lm: Any = MaskedLM(model.to(self.device), tokenizer)
        else:
            model, tokenizer = self.task_model, self.tokenizer
            lm = CausalLM(model, tokenizer)
        dtype = half(torch.device(self.device).type)
        quick = search_copy(lm, str(dtype).removeprefix("torch."))[0] if dtype is not None else None
        ours, halved = (self.task(task_lm, template) for task_lm in (lm, quick))
        # What the default does is timed on a whole step, the other layouts on a quarter of one.
        prompts = self.prompts if layout == "reward_causal_suffix" else self.prompts[: PROMPTS // 4]
        before, placed = lm.tokens_run, []
        hook = model.base_model.register_forward_pre_hook(
            lambda _module, inputs, given: placed.append((inputs or (given["input_ids"],))[0].numel()), with_kwargs=True
        )
        ours(prompts)
        hook.remove()
        tokens = lm.tokens_run - before
        body = sum(p.numel() for name, p in model.named_parameters() if "embed" not in name and "head" not in name)
        passes = len(placed)
        return Case(
            lambda: plain.rewards(model, tokenizer, self.examples, template, VERBALIZERS, prompts).double(),
            lambda: ours(prompts),
            (lambda: halved(prompts)) if quick is not None else None,
            flops=2.0 * tokens * body, bytes=4.0 * body * passes, extra={"padding": 1.0 - tokens / sum(placed)},
        )  # fmt: skip

    def task(self, lm: Any, template: Template) -> Any:
        """The reward of the texts."""
        if lm is None:
            return None
        return Classification(lm=lm, examples=self.examples, template=template, verbalizers=VERBALIZERS)

    def step(self, *, quick: bool = True) -> Case:
        """Sample 16 prompts, score them, update once."""
        template = Template(LAYOUTS["reward_causal_suffix"])
        lm = CausalLM(self.task_model, self.tokenizer)
        task = self.task(lm, template)
        halved = self.task(search_copy(lm, "bfloat16")[0], template) if quick and half(self.device) else None
        other = self.plain_learner("monte_carlo")
        # 256 prompts in the replay from the start, their prefixes known, as they are after the first steps.
        stored = self._replayed(self.learner("monte_carlo"))
        known = proper_prefixes([tuple(row) for row in stored.tolist()])

        def ours(reward: Any) -> Tensor:
            learner = self.learner("monte_carlo")
            learner.tree.states(known)
            learner.tell(_scored(stored), torch.randn(REPLAYED))
            began = time.perf_counter()
            proposal = learner.ask()
            learner.tell(proposal, reward(proposal.prompts))
            return torch.tensor([time.perf_counter() - began])

        def written() -> Tensor:
            began = time.perf_counter()
            ids = other.sample(PROMPTS)
            prompts = [self.policy.text(row) for row in ids.tolist()]
            plain.rewards(self.task_model, self.tokenizer, self.examples, template, VERBALIZERS, prompts)
            other.update(stored.to(self.device), torch.randn(REPLAYED, device=self.device))
            return torch.tensor([time.perf_counter() - began])

        return Case(written, lambda: ours(task), None if halved is None else lambda: ours(halved))


def _scored(ids: Tensor) -> Proposal:
    """Prompts as if they had been proposed."""
    return Proposal([""] * len(ids), {"ids": ids.tolist(), "support_size": 0.0})


def _with_support(support: int) -> Tensor:
    """Normal logits of 64 states by 10,000 tokens, scaled until so many of them are in the support on average."""
    x = torch.randn(64, TOP_K, generator=torch.Generator().manual_seed(support))
    if support >= TOP_K:
        return x * 1e-6
    low, high = 1e-4, 1e4
    for _ in range(60):
        middle = (low * high) ** 0.5
        wide = float((plain.sparsemax(x * middle) > 0).sum(-1).float().mean()) > support
        low, high = (middle, high) if wide else (low, middle)
    return x * high


CASES: dict[str, Callable[[Bench], Case]] = {
    **{f"sparsemax_{k}": (lambda b, k=k: b.sparsemax(k)) for k in (8, 70, TOP_K)},
    "update_single_step": lambda b: b.update("single_step"),
    "update_monte_carlo": lambda b: b.update("monte_carlo"),
    "sampling": lambda b: b.sampling(),
    **{name: (lambda b, name=name: b.reward(name)) for name in LAYOUTS},
    "step": lambda b: b.step(),
}
TIMED_INSIDE = ("step",)  # what they return is the time that counts
UNLIKE = ("sampling", "step")  # random draws: nothing to compare
