"""What hardprompt computes equals the algorithm as it is written down in benchmarks/plain.py, to 1e-5 in float32."""

import math
from typing import Any

import plain
import pytest
import torch

from hardprompt import optimizers
from hardprompt.data.tables import Example
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.qlearning.entropy import TsallisEntropy
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template

TEXTS = ["The film was a great story about a man.", "The food was bad.", "It was not good, and the book was old."]
EXAMPLES = [Example(text, "yes" if i % 2 else "no") for i, text in enumerate(TEXTS)]
WORDS = {"no": " bad", "yes": " good"}
PROMPTS = [" In one word it was", " In all", " So it is"]
LAYOUTS = ["{text}{prompt}", "{text}{prompt} It was", "{prompt} {text}", "{text}{prompt} {mask}."]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rewards(tiny_causal: Any, tiny_masked: Any, layout: str) -> None:
    masked = "{mask}" in layout
    model, tokenizer = tiny_masked if masked else tiny_causal
    lm = MaskedLM(model, tokenizer) if masked else CausalLM(model, tokenizer)
    task = Classification(lm=lm, examples=EXAMPLES, template=Template(layout), verbalizers=WORDS)
    expected = plain.rewards(model, tokenizer, EXAMPLES, Template(layout), WORDS, PROMPTS)
    torch.testing.assert_close(task(PROMPTS).float(), expected, rtol=1e-5, atol=1e-3)  # of rewards up to 200
    assert float(expected.std()) > 0.01


@pytest.mark.parametrize("loss", ["monte_carlo", "single_step"])
def test_updates(tiny_causal: Any, loss: str) -> None:
    policy = PolicyLM(*tiny_causal, tokens="any", spaced=False)
    learner = QLearner(policy=policy, length=4, **{**optimizers.find("pin").settings, "top_k": 60, "loss": loss})
    other = plain.PlainLearner(tiny_causal.model, policy._start, policy.follows, length=4, top_k=60, loss=loss)
    with torch.no_grad():  # far enough from the start for the support to be narrow
        for p in other.online.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.05)
    other.target.load_state_dict(other.online.state_dict())
    learner.online.load_state_dict(other.online.state_dict())
    learner.target.load_state_dict(other.online.state_dict())
    ids = torch.tensor(learner.ask().memo["ids"])
    for turn in range(3):
        rewards = torch.randn(len(ids), generator=torch.Generator().manual_seed(turn))
        assert learner._update(ids, rewards) == pytest.approx(other.update(ids, rewards), rel=1e-5)
        for a, b in zip(learner.online.parameters(), other.online.parameters(), strict=True):
            # Adam would blow up the rounding of a gradient near zero, so the gradients are compared.
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5 * float(b.grad.abs().max()))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_sparsemax_and_its_value(scale: float) -> None:
    x = torch.randn(5, 2000, generator=torch.Generator().manual_seed(0)) * scale
    x[:, ::3] = -math.inf
    entropy = TsallisEntropy(2.0)
    torch.testing.assert_close(entropy.policy(x), plain.sparsemax(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropy.value(x), plain.spmax(x), rtol=1e-5, atol=1e-5)


def test_a_policy_samples_what_it_samples(tiny_causal: Any) -> None:
    """The chance of each first token is the same, whoever computes it."""
    policy = PolicyLM(*tiny_causal, tokens="any", spaced=False)
    learner = QLearner(policy=policy, length=2, **{**optimizers.find("pin").settings, "top_k": 60})
    other = plain.PlainLearner(tiny_causal.model, policy._start, policy.opens, length=2, top_k=60, loss="monte_carlo")
    learner.online.load_state_dict(other.online.state_dict())
    state = other.states(torch.zeros(1, 2, dtype=torch.int64))[:, 0]
    expected = plain.sparsemax(other.filtered(other.online(state), other.ignorable(state)))[0]
    actions = learner.tree.actions(())
    (logits,) = learner.logits([()], learner.online)
    found = torch.zeros_like(expected).index_add(0, actions.ids, TsallisEntropy(2.0).policy(logits))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
