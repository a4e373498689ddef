"""The prefix tree on a real tiny model: states, filters, blocking and its checkpoint."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.qlearning.prefix import PrefixTree, proper_prefixes
from hardprompt.testing.comparing import stored
from tests.conftest import Tiny

Prefixes = list[tuple[int, ...]]


@pytest.fixture(scope="module")
def policy(tiny_causal: Tiny) -> PolicyLM:
    return PolicyLM(tiny_causal.model, tiny_causal.tokenizer)


@pytest.fixture
def tree(policy: PolicyLM) -> PrefixTree:
    return PrefixTree(policy=policy, top_k=20)


def some_prefixes(tiny_causal: Tiny) -> Prefixes:
    texts = ["", " The", " film", " film was", " film was good", " The dog", " film was"]
    return [tuple(tiny_causal.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


def plain(tiny_causal: Tiny, prefix: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """The last hidden state and the logits of the model itself, run on the whole sequence."""
    ids = torch.tensor([[tiny_causal.tokenizer.bos_token_id, *prefix]])
    with torch.no_grad():
        out = tiny_causal.model(input_ids=ids, output_hidden_states=True)
    return out.hidden_states[-1][0, -1], out.logits[0, -1]


def test_states_are_the_last_hidden_states_of_the_model(tiny_causal: Tiny, tree: PrefixTree) -> None:
    prefixes = some_prefixes(tiny_causal)
    states = tree.states(prefixes)
    for state, prefix in zip(states, prefixes, strict=True):
        torch.testing.assert_close(state, plain(tiny_causal, prefix)[0], atol=1e-5, rtol=1e-5)


def test_states_follow_the_start_that_the_policy_imagines(tiny_causal: Tiny) -> None:
    policy = PolicyLM(tiny_causal.model, tiny_causal.tokenizer, start="The film")
    start = tuple(tiny_causal.tokenizer("The film", add_special_tokens=False)["input_ids"])
    for prefix in some_prefixes(tiny_causal)[:3]:
        (state,) = PrefixTree(policy=policy, top_k=5).states([prefix])
        torch.testing.assert_close(state, plain(tiny_causal, (*start, *prefix))[0], atol=1e-5, rtol=1e-5)


def test_each_prefix_goes_through_the_model_once(tiny_causal: Tiny, policy: PolicyLM, tree: PrefixTree) -> None:
    prefixes = some_prefixes(tiny_causal)
    first = tree.states(prefixes)
    run = policy.packed.tokens_run
    again = tree.states(list(reversed(prefixes)))
    tree.actions(prefixes[2])
    assert policy.packed.tokens_run == run
    assert torch.equal(again, first.flip(0))
    assert len(tree) == len(set(prefixes))


def test_actions_are_the_most_probable_tokens_that_may_stand_there(
    tiny_causal: Tiny, policy: PolicyLM, tree: PrefixTree
) -> None:
    for prefix in some_prefixes(tiny_causal):
        allowed = policy.follows if prefix else policy.opens
        expected = plain(tiny_causal, prefix)[1].masked_fill(~allowed, -torch.inf).log_softmax(-1)
        actions = tree.actions(prefix)
        assert len(actions.ids) == 20
        assert allowed[actions.ids].all()
        assert set(actions.ids.tolist()) == set(expected.topk(20).indices.tolist())
        torch.testing.assert_close(actions.log_p, expected[actions.ids], atol=1e-4, rtol=1e-4)
        assert (actions.log_p.diff() <= 0).all()


def test_without_top_k_every_token_that_may_stand_there_is_kept_and_the_probabilities_sum_to_one(
    policy: PolicyLM,
) -> None:
    tree = PrefixTree(policy=policy, top_k=None)
    for prefix, allowed in (((), policy.opens), ((300,), policy.follows)):
        actions = tree.actions(prefix)
        assert sorted(actions.ids.tolist()) == allowed.nonzero()[:, 0].tolist()
        assert float(actions.log_p.exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_top_k_above_the_number_of_allowed_tokens_keeps_them_all(policy: PolicyLM) -> None:
    tree = PrefixTree(policy=policy, top_k=policy.vocabulary_size)
    assert len(tree.actions(()).ids) == int(policy.opens.sum())


@pytest.mark.parametrize("top_k", [0, -1, 451])
def test_a_top_k_outside_the_vocabulary_raises(policy: PolicyLM, top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k is {top_k}.*450"):
        PrefixTree(policy=policy, top_k=top_k)


def test_forgotten_actions_are_computed_again_to_the_same_bits(tiny_causal: Tiny, policy: PolicyLM) -> None:
    small, large = PrefixTree(policy=policy, top_k=20, tokens_kept=20), PrefixTree(policy=policy, top_k=20)
    prefixes = some_prefixes(tiny_causal)
    for prefix in [*prefixes, *prefixes]:
        small.states(prefixes), large.states(prefixes)
        a, b = small.actions(prefix), large.actions(prefix)
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.log_p, b.log_p)


def test_a_blocked_prompt_loses_its_last_token_and_nothing_takes_its_place(tree: PrefixTree) -> None:
    before = tree.actions((300,))
    gone = int(before.ids[3])
    tree.block((300, gone))
    after = tree.actions((300,))
    assert after.ids.tolist() == [i for i in before.ids.tolist() if i != gone]
    assert torch.equal(after.log_p, before.log_p[before.ids != gone])


def test_blocking_one_prompt_leaves_other_prefixes_alone(tree: PrefixTree) -> None:
    other = tree.actions((301,)).ids
    token = int(tree.actions((300,)).ids[0])
    tree.block((300, token))
    assert torch.equal(tree.actions((301,)).ids, other)


def test_a_prefix_left_without_any_action_is_blocked_itself(policy: PolicyLM) -> None:
    tree = PrefixTree(policy=policy, top_k=2)
    first, second = tree.actions(()).ids.tolist()
    for token in tree.actions((first,)).ids.tolist():
        assert tree.actions(()).ids.tolist() == [first, second]
        tree.block((first, token))
    assert tree.actions(()).ids.tolist() == [second]


def test_blocking_a_prompt_twice_is_blocking_it_once(policy: PolicyLM) -> None:
    tree = PrefixTree(policy=policy, top_k=2)
    first, second = tree.actions(()).ids.tolist()
    for token in tree.actions((first,)).ids.tolist() * 2:
        tree.block((first, token))
    assert tree.actions(()).ids.tolist() == [second]


def test_blocking_the_last_prompt_of_all_raises(policy: PolicyLM) -> None:
    tree = PrefixTree(policy=policy, top_k=1)
    (token,) = tree.actions(()).ids.tolist()
    with pytest.raises(InputError, match="no prompt of this length"):
        tree.block((token,))


def prefixes_of(state: dict[str, Any]) -> list[list[int]]:
    return [p for block in state["blocks"].values() for prefixes, _ in block for p in prefixes]


def grown(tiny_causal: Tiny, policy: PolicyLM) -> PrefixTree:
    tree = PrefixTree(policy=policy, top_k=20)
    tree.states(some_prefixes(tiny_causal))
    tree.block((*some_prefixes(tiny_causal)[2], int(tree.actions(some_prefixes(tiny_causal)[2]).ids[0])))
    tree.block((int(tree.actions(()).ids[5]),))
    return tree


def test_a_restored_tree_has_the_same_states_and_actions_without_running_the_model(
    tiny_causal: Tiny, policy: PolicyLM
) -> None:
    original = grown(tiny_causal, policy)
    restored = PrefixTree(policy=policy, top_k=20)
    restored.actions(())  # something that the checkpoint must override
    restored.load_state_dict(copy.deepcopy(original.state_dict()))
    run = policy.packed.tokens_run
    prefixes = some_prefixes(tiny_causal)
    assert torch.equal(restored.states(prefixes), original.states(prefixes))
    for prefix in prefixes:
        assert torch.equal(restored.actions(prefix).ids, original.actions(prefix).ids)
        assert torch.equal(restored.actions(prefix).log_p, original.actions(prefix).log_p)
    assert policy.packed.tokens_run == run
    assert len(restored.actions(()).ids) == 19


def test_state_of_a_tree_is_tensors_and_json_and_comes_back_the_same(tiny_causal: Tiny, policy: PolicyLM) -> None:
    state = grown(tiny_causal, policy).state_dict()
    restored = PrefixTree(policy=policy, top_k=20)
    restored.load_state_dict(stored(state))
    assert str(restored.state_dict()) == str(state)


def test_filters_do_not_depend_on_company(tiny_causal: Tiny, policy: PolicyLM) -> None:
    together, alone = PrefixTree(policy=policy, top_k=20), PrefixTree(policy=policy, top_k=20)
    prefixes = some_prefixes(tiny_causal)
    for prefix, actions in zip(prefixes, together.actions_of(prefixes), strict=True):
        assert actions.ids.tolist() == alone.actions(prefix).ids.tolist()
        torch.testing.assert_close(actions.log_p, alone.actions(prefix).log_p, atol=1e-5, rtol=1e-5)


def test_the_row_of_a_filter_does_not_depend_on_what_is_held(
    tiny_causal: Tiny, policy: PolicyLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes = list(dict.fromkeys(some_prefixes(tiny_causal)))
    original, restored = PrefixTree(policy=policy, top_k=20), PrefixTree(policy=policy, top_k=20)
    first = original.actions_of(prefixes[:4])
    restored.load_state_dict(copy.deepcopy(original.state_dict()))
    later = [(300 + i,) for i in range(20)]
    placed: list[dict[tuple[int, ...], int]] = []
    for tree in (original, restored):
        rows: dict[tuple[int, ...], int] = {}
        filtered = tree._filter
        monkeypatch.setattr(
            tree, "_filter", lambda b, f=filtered, r=rows: (r.update({p: row for row, p in b.items()}), f(b))[1]
        )
        actions = tree.actions_of([*prefixes, *later])
        assert all(torch.equal(a.log_p, b.log_p) for a, b in zip(actions, first, strict=False))
        placed.append(rows)
    assert set(placed[0]) < set(placed[1])
    assert all(placed[1][p] == row for p, row in placed[0].items())
    assert prefixes_of(original.state_dict()) == prefixes_of(restored.state_dict())


def test_the_oldest_states_are_dropped_and_run_again(policy: PolicyLM) -> None:
    tree = PrefixTree(policy=policy, top_k=20, states_kept=8)
    reference = PrefixTree(policy=policy, top_k=20)
    for token in range(300, 340):
        prefixes = [(), (300,), (token, 301), (token,)]
        torch.testing.assert_close(tree.states(prefixes), reference.states(prefixes), atol=1e-5, rtol=1e-5)
        for actions, expected in zip(tree.actions_of(prefixes), reference.actions_of(prefixes), strict=True):
            torch.testing.assert_close(actions.log_p, expected.log_p, atol=1e-5, rtol=1e-5)
        assert len(tree) <= 8
        state = copy.deepcopy(tree.state_dict())
        assert len(prefixes_of(state)) == len(tree)
        restored = PrefixTree(policy=policy, top_k=20, states_kept=8)
        restored.load_state_dict(state)
        assert torch.equal(restored.states([(token,)]), tree.states([(token,)]))


def test_more_states_at_once_than_are_kept_still_come_out_whole(policy: PolicyLM) -> None:
    tree, reference = (PrefixTree(policy=policy, top_k=20, states_kept=k) for k in (4, 1000))
    prefixes = [(300 + i, 301) for i in range(30)]
    torch.testing.assert_close(tree.states(prefixes), reference.states(prefixes), atol=1e-5, rtol=1e-5)
    for a, b in zip(tree.actions_of(prefixes), reference.actions_of(prefixes), strict=True):
        torch.testing.assert_close(a.log_p, b.log_p, atol=1e-5, rtol=1e-5)


def test_an_empty_tree_comes_back_empty(policy: PolicyLM) -> None:
    tree = PrefixTree(policy=policy, top_k=20)
    tree.load_state_dict(PrefixTree(policy=policy, top_k=20).state_dict())
    assert len(tree) == 0
    assert len(tree.actions(()).ids) == 20


@given(prompts=st.lists(st.lists(st.integers(0, 2), max_size=4).map(tuple), max_size=6))
def test_proper_prefixes_are_every_shorter_beginning_once_in_order_of_appearance(prompts: Prefixes) -> None:
    prefixes = proper_prefixes(prompts)
    assert len(prefixes) == len(set(prefixes))
    assert set(prefixes) == {z[:t] for z in prompts for t in range(len(z))}
    first = [next(i for i, z in enumerate(prompts) if len(z) > len(p) and z[: len(p)] == p) for p in prefixes]
    assert first == sorted(first)
