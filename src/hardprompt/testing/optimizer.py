"""What every search method promises: the strings, the budget, the seed, and the way on from a saved state."""

import zlib
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hardprompt.errors import InputError
from hardprompt.search.engine import EVERYTHING, PromptOptimizer, Proposal, optimize
from hardprompt.testing.comparing import check_all, differing, stored

Build = Callable[[int], PromptOptimizer]
"""Makes the optimizer of a seed, always the same for the same seed."""

Told = tuple[list[str], dict[str, float]]
"""The prompts of a step, and what ``tell`` said of it."""

_ROOMS = (1, 2, 3, 5, 17)
_BUDGETS = (1, 10, 37, 70)


def worth(prompts: list[str]) -> Float[Tensor, " n"]:
    """A reward of letters, another for each prompt."""
    hairs = [zlib.crc32(prompt.encode()) / 2**32 for prompt in prompts]
    return torch.tensor([len(set(p)) - 0.1 * len(p) + hair for p, hair in zip(prompts, hairs, strict=True)]).double()


def proposes_strings(build: Build) -> None:
    """``ask`` proposes strings, ``tell`` takes their rewards and says numbers."""
    optimizer = build(0)
    assert isinstance(optimizer, PromptOptimizer), (
        f"{type(optimizer).__name__} is no PromptOptimizer; it needs ask, tell, recommend, state_dict, load_state_dict."
    )
    proposal = optimizer.ask(EVERYTHING)
    assert isinstance(proposal, Proposal), f"ask() returned a {type(proposal).__name__}; a Proposal was expected."
    assert proposal.prompts, "the first ask() with all the room it likes must propose something."
    wrong = [p for p in proposal.prompts if not isinstance(p, str)]
    assert not wrong, f"ask() proposed {wrong[:1]}, which is no string."
    log = optimizer.tell(proposal, worth(proposal.prompts))
    bad = {name: value for name, value in log.items() if not isinstance(value, float)}
    assert not bad, f"tell() returned {bad}; each value must be a float."


def costs_no_more_than_its_room(build: Build) -> None:
    """A proposal and its gradient passes fit what is left; one that proposes nothing costs nothing."""
    for room in _ROOMS:
        optimizer = build(0)
        for step in range(4):
            proposal = optimizer.ask(room)
            cost = len(proposal.prompts) + proposal.passes
            assert cost <= room, f"ask({room}) of step {step} costs {cost} evaluations."
            if not proposal.prompts:
                assert cost == 0, f"ask({room}) of step {step} proposes nothing, and made {proposal.passes} passes."
                break
            optimizer.tell(proposal, worth(proposal.prompts))


def stays_within_the_budget(build: Build) -> None:
    """A search never spends more than its budget, also where its recommendations are scored by the reward."""
    for evaluations in _BUDGETS:
        asked: list[str] = []

        def reward(prompts: list[str], asked: list[str] = asked) -> Float[Tensor, " n"]:
            asked.extend(prompts)
            return worth(prompts)

        if not build(0).ask(evaluations).prompts:
            continue  # its first step needs more, which the engine refuses
        try:
            found = optimize(build(0), reward, evaluations=evaluations, validate_every=1)
        except InputError as error:
            raise AssertionError(f"a search of {evaluations} evaluations failed: {error}") from error
        spent = len(asked) + found.passes
        assert spent <= evaluations, f"a search of {evaluations} evaluations spent {spent}."
        assert spent <= found.evaluations <= evaluations, (
            f"a search that spent {spent} of {evaluations} evaluations reports {found.evaluations}."
        )


def follows_its_seed(build: Build) -> None:
    """The seed decides everything: no global generator is read."""
    runs = []
    for other in (1, 2):
        torch.manual_seed(other)
        optimizer = build(3)
        runs.append([*_steps(optimizer, 4), optimizer.recommend()])
    first, second = runs
    assert first == second, f"two searches of one seed, which alone decides, differ {differing(first, second)}."


def recommends_the_best_seen(build: Build) -> None:
    """``recommend`` returns strings, of which the best that was told is one."""
    optimizer = build(0)
    seen: dict[str, float] = {}
    for prompts, _ in _steps(optimizer, 2):
        seen.update(zip(prompts, worth(prompts).tolist(), strict=True))
    found = optimizer.recommend()
    assert all(isinstance(prompt, str) for prompt in found), f"recommend() returned {found}; strings were expected."
    top = max(seen.values())
    assert any(seen.get(prompt) == top for prompt in found), (
        f"recommend() returned {found}, without the best seen, {max(seen, key=lambda p: seen[p])!r}."
    )


def goes_on_from_a_saved_state(build: Build) -> None:
    """A state goes through a checkpoint of JSON and tensors, and the search goes on as if it had never stopped."""
    optimizer = build(0)
    _steps(optimizer, 2)
    optimizer.recommend()  # as a validation would
    state = stored(optimizer.state_dict())
    other = build(9)
    other.load_state_dict(state)
    whole, resumed = _steps(optimizer, 3), _steps(other, 3)
    assert whole == resumed, f"a resumed search differs from one that went on {differing(whole, resumed)}."
    ends = [o.recommend() for o in (optimizer, other)]
    assert ends[0] == ends[1], f"a resumed search recommends {ends[1]} where one that went on has {ends[0]}."


def _steps(optimizer: PromptOptimizer, count: int) -> list[Told]:
    told: list[Told] = []
    for _ in range(count):
        proposal = optimizer.ask(EVERYTHING)
        if not proposal.prompts:
            break
        told.append((proposal.prompts, optimizer.tell(proposal, worth(proposal.prompts))))
    return told


OPTIMIZER_CHECKS: Sequence[Callable[[Build], None]] = (
    proposes_strings,
    costs_no_more_than_its_room,
    stays_within_the_budget,
    follows_its_seed,
    recommends_the_best_seen,
    goes_on_from_a_saved_state,
)


def check_optimizer(build: Build) -> None:
    """Hold a search method to all of its promises; an AssertionError says which it breaks."""
    check_all(OPTIMIZER_CHECKS, build)
