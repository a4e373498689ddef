"""The Q-learner on a tiny model: what it proposes, what its losses are given, what it updates, and exact resumption."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.vocabulary import survives
from hardprompt.optimizers.drawing import Ids
from hardprompt.optimizers.qlearning.entropy import TsallisEntropy
from hardprompt.optimizers.qlearning.learner import QLearner
from hardprompt.optimizers.qlearning.losses import LOSSES, Values
from hardprompt.testing.comparing import stored
from tests.conftest import Tiny

SMALL: dict[str, Any] = {
    "length": 3, "top_k": 20, "hidden": 16, "batch": 16, "proposals": 6, "learning_rate": 1e-2, "replay": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def policy(tiny_causal: Tiny) -> PolicyLM:
    return PolicyLM(tiny_causal.model, tiny_causal.tokenizer)


@pytest.fixture(scope="module")
def policy_of_pieces(tiny_causal: Tiny) -> PolicyLM:
    """One that may propose any token, so that many prompts do not survive."""
    return PolicyLM(tiny_causal.model, tiny_causal.tokenizer, tokens="any")


def learner(policy: PolicyLM, **settings: Any) -> QLearner:
    return QLearner(policy=policy, **{**SMALL, **settings})


def shuffle(learner: QLearner, scale: float = 0.3, seed: int = 0) -> QLearner:
    """Move both heads away from zero, and from each other, so that values differ visibly."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for head in (learner.online, learner.target):
            for parameter in head.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return learner


def reward(prompts: list[str]) -> Tensor:
    """Something to learn: the share of the letters a and o."""
    return torch.tensor([10.0 * sum(c in "ao" for c in p) / len(p) for p in prompts], dtype=torch.float64)


def step(learner: QLearner) -> tuple[list[str], dict[str, float]]:
    proposal = learner.ask()
    return proposal.prompts, learner.tell(proposal, reward(proposal.prompts))


def ids_of(proposal: Any) -> list[Ids]:
    return [tuple(ids) for ids in proposal.memo["ids"]]


def parameters(head: torch.nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in head.parameters()]


def spy(learner: QLearner) -> list[Values]:
    """What the loss of ``learner`` is given from now on."""
    seen: list[Values] = []
    loss = learner._loss

    def watched(values: Values, *, gamma: float) -> Tensor:
        seen.append(Values(*(None if v is None else v.detach().clone() for v in values)))
        return loss.of(values, gamma=gamma)

    learner._loss = loss._replace(of=watched)
    return seen


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "setting",
    [
        {"length": 0}, {"length": 33}, {"alpha": 0.0}, {"alpha": math.nan}, {"prior": -0.1}, {"gamma": 0.0},
        {"gamma": 1.1}, {"rho": -0.1}, {"rho": 1.1}, {"replay": -1}, {"batch": 0}, {"updates": 0}, {"proposals": 0},
        {"learning_rate": 0.0}, {"hidden": 0}, {"redraws": -1}, {"recommended": -1}, {"recommended": 65},
        {"sample_top": 0}, {"sample_top": -3}, {"q": 0.5}, {"top_k": 0}, {"top_k": 451},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_out_of_range_raises_and_is_named(policy: PolicyLM, setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=rf"\b{name} is {value}"):
        learner(policy, **setting)


@pytest.mark.unchecked
def test_unknown_names_raise_with_the_nearest_valid_one(policy: PolicyLM) -> None:
    with pytest.raises(InputError, match="Did you mean 'monte_carlo'"):
        learner(policy, loss="montecarlo")
    with pytest.raises(InputError, match="Did you mean 'replay'"):
        learner(policy, normalise="replays")


def test_path_consistency_refuses_a_discount(policy: PolicyLM) -> None:
    with pytest.raises(InputError, match="gamma"):
        learner(policy, loss="path_consistency", gamma=0.9)


# ---------------------------------------------------------------- proposals


@pytest.mark.parametrize("q", [1.0, 2.0])
@pytest.mark.parametrize("length", [1, 4])
def test_every_proposed_prompt_survives_and_is_the_text_of_its_ids(
    policy_of_pieces: PolicyLM, q: float, length: int
) -> None:
    pieces = shuffle(learner(policy_of_pieces, q=q, top_k=None, length=length, proposals=30), scale=0.05)
    for _ in range(3):
        proposal = pieces.ask()
        assert len(proposal.prompts) == 30
        for prompt, ids in zip(proposal.prompts, ids_of(proposal), strict=True):
            assert len(ids) == length
            assert prompt == policy_of_pieces.tokenizer.decode(list(ids))
            assert policy_of_pieces.tokenizer(prompt, add_special_tokens=False)["input_ids"] == list(ids)
        pieces.tell(proposal, reward(proposal.prompts))
    if length > 1:
        assert pieces.tree.state_dict()["blocked"]  # some did not survive, so the promise was put to the test


def test_a_prompt_that_did_not_survive_is_never_drawn_again(policy_of_pieces: PolicyLM) -> None:
    pieces = learner(policy_of_pieces, q=1.0, length=2, top_k=None, proposals=100)
    drawn: list[Ids] = []
    draw = pieces._draw

    def watched(*how: Any) -> list[Ids]:
        prompts = draw(*how)
        drawn.extend(prompts)
        return prompts

    pieces._draw = watched  # type: ignore[method-assign]
    for _ in range(10):
        before = {tuple(b) for b in pieces.tree.state_dict()["blocked"]}
        drawn.clear()
        proposal = pieces.ask()
        assert not before & set(drawn)
        assert not any(tuple(b) in ids_of(proposal) for b in pieces.tree.state_dict()["blocked"])
    assert before
    assert not any(survives(policy_of_pieces.tokenizer, list(b)) for b in before if len(b) == 2)


@pytest.mark.parametrize("top_k", [1, 5, 20])
def test_tokens_outside_the_filter_are_never_proposed(tiny_causal: Tiny, policy: PolicyLM, top_k: int) -> None:
    filtered = shuffle(learner(policy, q=1.0, top_k=top_k, proposals=20))
    for _ in range(3):
        proposal = filtered.ask()
        for ids in ids_of(proposal):
            for t in range(len(ids)):
                with torch.no_grad():
                    logits = tiny_causal.model(input_ids=torch.tensor([[0, *ids[:t]]])).logits[0, -1]
                logits[~(policy.follows if t else policy.opens)] = -torch.inf
                assert logits[ids[t]] >= logits.topk(top_k).values[-1] - 1e-4
        filtered.tell(proposal, reward(proposal.prompts))


@pytest.mark.parametrize("q", [1.5, 2.0])
def test_proposals_stay_in_the_support_of_the_sparse_policy(policy: PolicyLM, q: float) -> None:
    sparse = shuffle(learner(policy, q=q, proposals=40, top_k=None))
    proposal = sparse.ask()
    for ids in ids_of(proposal):
        for t in range(len(ids)):
            (logits,) = sparse.logits([ids[:t]], sparse.online)
            chances = TsallisEntropy(q).policy(logits)
            assert float(chances[sparse.tree.actions(ids[:t]).ids == ids[t]]) > 0
            assert int((chances > 0).sum()) < len(chances)


def test_tokens_are_drawn_with_the_probabilities_of_the_policy(policy: PolicyLM) -> None:
    chooser = shuffle(learner(policy, q=2.0, length=1, proposals=4000, top_k=None), scale=0.1)
    (logits,) = chooser.logits([()], chooser.online)
    chances = TsallisEntropy(2.0).policy(logits)
    assert int((chances > 0.01).sum()) > 3
    drawn = torch.tensor(ids_of(chooser.ask()))[:, 0]
    for token, chance in zip(chooser.tree.actions(()).ids.tolist(), chances.tolist(), strict=True):
        deviation = math.sqrt(chance * (1 - chance) / 4000)
        assert float((drawn == token).double().mean()) == pytest.approx(chance, abs=4.5 * deviation)


def test_sample_top_draws_from_the_largest_logits_only(policy: PolicyLM) -> None:
    top = shuffle(learner(policy, q=1.0, sample_top=3, proposals=40), scale=0.05)
    for ids in ids_of(top.ask()):
        for t in range(len(ids)):
            (logits,) = top.logits([ids[:t]], top.online)
            best = top.tree.actions(ids[:t]).ids[logits.topk(3).indices].tolist()
            assert ids[t] in best


def test_support_size_is_logged_as_the_mean_number_of_tokens_with_a_chance(policy: PolicyLM) -> None:
    soft, top, sparse = (
        learner(policy, q=q, top_k=20, sample_top=n) for q, n in ((1.0, None), (1.0, 7), (2.0, None))
    )  # fmt: skip
    assert step(soft)[1]["support_size"] == 20.0
    assert step(top)[1]["support_size"] == 7.0
    assert step(sparse)[1]["support_size"] == pytest.approx(20.0)  # near-zero Q: about uniform at first
    assert 1.0 <= step(shuffle(sparse, scale=1.0))[1]["support_size"] < 20.0


def test_distinct_prompts_are_new_in_every_step_and_cost_a_pass_for_each_token(policy: PolicyLM) -> None:
    drawing, met = learner(policy, distinct=True, q=1.0, prior=0.5, redraws=3), set[Ids]()
    for _ in range(6):
        before = drawing.policy.logits_computed
        proposal = drawing.ask()
        fresh = ids_of(proposal)
        assert len(set(fresh)) == len(fresh) == SMALL["proposals"]
        assert not met & set(fresh)
        assert all(survives(policy.tokenizer, list(prompt)) for prompt in fresh)
        met.update(fresh)
        # the beam's prefixes at three places, in products of sixteen rows for the filter, and once more for Q
        assert drawing.policy.logits_computed - before <= 2 * (1 + 2 * 2 * SMALL["proposals"]) + 3 * 16
        drawing.tell(proposal, reward(proposal.prompts))
    assert 1 <= proposal.memo["support_size"] <= SMALL["top_k"]


def test_distinct_prompts_end_with_the_policy(policy: PolicyLM, policy_of_pieces: PolicyLM) -> None:
    for model in (policy, policy_of_pieces):
        small, seen = learner(model, distinct=True, length=2, top_k=3, proposals=4, q=2.0), list[Ids]()
        while (proposal := small.ask(5)).prompts:
            seen += ids_of(proposal)
            small.tell(proposal, reward(proposal.prompts))
        actions = [
            (a, b) for (a,) in ((int(t),) for t in small.tree.actions(()).ids) for b in small.tree.actions((a,)).ids
        ]
        assert len(seen) == len(set(seen)) >= len(actions) > 0


def test_redraws_replace_prompts_that_were_tried_before_and_repeats_within_a_step(policy: PolicyLM) -> None:
    settings: dict[str, Any] = {"length": 1, "top_k": 12, "proposals": 6}
    without, redrawing = learner(policy, **settings), learner(policy, redraws=100, **settings)
    first, second = (redrawing.ask() for _ in range(2))
    assert len(set(first.prompts)) == 6
    redrawing.tell(first, reward(first.prompts))
    second = redrawing.ask()
    assert len({*first.prompts, *second.prompts}) == 12
    asked = [without.ask() for _ in range(5)]
    assert any(len(set(proposal.prompts)) < 6 for proposal in asked)


def test_when_everything_was_tried_a_redrawn_prompt_is_accepted(policy: PolicyLM) -> None:
    tired = learner(policy, length=1, top_k=2, proposals=4, redraws=3)
    for _ in range(3):
        assert len(step(tired)[0]) == 4


def test_redrawing_reaches_beyond_a_support_that_has_collapsed(policy: PolicyLM) -> None:
    collapsed = learner(policy, q=2.0, length=1, proposals=4, redraws=30)
    shuffle(collapsed, scale=0.5)
    (logits,) = collapsed.logits([()], collapsed.online)
    support = int(TsallisEntropy(2.0).support_size(logits))
    assert support < 4
    assert len(set(collapsed.ask().prompts)) == 4


# ---------------------------------------------------------------- values


@pytest.fixture(params=["llama", "opt", "phi"])
def any_policy(request: pytest.FixtureRequest, tiny_of: Any) -> PolicyLM:
    """A head tied to the embeddings, one narrower than the model, and one with a bias."""
    tiny = tiny_of(request.param)
    bias = tiny.model.get_output_embeddings().bias
    if bias is not None:
        bias.copy_(torch.randn(bias.shape, generator=torch.Generator().manual_seed(0)))
    return PolicyLM(tiny.model, tiny.tokenizer)


@pytest.mark.parametrize("prior", [0.0, 0.7])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_get_the_full_rows_of_the_frozen_head_and_the_values_of_both_networks(
    any_policy: PolicyLM, loss: str, prior: float
) -> None:
    trained = shuffle(learner(any_policy, loss=loss, prior=prior, alpha=0.5, replay=0, q=2.0, normalise="none"), 0.1)
    seen, proposal, entropy = spy(trained), trained.ask(), TsallisEntropy(2.0)
    online, target = copy.deepcopy(trained.online), copy.deepcopy(trained.target)
    trained.tell(proposal, reward(proposal.prompts))
    (values,) = seen
    torch.testing.assert_close(values.rewards, reward(proposal.prompts).float() / 0.5)
    assert (values.v is None) == (loss != "path_consistency")
    assert (values.target_v is None) == (loss == "monte_carlo")
    head = any_policy.packed.head.module
    for i, ids in enumerate(ids_of(proposal)):
        for t in range(len(ids)):
            state = trained.tree.states([ids[:t]])[0]
            actions = trained.tree.actions(ids[:t])
            with torch.no_grad():
                rows = head(online(state))  # W_LM psi(e), all of it
                slow = head(target(state))
            torch.testing.assert_close(values.q[i, t], rows[ids[t]], atol=1e-5, rtol=1e-5)
            for given, q in ((values.v, rows), (values.target_v, slow)):
                if given is not None:
                    expected = entropy.value(q[actions.ids] + prior * actions.log_p)
                    torch.testing.assert_close(given[i, t], expected, atol=1e-5, rtol=1e-5)


def test_the_prior_enters_the_logits_as_beta_times_the_log_probability_of_the_language_model(
    tiny_causal: Tiny, policy: PolicyLM
) -> None:
    plain, prior = (shuffle(learner(policy, prior=beta, top_k=30)) for beta in (0.0, 0.4))
    prefixes: list[Ids] = [(), (300,), (300, 301)]
    pairs = zip(plain.logits(prefixes, plain.online), prior.logits(prefixes, prior.online), strict=True)
    for prefix, (without, with_prior) in zip(prefixes, pairs, strict=True):
        actions = prior.tree.actions(prefix)
        assert torch.equal(with_prior, without + 0.4 * actions.log_p)
        with torch.no_grad():
            logits = tiny_causal.model(input_ids=torch.tensor([[0, *prefix]])).logits[0, -1]
        logits[~(policy.follows if prefix else policy.opens)] = -torch.inf
        torch.testing.assert_close(actions.log_p, logits.log_softmax(-1)[actions.ids], atol=1e-4, rtol=1e-4)


def test_with_a_prior_of_one_and_no_values_yet_softmax_is_the_language_model_itself(policy: PolicyLM) -> None:
    fresh = learner(policy, q=1.0, prior=1.0, top_k=None)
    with torch.no_grad():
        for parameter in fresh.online.parameters():
            parameter.zero_()
    for prefix in ((), (300,)):
        (logits,) = fresh.logits([prefix], fresh.online)
        torch.testing.assert_close(TsallisEntropy(1.0).policy(logits), fresh.tree.actions(prefix).log_p.exp())


def test_logits_of_a_prefix_do_not_depend_on_the_prefixes_asked_for_with_it(policy: PolicyLM) -> None:
    asked = shuffle(learner(policy))
    together = asked.logits([(), (300,), (301, 302)], asked.online)
    for prefix, logits in zip([(), (300,), (301, 302)], together, strict=True):
        torch.testing.assert_close(asked.logits([prefix], asked.online)[0], logits, atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------- rewards


@pytest.mark.parametrize("alpha", [1.0, 0.2])
def test_rewards_are_z_scored_over_the_step_and_divided_by_alpha(policy: PolicyLM, alpha: float) -> None:
    scored = learner(policy, normalise="step", alpha=alpha, replay=0)
    seen, proposal = spy(scored), scored.ask()
    rewards = reward(proposal.prompts)
    scored.tell(proposal, rewards)
    z = (rewards - rewards.mean()) / rewards.std(correction=0)
    torch.testing.assert_close(seen[0].rewards, (z / alpha).float(), atol=1e-2, rtol=1e-3)


def test_a_step_of_equal_rewards_teaches_zero_and_not_a_number(policy: PolicyLM) -> None:
    bored = learner(policy, normalise="step")
    seen, proposal = spy(bored), bored.ask()
    log = bored.tell(proposal, torch.full((len(proposal.prompts),), 7.0, dtype=torch.float64))
    assert (seen[0].rewards == 0).all()
    assert math.isfinite(log["loss"])


def test_rewards_are_z_scored_over_all_that_replay_holds_at_each_update(policy: PolicyLM) -> None:
    replaying = learner(policy, normalise="replay", batch=400)
    everything: list[float] = []
    for _ in range(3):
        seen, proposal = spy(replaying), replaying.ask()
        everything += reward(proposal.prompts).tolist()
        replaying.tell(proposal, reward(proposal.prompts))
        held = torch.tensor(everything, dtype=torch.float64)
        possible = ((held - held.mean()) / held.std(correction=0)).float()
        distance = (seen[0].rewards[:, None] - possible[None, :]).abs().amin(1)
        assert float(distance.max()) < 1e-3
        assert abs(float(seen[0].rewards.mean())) < 0.3  # four hundred draws of a population with mean 0, deviation 1


def test_raw_rewards_reach_the_loss_when_nothing_is_normalised(policy: PolicyLM) -> None:
    raw = learner(policy, normalise="none", alpha=2.0)
    seen, proposal = spy(raw), raw.ask()
    raw.tell(proposal, reward(proposal.prompts))
    allowed = (reward(proposal.prompts).float() / 2.0).tolist()
    assert all(min(abs(r - a) for a in allowed) < 1e-6 for r in seen[0].rewards.tolist())


# ---------------------------------------------------------------- updates


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_the_target_network_moves_by_rho_towards_the_new_online_network(policy: PolicyLM, rho: float) -> None:
    moving = shuffle(learner(policy, rho=rho, loss="single_step"))
    before = parameters(moving.target)
    step(moving)
    for old, new, online in zip(before, parameters(moving.target), parameters(moving.online), strict=True):
        torch.testing.assert_close(new, rho * online + (1.0 - rho) * old)


def test_the_target_network_begins_as_a_copy(policy: PolicyLM) -> None:
    fresh = learner(policy)
    assert all(torch.equal(a, b) for a, b in zip(fresh.target.parameters(), fresh.online.parameters(), strict=True))
    assert not any(p.requires_grad for p in fresh.target.parameters())


@pytest.mark.parametrize("updates", [1, 5])
def test_telling_makes_the_asked_number_of_updates_and_asking_makes_none(policy: PolicyLM, updates: int) -> None:
    trained = learner(policy, updates=updates)
    seen, before = spy(trained), parameters(trained.online)
    proposal = trained.ask()
    trained.recommend()
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(trained.online), strict=True))
    assert seen == []
    trained.tell(proposal, reward(proposal.prompts))
    assert len(seen) == updates
    assert [len(values.q) for values in seen] == [16] * updates  # a batch of replayed prompts each
    assert not any(torch.equal(a, b) for a, b in zip(before, parameters(trained.online), strict=True))


def test_without_replay_every_update_uses_the_prompts_of_the_step(policy: PolicyLM) -> None:
    on_policy = learner(policy, replay=0, updates=2, normalise="none")
    seen = spy(on_policy)
    for _ in range(2):
        proposal = on_policy.ask()
        seen.clear()
        on_policy.tell(proposal, reward(proposal.prompts))
        for values in seen:
            torch.testing.assert_close(values.rewards, reward(proposal.prompts).float())


@pytest.mark.parametrize("loss", ["monte_carlo", "single_step"])
@pytest.mark.parametrize("q", [1.0, 2.0])
def test_training_on_the_same_prompts_lowers_the_loss(policy: PolicyLM, loss: str, q: float) -> None:
    trained = learner(policy, loss=loss, q=q, replay=0, learning_rate=3e-3, hidden=64, rho=0.1, top_k=10)
    proposal = trained.ask()
    losses = [trained.tell(proposal, reward(proposal.prompts))["loss"] for _ in range(80)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("q", [1.0, 2.0])
def test_training_makes_better_prompts_more_probable_than_worse_ones(policy: PolicyLM, loss: str, q: float) -> None:
    trained = learner(policy, loss=loss, q=q, replay=0, learning_rate=3e-3, hidden=64, rho=0.1, top_k=10)
    proposal = trained.ask()
    rewards = reward(proposal.prompts)

    def advantage(ids: Ids) -> float:
        total = 0.0
        for t in range(len(ids)):
            (logits,) = trained.logits([ids[:t]], trained.online)
            total += float(logits[trained.tree.actions(ids[:t]).ids == ids[t]] - TsallisEntropy(q).value(logits))
        return total

    best, worst = ids_of(proposal)[int(rewards.argmax())], ids_of(proposal)[int(rewards.argmin())]
    assert advantage(best) - advantage(worst) == pytest.approx(0.0, abs=0.01)
    for _ in range(40):
        trained.tell(proposal, rewards)
    assert advantage(best) - advantage(worst) > 0.5


def test_training_leaves_the_language_model_alone(tiny_causal: Tiny, policy: PolicyLM) -> None:
    before = [p.clone() for p in tiny_causal.model.parameters()]
    trained = learner(policy, loss="path_consistency")
    for _ in range(3):
        step(trained)
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_causal.model.parameters(), strict=True))


# ---------------------------------------------------------------- recommendations


def test_recommendations_are_the_greedy_prompt_and_then_the_best_seen_each_once(policy: PolicyLM) -> None:
    trained = learner(policy, recommended=4)
    told: dict[str, float] = {}
    for _ in range(5):
        proposal = trained.ask()
        told.update(zip(proposal.prompts, reward(proposal.prompts).tolist(), strict=True))
        trained.tell(proposal, reward(proposal.prompts))
    recommended, greedy = trained.recommend(), trained.greedy()
    assert greedy is not None
    assert recommended[0] == policy.text(greedy)
    assert len(set(recommended)) == len(recommended) <= 5
    best = sorted(told.values(), reverse=True)[:4]
    seen = [told[p] for p in recommended[1:]]
    assert seen == [r for p, r in sorted(told.items(), key=lambda x: -x[1])[:4] if p != recommended[0]]
    assert set(seen) <= set(best)


def test_with_none_recommended_only_the_greedy_prompt_is(policy: PolicyLM) -> None:
    trained = learner(policy, recommended=0)
    step(trained)
    greedy = trained.greedy()
    assert greedy is not None
    assert trained.recommend() == [policy.text(greedy)]


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_the_greedy_prompt_takes_the_largest_logit_at_each_place(policy: PolicyLM, prior: float) -> None:
    trained = shuffle(learner(policy, prior=prior))
    greedy = trained.greedy()
    assert greedy is not None
    assert len(greedy) == 3
    for t in range(3):
        (logits,) = trained.logits([greedy[:t]], trained.online)
        assert greedy[t] == int(trained.tree.actions(greedy[:t]).ids[logits.argmax()])


def test_recommended_prompts_survive(policy_of_pieces: PolicyLM) -> None:
    for seed in range(8):
        pieces = shuffle(learner(policy_of_pieces, top_k=None, length=4, seed=seed), seed=seed)
        step(pieces)
        for prompt in pieces.recommend():
            ids = policy_of_pieces.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            assert len(ids) == 4
            assert policy_of_pieces.tokenizer.decode(ids) == prompt


# ---------------------------------------------------------------- randomness and checkpoints


def trace(learner: QLearner, steps: int) -> list[Any]:
    done: list[Any] = [step(learner) for _ in range(steps)]
    return [
        *done,
        learner.recommend(),
        [p.tolist() for p in (*learner.online.parameters(), *learner.target.parameters())],
    ]


def test_a_seed_decides_everything_and_the_global_generator_nothing(policy: PolicyLM) -> None:
    traces = []
    for seed, noise in ((1, 10), (1, 20), (2, 10)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(noise)
            traces.append(trace(learner(policy, seed=seed), 3))
    assert traces[0] == traces[1]
    assert traces[0] != traces[2]


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "monte_carlo"},
        {"loss": "monte_carlo", "normalise": "replay", "prior": 0.3, "updates": 3, "redraws": 5},
        {"loss": "monte_carlo", "prior": 0.3, "distinct": True},
        {"loss": "monte_carlo", "replay": 10},
        {"loss": "single_step", "rho": 0.1},
        {"loss": "single_step", "q": 1.5, "replay": 0},
        {"loss": "path_consistency", "q": 1.0, "replay": 0, "sample_top": 8, "alpha": 0.2},
        {"loss": "path_consistency", "prior": 0.5, "rho": 0.1},
    ],
    ids=str,
)
def test_a_restored_learner_goes_on_bit_for_bit(
    tiny_causal: Tiny, policy_of_pieces: PolicyLM, settings: dict[str, Any], steps: int
) -> None:
    original = learner(policy_of_pieces, **settings)
    for _ in range(steps):
        step(original)
        original.recommend()
    state = stored(original.state_dict())
    again = PolicyLM(tiny_causal.model, tiny_causal.tokenizer, tokens="any")
    restored = learner(again, seed=99, **settings)
    step(restored)  # whatever it did before must not matter
    restored.load_state_dict(state)
    assert trace(restored, 4) == trace(original, 4)


def test_the_state_of_a_learner_is_tensors_and_plain_values(policy_of_pieces: PolicyLM) -> None:
    trained = learner(policy_of_pieces)
    for _ in range(3):
        step(trained)

    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert all(isinstance(k, str) for k in value)
            for v in value.values():
                check(v)
        elif isinstance(value, list):
            for v in value:
                check(v)
        else:
            assert value is None or isinstance(value, Tensor | int | float | str)

    state = trained.state_dict()
    check(state)
    assert {"online", "target", "adam", "replay", "tree", "generator", "seen"} <= set(state)
