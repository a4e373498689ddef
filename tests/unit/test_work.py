"""How much work a step does, counted and not timed: what speed rests on, guarded."""

import copy
import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt import optimizers
from hardprompt.data.tables import Example
from hardprompt.lms import sampling
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.best_of_n import BestOfN
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.optimizers.qlearning.prefix import PrefixTree, proper_prefixes
from hardprompt.search.engine import Step, optimize
from hardprompt.search.rewards import Cached
from hardprompt.search.work import Work
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template

TEXTS = [
    "The film was a great story.",
    "The food was bad.",
    "It was not good, and the book was old.",
    "The sea is warm.",
]
EXAMPLES = [Example(text, "yes" if i % 2 else "no") for i, text in enumerate(TEXTS)]
WORDS = {"no": " bad", "yes": " good"}


@pytest.fixture
def policy(tiny_causal: Any) -> PolicyLM:
    return PolicyLM(*tiny_causal, spaced=False)


def learner(policy: PolicyLM, **settings: Any) -> QLearner:
    return QLearner(policy=policy, length=4, **{**optimizers.find("pin").settings, "top_k": 60, **settings})


def worth(prompts: list[str]) -> torch.Tensor:
    return torch.tensor([float(p.count("e")) for p in prompts])


def test_a_step_runs_each_token_of_its_tree_of_prompts_once_per_text(tiny_causal: Any) -> None:
    lm = CausalLM(*tiny_causal)
    task = Classification(lm=lm, examples=EXAMPLES, template=Template("{text}\n{prompt}"), verbalizers=WORDS)
    contexts = [f"{text}\n" for text in TEXTS]
    held = [lm.tokenizer(context)["input_ids"] for context in contexts]
    assert lm.tokens_run == sum(map(len, held))
    before = lm.tokens_run
    prompts = ["In one word", "In one place", "In all", "So"]
    task(prompts)
    nodes = 0
    for context, ids in zip(contexts, held, strict=True):
        paths = set()
        for prompt in prompts:
            whole = lm.tokenizer(context + prompt)["input_ids"]
            same = 0
            while same < min(len(ids), len(whole) - 1) and whole[same] == ids[same]:
                same += 1
            paths |= {(same, *whole[same : end + 1]) for end in range(same, len(whole))}
        nodes += len(paths)
    assert lm.tokens_run - before == nodes
    assert nodes < len(TEXTS) * sum(len(lm.tokenizer(p)["input_ids"]) for p in prompts)


def test_a_prompt_that_was_scored_costs_nothing(tiny_causal: Any) -> None:
    lm = CausalLM(*tiny_causal)
    task = Classification(lm=lm, examples=EXAMPLES, template=Template("{text} {prompt}"), verbalizers=WORDS)
    cached = Cached(task)
    cached(["It was", "So"])
    before = lm.tokens_run
    cached(["So", "It was", "So"])
    assert lm.tokens_run == before
    assert cached.hits == 3


@pytest.mark.parametrize("kind", ["tree", "padded", "alone", "masked", "written"])
def test_a_group_tells_how_far_it_is_pass_by_pass(
    kind: str, tiny_causal: Any, tiny_masked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm: Any = MaskedLM(*tiny_masked) if kind == "masked" else CausalLM(*tiny_causal)
    mask = " {mask}" if kind == "masked" else ""
    task = Classification(
        lm=lm, examples=EXAMPLES, template=Template("{text} {prompt}" + mask), verbalizers=WORDS, keep=False
    )
    monkeypatch.setattr(lm if kind == "masked" else lm.packed, "_batch_tokens", 24)
    monkeypatch.setattr(sampling, "_ROWS", 1)
    if kind in ("padded", "alone"):
        monkeypatch.setattr(lm.packed, "allows", lambda way, *_: way == kind)
    prompts, told = ["It was", "So"], list[tuple[str, int, int, int]]()
    work = Work()
    work.watch(lambda *what: told.append(what))

    def made(items: list[int]) -> Any:
        if kind != "written":
            return task.score(prompts, items)
        return [lm.generate([TEXTS[i] for i in items], longest=2, seed=k) for k, _ in enumerate(prompts)]

    found = work.each("test", prompts, [[0, 1, 2], [3]], made)
    done = [now for _, now, _, _ in told]
    assert {(part, of, known) for part, _, of, known in told} == {("test", 8, 0)}
    assert done == sorted(done)
    assert (done[0], done[-1], done.count(8)) == (0, 8, 1)
    assert any(0 < now < 6 for now in done)  # within the first group
    if kind != "written":
        torch.testing.assert_close(torch.cat(found, 1), task.score(prompts), atol=1e-3, rtol=1e-4)


def test_a_masked_step_computes_one_row_of_the_vocabulary_per_sequence(
    tiny_masked: Any,
) -> None:
    lm = MaskedLM(*tiny_masked)
    task = Classification(lm=lm, examples=EXAMPLES, template=Template("{text} {prompt} {mask}."), verbalizers=WORDS)
    task(["It was", "In one word"])
    assert lm.logits_computed == 2 * len(TEXTS)


def test_each_prefix_goes_through_the_policy_lm_once_and_its_filter_is_computed_once(policy: PolicyLM) -> None:
    agent = learner(policy)
    first = agent.ask()
    prefixes = proper_prefixes([tuple(ids) for ids in first.memo["ids"]])
    states, run, rows = len(agent.tree), policy.packed.tokens_run, policy.logits_computed
    assert states >= len(prefixes)
    agent.tree.states(prefixes)
    agent.tree.actions_of(prefixes)
    assert policy.packed.tokens_run == run
    assert policy.logits_computed == rows


@pytest.mark.parametrize("loss", ["monte_carlo", "single_step"])
def test_an_update_computes_the_vocabulary_for_distinct_states_of_the_target_only(policy: PolicyLM, loss: str) -> None:
    agent = learner(policy, loss=loss)
    proposal = agent.ask()
    ids = torch.tensor(proposal.memo["ids"] * 8)
    prefixes = proper_prefixes([tuple(row) for row in ids.tolist()])
    agent.tree.actions_of(prefixes)
    run, rows = policy.packed.tokens_run, policy.logits_computed
    agent._update(ids, torch.randn(len(ids)))
    assert policy.packed.tokens_run == run
    assert policy.logits_computed - rows == (0 if loss == "monte_carlo" else len(prefixes))


def test_a_long_run_neither_grows_nor_slows_down(policy: PolicyLM) -> None:
    agent = learner(policy, replay=400, batch=32)
    agent.tree = type(agent.tree)(policy=policy, top_k=60, states_kept=200, tokens_kept=60 * 100)
    memo = Cached(worth, kept=150)
    work: list[int] = []
    sizes: list[tuple[int, int]] = []

    def count(_: Step) -> None:
        work.append(policy.packed.tokens_run + policy.logits_computed)
        sizes.append((len(agent.tree), len(memo)))

    optimize(agent, memo, evaluations=16 * 200, validate_every=10**6, callbacks=[count])
    steps = [b - a for a, b in itertools.pairwise(work)]
    assert max(size for size, _ in sizes) <= 200
    assert max(size for _, size in sizes) <= 150
    assert sum(steps[-50:]) <= 1.5 * sum(steps[20:70])


@pytest.mark.parametrize("kind", ["pin", "best-of-n"])
def test_a_search_whose_memories_overflow_resumes_to_the_same_state(policy: PolicyLM, kind: str) -> None:
    def build() -> Any:
        agent = learner(policy, proposals=20) if kind == "pin" else BestOfN(policy=policy, length=4, proposals=20)
        tree = PrefixTree(policy=policy, top_k=60 if kind == "pin" else None, states_kept=100, tokens_kept=3000)
        setattr(agent, "tree" if kind == "pin" else "_tree", tree)
        return agent

    def go_on(agent: Any, steps: int) -> Any:
        for _ in range(steps):
            proposal = agent.ask()
            agent.tell(proposal, worth(proposal.prompts))
        return agent

    whole = go_on(build(), 12)
    half = go_on(build(), 5).state_dict()
    resumed = build()
    resumed.load_state_dict(copy.deepcopy(half))
    a, b = whole.state_dict(), go_on(resumed, 7).state_dict()
    assert a["seen"] == b["seen"]
    assert a["tree"]["blocks"].keys() == b["tree"]["blocks"].keys()
    for ours, theirs in zip(a["tree"]["blocks"].values(), b["tree"]["blocks"].values(), strict=True):
        for (prefixes, states), (others, same) in zip(ours, theirs, strict=True):
            assert prefixes == others
            assert torch.equal(states, same)
    assert torch.equal(a["generator"], b["generator"])
    if kind == "pin":
        assert all(torch.equal(a["online"][k], b["online"][k]) for k in a["online"])


def test_the_seconds_of_what_an_earlier_process_made_count_in_the_search_that_goes_on(tmp_path: Path) -> None:
    def slowly(prompts: list[str]) -> torch.Tensor:
        time.sleep(0.05)
        return worth(prompts)

    taken = []
    for _ in range(2):  # the second finds all rewards of the first, which was stopped before it could save a step
        work = Work()
        work.keep_in(tmp_path / "partial")
        reward = Cached(slowly, work=work)
        manual = optimizers.find("manual").build(manual="the sea")
        found = optimize(manual, reward, evaluations=2, clock=lambda work=work: time.monotonic() + work.borrowed)
        work.save()
        taken.append((found.seconds, work.borrowed))
    assert taken[0][1] == 0.0
    assert min(taken[0][0], taken[1][1], taken[1][0]) >= 0.05
