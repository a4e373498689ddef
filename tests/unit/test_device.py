"""What a step does on an accelerator, on the device `meta`: it has no values, so whatever waits for one fails."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.machine import machine
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.placing import device, half
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.proof import Proved
from hardprompt.optimizers.qlearning.entropy import TsallisEntropy, _by_sort
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.optimizers.qlearning.prefix import Ids
from tests.conftest import make_tiny, make_tokenizer

META = torch.device("meta")
PROMPTS: list[Ids] = [(40, 41, 42), (40, 41, 43), (50, 51, 52), (40, 60, 61)]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every tensor that is copied to the host; ones stand for its values."""
    seen: list[Tensor] = []

    def cpu(tensor: Tensor) -> Tensor:
        if tensor.device != META:
            return tensor
        seen.append(tensor)
        return torch.ones(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(Tensor, "cpu", cpu)
    return seen


class Strict(TorchDispatchMode):
    """Refuses what a GPU refuses and `meta` does not: values from the host among those of the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        mixed = any(x.device == META for x in found) and any(x.device != META and x.ndim > 0 for x in found)
        if mixed and "copy" not in func.name():
            raise RuntimeError(f"{func.name()} takes values of the host and of the device")
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    with Strict():
        yield


def test_values_of_the_host_among_those_of_the_device_are_noticed() -> None:
    with pytest.raises(RuntimeError, match="of the host and of the device"):
        torch.zeros(4, 2, device=META)[torch.tensor([1])]


class Everything(Proved):
    """No way needs a proof: there are no numbers to compare."""

    def holds(self, *_: Any) -> bool:
        return True


def move(packed: Any) -> None:
    packed.model.to(META)
    packed.device = META
    packed._kept = {}
    packed._proved = Everything(None)


def learner(arch: str, **settings: Any) -> QLearner:
    policy = PolicyLM(make_tiny(arch), make_tokenizer(), tokens="any")
    move(policy.packed)
    policy.head_weight = policy.packed.head.weight
    policy.head_bias = policy.packed.head.bias
    given = {"length": 3, "top_k": 100, "hidden": 16, "batch": 8, "proposals": 4}
    return QLearner(policy=policy, **{**given, **settings})


@pytest.mark.parametrize("arch", ["llama", "opt", "phi"])
@pytest.mark.parametrize("loss", ["monte_carlo", "single_step", "path_consistency"])
@pytest.mark.parametrize(("q", "top_k"), [(1.0, 100), (1.5, 100), (2.0, 100), (2.0, None), (2.5, 100)])
def test_an_update_waits_for_nothing(reads: list[Tensor], arch: str, loss: Any, q: float, top_k: int | None) -> None:
    agent = learner(arch, loss=loss, q=q, top_k=top_k, prior=0.2)
    for network in (agent.online, agent.target):
        assert {p.device for p in network.parameters()} == {META}
    loss_now = agent._update(torch.tensor(PROMPTS), torch.randn(len(PROMPTS)))
    assert loss_now.device == META
    assert reads == []


def test_a_place_of_a_prompt_is_read_twice_however_many_prompts_there_are(reads: list[Tensor]) -> None:
    agent = learner("llama")
    for count in (1, 4):
        reads.clear()
        agent._draw([], 1.0, count)
        assert len(reads) == 2 * 3  # at each of three places the policies, and the tokens that were drawn from them


@pytest.mark.parametrize("choices", [[" good", " bad"], [" good film", " bad"]], ids=["a token", "several tokens"])
def test_scoring_with_a_causal_model_reads_once(reads: list[Tensor], choices: list[str]) -> None:
    lm = CausalLM(make_tiny("llama"), make_tokenizer())
    lm.prepare(["The film was good.", "It was"])
    kept = lm.packed._kept
    move(lm.packed)
    lm.packed._kept = kept
    lm.device = META
    scores = lm.score([f"{text} {prompt}" for text in ("The film was good.", "It was") for prompt in "abc"], choices)
    assert scores.shape == (6, 2)
    assert len(reads) == 1


@pytest.mark.parametrize("choices", [[" good", " bad"], [" good film", " bad"]], ids=["a token", "several tokens"])
def test_scoring_with_a_masked_model_reads_once(reads: list[Tensor], choices: list[str]) -> None:
    lm = MaskedLM(make_tiny("roberta"), make_tokenizer())
    assert lm._unpadded is not None
    contexts = ["The film was<mask>.", "It was<mask> in the house by the sea"]
    lm.score(contexts, choices)  # proves that a row may hold them, where there are numbers
    reads.clear()
    lm.model.to(META)
    lm.device = lm._unpadded._device = META
    scores = lm.score(contexts, choices)
    assert scores.shape == (2, 2)
    assert len(reads) == 1


@given(
    rows=st.lists(
        st.lists(st.floats(-30, 30, width=32) | st.just(-float("inf")), min_size=6, max_size=6).filter(
            lambda row: max(row) > -float("inf")
        ),
        min_size=1,
        max_size=5,
    )
)
def test_sparsemax_by_sort_is_sparsemax(rows: list[list[float]]) -> None:
    x = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(_by_sort(x), TsallisEntropy(2.0).policy(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("row", [[float("nan"), 1.0], [float("inf"), 1.0], [-float("inf")] * 2])
def test_sparsemax_by_sort_of_a_faulty_row_is_not_a_number(row: list[float]) -> None:
    assert _by_sort(torch.tensor([row])).isnan().all()


def test_a_policy_that_is_not_a_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "cpu", lambda t: t if t.device != META else torch.full(t.shape, torch.nan))
    agent = learner("llama")
    with pytest.raises(InputError, match="smaller learning_rate"):
        agent._draw([], 1.0, 1)


def test_a_policy_and_its_value_wait_for_nothing() -> None:
    x = torch.randn(4, 2000, device=META, requires_grad=True)
    for q in (1.0, 1.5, 2.0, 3.0):
        entropy = TsallisEntropy(q)
        assert entropy.policy(x).device == entropy.value(x).device == META
        entropy.value(x).sum().backward()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The same reads where there are values: on the CPU, each a copy of what it is."""
    seen: list[Tensor] = []
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: seen.append(tensor) or tensor.clone())
    return seen


def relative(scores: Tensor) -> Tensor:
    return scores - scores[:, :1]  # they are up to a constant per context


@pytest.mark.parametrize("choices", [[" good", " bad"], [" good film", " bad"]], ids=["a token", "several tokens"])
def test_what_is_read_once_from_a_causal_model_is_its_scores(counted: list[Tensor], choices: list[str]) -> None:
    lm = CausalLM(make_tiny("llama"), make_tokenizer())
    lm.prepare(["The film was good.", "It was"])
    contexts = [f"{text} {prompt}" for text in ("The film was good.", "It was") for prompt in "abc"]
    scores = lm.score(contexts, choices)
    assert len(counted) == 1
    expected = torch.zeros(6, 2)
    for i, start in enumerate(lm.encode(contexts)):
        for j, choice in enumerate(choices):
            ids = lm.tokenizer(choice, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                log_p = lm.packed.model(torch.tensor([[*start, *ids]])).logits[0, len(start) - 1 :].log_softmax(-1)
            expected[i, j] = sum(log_p[k, token] for k, token in enumerate(ids))
    torch.testing.assert_close(relative(scores), relative(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("choices", [[" good", " bad"], [" good film", " bad"]], ids=["a token", "several tokens"])
def test_what_is_read_once_from_a_masked_model_is_its_scores(counted: list[Tensor], choices: list[str]) -> None:
    lm = MaskedLM(make_tiny("roberta"), make_tokenizer())
    contexts = ["The film was<mask>.", "It was<mask> in the house by the sea"]
    scores = lm.score(contexts, choices)
    assert len(counted) == 1
    expected = torch.zeros(2, 2)
    for i, context in enumerate(contexts):
        whole = lm.tokenizer(context)["input_ids"]
        at, mask = whole.index(lm.tokenizer.mask_token_id), lm.tokenizer.mask_token_id
        for j, choice in enumerate(choices):
            ids = lm.tokenizer(choice, add_special_tokens=False)["input_ids"]
            for k, token in enumerate(ids):  # the tokens before it stand there, those behind it are masks, too
                filled = [*whole[:at], *ids[:k], *[mask] * (len(ids) - k), *whole[at + 1 :]]
                with torch.no_grad():
                    expected[i, j] += lm.model(torch.tensor([filled])).logits[0, at + k].log_softmax(-1)[token]
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_what_is_read_at_a_place_are_the_policies_and_what_was_drawn_from_them(counted: list[Tensor]) -> None:
    policy = PolicyLM(make_tiny("llama"), make_tokenizer(), tokens="any")
    agent = QLearner(policy=policy, length=3, top_k=100, hidden=16, batch=8, proposals=4, q=1.0, prior=0.0)
    with torch.no_grad():
        for parameter in agent.online.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    generator = torch.Generator()
    generator.set_state(agent._generator.get_state())
    sizes: list[int] = []
    prompts = agent._draw(sizes, 2.0, 4)
    assert len(counted) == 2 * 3
    model = policy.packed.model
    for place in range(3):
        policies, tokens = counted[2 * place : 2 * place + 2]
        prefixes = list(dict.fromkeys(prompt[:place] for prompt in prompts))
        places = [actions.ids for actions in agent.tree.actions_of(prefixes)]
        expected = []
        for prefix, ids in zip(prefixes, places, strict=True):
            with torch.no_grad():
                whole = torch.tensor([[*policy._start, *prefix]])
                state = model.get_decoder()(input_ids=whole).last_hidden_state[0, -1]
                allowed = policy.follows if prefix else policy.opens
                frozen = model.lm_head(state).masked_fill(~allowed, -torch.inf)
                values = model.lm_head(agent.online(state[None])[0])
                values = values.masked_fill(frozen < frozen.topk(100).values[-1], -torch.inf)
            chances = (values / 2.0).softmax(-1)
            assert set(ids.tolist()) == set(chances.nonzero()[:, 0].tolist())
            expected.append(chances[ids])
        torch.testing.assert_close(policies, torch.cat(expected), atol=1e-5, rtol=1e-4)
        rows = [prefixes.index(prompt[:place]) for prompt in prompts]
        drawn = [int(places[i][int(torch.multinomial(expected[i], 1, generator=generator))]) for i in rows]
        assert tokens.tolist() == drawn == [prompt[place] for prompt in prompts]
    assert sizes == [100] * len(sizes)


def test_what_the_system_says_of_the_machine_is_what_torch_says() -> None:
    found = machine()
    where = device()
    assert found.device == (torch.cuda.get_device_name() if where == "cuda" else "cpu")
    assert found.precision == str(half(where) or torch.float32).removeprefix("torch.")
    assert found.threads >= 1
