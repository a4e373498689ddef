"""GrIPS: its phrases, its edits against brute force, and the search that they make."""

import copy
import functools
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers.grips import GrIPS, add, boundaries, delete, is_mark, join, places, propose, split, usable
from hardprompt.search.engine import optimize
from tests.conftest import Tiny

QUESTION = "Is the film good, or bad?"
WORDS = ("film", "great", "story", "is", "the", "of", "or", "Write", "film,", "good.", "bad?", "the:", "sea!?")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
DELETED = st.lists(st.sampled_from(("in one word", "please", "please")), max_size=2)
Draft = tuple[str, tuple[str, ...], tuple[str, ...]]  # the text, what may be put back, what this candidate deleted


def fake(phrase: str) -> list[str]:
    """None, one or two paraphrases."""
    return ["x" + phrase.split()[0], "so to say"][: len(phrase) % 3]


def reachable(
    text: str, deleted: Sequence[str] = (), *, edits: int = 1, paraphrase: Callable[[str], Sequence[str]] = fake
) -> set[tuple[str, tuple[str, ...]]]:
    """Every text that the edits can make of ``text``, with what is then deleted, by enumeration."""
    drafts: set[Draft] = {(text, tuple(sorted(deleted)), ())}
    for _ in range(edits):
        drafts = {after for draft in drafts for after in set(_edited(*draft, paraphrase)) or {draft}}
    return {(new, tuple(sorted((*spare, *fresh)))) for new, spare, fresh in drafts}


def _edited(
    text: str, spare: tuple[str, ...], fresh: tuple[str, ...], paraphrase: Callable[[str], Sequence[str]]
) -> Iterator[Draft]:
    pieces = split(text)
    phrases = [i for i, piece in enumerate(pieces) if piece[0] not in ".,;:!?"]
    for i in phrases:
        for other in paraphrase(pieces[i]):
            yield _written([*pieces[:i], other, *pieces[i + 1 :]]), spare, fresh
        if len(phrases) > 1:
            yield _written(pieces[:i] + pieces[i + 1 :]), spare, (*fresh, pieces[i])
        for j in phrases:
            if j != i:
                order = [{i: j, j: i}.get(k, k) for k in range(len(pieces))]
                yield _written([pieces[k] for k in order]), spare, fresh
        for k, phrase in enumerate(spare):
            rest = (*spare[:k], *spare[k + 1 :])
            yield _written([*pieces[:i], f"{phrase} {pieces[i]}", *pieces[i + 1 :]]), rest, fresh
            yield _written([*pieces[:i], f"{pieces[i]} {phrase}", *pieces[i + 1 :]]), rest, fresh


def _written(pieces: Sequence[str]) -> str:
    text = re.sub(r"^[.,;:!?]+ ", "", " ".join(pieces))  # a mark with nothing before it
    text = re.sub(r"[.,;:!?]+ (?=[.,;:!?])", "", text)  # the first of two marks
    return re.sub(r" (?=[.,;:!?])", "", text)


def proposed(text: str, deleted: Sequence[str], *, seed: int = 0, draws: int = 1, edits: int = 1) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    results = [
        propose(text, deleted, edits=edits, paraphrase=fake, generator=generator) for _ in range(draws)
    ]  # fmt: skip
    return [(new, tuple(sorted(gone))) for new, gone in results]


@pytest.fixture
def policy(tiny_causal: Tiny) -> PolicyLM:
    return PolicyLM(*tiny_causal)


@pytest.fixture
def build(policy: PolicyLM) -> Callable[..., GrIPS]:
    """A search that samples its paraphrases from the tiny LM."""
    return functools.partial(GrIPS, policy=policy)


@pytest.fixture
def built(build: Callable[..., GrIPS], monkeypatch: pytest.MonkeyPatch) -> Callable[..., GrIPS]:
    """A search whose paraphrases are ``fake``."""
    monkeypatch.setattr(GrIPS, "_paraphrase", lambda self, phrase: fake(phrase))
    return build


def by_chance(prompts: list[str]) -> torch.Tensor:
    """A reward that says nothing about its neighbours, the same for a prompt each time."""
    return torch.tensor([zlib.crc32(prompt.encode()) % 1000 / 10 for prompt in prompts], dtype=torch.float64)


# phrases


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("great", ["great"]),
        ("great movie", ["great", "movie"]),  # one phrase only: its words
        ("It was", ["It", "was"]),
        (QUESTION, ["Is the film good", ",", "or bad", "?"]),
        (
            " Classify the sentiment of the movie review as positive or negative.",
            ["Classify", "the sentiment", "of the movie review", "as positive", "or negative", "."],
        ),
        ('Answer "yes" or "no" ; be brief ...', ['Answer "yes"', 'or "no"', " ;", "be brief", " ..."]),
        ("so. What is it? !", ["so", ".", "What is it", "? !"]),
        ("one two three four five six seven", ["one two three", "four five six seven"]),
        ("one two three four five. yes", ["one two three four five", ".", "yes"]),
        ("...", ["..."]),
        ("", []),
    ],
)
def test_a_text_is_cut_at_marks_and_before_function_words(text: str, pieces: list[str]) -> None:
    assert split(text) == pieces


@given(text=st.one_of(st.text(), TEXTS))
def test_the_pieces_of_a_text_put_together_are_the_text(text: str) -> None:
    assert join(split(text)) == " ".join(text.split())


@given(text=TEXTS)
def test_a_text_of_two_words_or_more_has_two_phrases_or_more(text: str) -> None:
    pieces = split(text)
    assert (len(places(pieces)) > 1) == (len(text.split()) > 1)
    assert all(len(pieces[i].split()) <= 5 for i in places(pieces))


# edits


@given(text=TEXTS, deleted=DELETED, seed=st.integers(0, 2**32), edits=st.integers(1, 2))
def test_no_edit_leaves_the_set_that_brute_force_reaches(text: str, deleted: list[str], seed: int, edits: int) -> None:
    results = proposed(text, deleted, seed=seed, draws=5, edits=edits)
    assert set(results) <= reachable(text, deleted, edits=edits)
    for new, _ in results:
        assert re.search(r"\w", new)
        assert new == " ".join(new.split())


@pytest.mark.parametrize("text", ["film", "film great", QUESTION, "Write the story. The film, please", "is the: good"])
@pytest.mark.parametrize("deleted", [(), ("in one word",), ("please", "in one word")])
def test_every_edit_that_brute_force_reaches_is_made(text: str, deleted: tuple[str, ...]) -> None:
    assert set(proposed(text, deleted, draws=2000)) == reachable(text, deleted)


def test_two_edits_make_all_that_brute_force_reaches_and_put_back_nothing_that_they_deleted_themselves() -> None:
    found = set(proposed("film is great", ("please",), draws=8000, edits=2))
    assert found == reachable("film is great", ("please",), edits=2)
    assert ("please film", ("is great",)) in found
    assert ("film is great", ("please",)) not in found


def test_the_operations_are_drawn_equally_often_and_only_the_possible_ones() -> None:
    def kinds(deleted: Sequence[str], others: Sequence[str]) -> Counter[str]:
        generator = torch.Generator().manual_seed(0)
        drawn: Counter[str] = Counter()
        for _ in range(3000):
            text, _ = propose("film is good or bad", deleted, edits=1, paraphrase=lambda _: others, generator=generator)
            words = len(text.split())
            drawn["other" if "xx" in text else {5: "swap", 6: "add"}.get(words, "delete")] += 1
        assert scipy.stats.chisquare(list(drawn.values())).pvalue > 0.01
        return drawn

    assert set(kinds(["please"], ["xx"])) == {"delete", "swap", "other", "add"}
    assert set(kinds([], ["xx"])) == {"delete", "swap", "other"}
    assert set(kinds(["please"], [])) == {"delete", "swap", "add"}


@pytest.mark.parametrize(
    ("text", "at", "left"),
    [
        (QUESTION, 0, "or bad?"),  # no comma to begin with
        (QUESTION, 2, "Is the film good?"),  # the last of two marks ends what is left
        ("Read it, then the rest", 2, "Read it, the rest"),
        ("film ? good", 2, "film ?"),
        (". film. good", 1, ". good"),
    ],
)
def test_a_mark_with_nothing_to_end_goes_with_its_phrase(text: str, at: int, left: str) -> None:
    assert join(delete(split(text), at)) == left


@given(text=TEXTS)
def test_what_was_deleted_can_be_put_back_where_it_was(text: str) -> None:
    pieces = split(text)
    for at in places(pieces)[len(places(pieces)) == 1 :]:
        rest = delete(pieces, at)
        if len(rest) == len(pieces) - 1 and at in boundaries(rest):
            assert join(add(rest, at, pieces[at])) == text
        assert rest == [p for p in rest if is_mark(p) or p in pieces]


@pytest.mark.parametrize("text", ["Write the story of the film", "film great", "Film, is it good or bad?"])
def test_a_deletion_that_is_taken_back_restores_the_text(text: str) -> None:
    for shorter, deleted in reachable(text, paraphrase=lambda _: ()):
        if deleted and shorter.count(",") == text.count(","):
            assert (text, ()) in reachable(shorter, deleted)


def test_a_single_word_without_a_paraphrase_stays() -> None:
    assert proposed("the", ()) == [("the", ())] == list(reachable("the"))  # fake("the") is empty
    generator = torch.Generator().manual_seed(0)
    assert propose("great", [], edits=3, paraphrase=lambda _: [], generator=generator) == ("great", [])


# paraphrases


def test_paraphrases_are_plain_words_unlike_the_phrase_and_at_most_twice_as_many_each_once() -> None:
    texts = [
        " the movie", "the movie.", "The Film", "the film!", "", "  ", "...", "a very long word", "a b c d e",
        "it's well-known", "either, or", "<b>the</b>", "the \ufffd", "two\tgaps  here", "a: b", "- dash", "film_1",
        "7 a",
    ]  # fmt: skip
    assert usable("the film", texts) == [
        "the movie", "a very long word", "it's well-known", "either, or", "two gaps here", "7 a"
    ]  # fmt: skip
    assert usable("film", ["moving picture", "a moving picture"]) == ["moving picture"]


def test_the_policy_lm_is_asked_once_for_the_paraphrases_of_a_phrase(
    build: Callable[..., GrIPS], policy: PolicyLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = len(policy.tokenizer("film", add_special_tokens=False)["input_ids"])
    asked: list[tuple[list[str], dict[str, Any]]] = []

    def generate(self: CausalLM, contexts: list[str], **settings: Any) -> list[list[str]]:
        asked.append((contexts, settings))
        return [["movies", "film", "a b c", "pictures"] for _ in contexts]

    monkeypatch.setattr(CausalLM, "generate", generate)
    search = build(phrase="film", seed=3)
    for _ in range(4):
        proposal = search.ask()
        assert set(proposal.prompts) <= {"film", "movies", "pictures"}
        search.tell(proposal, torch.zeros(len(proposal.prompts)))
    ((context,), settings) = asked[0]
    assert len(asked) == 1
    assert context.endswith('\n"film" means "')
    assert settings == {
        "samples": 10,
        "seed": 3,
        "longest": 2 * tokens + 4,
        "stop": ('"', "\n"),
        "top_k": 10,
    }


def test_a_phrase_that_is_too_long_for_the_model_is_not_paraphrased(build: Callable[..., GrIPS]) -> None:
    word = "abcdefghij" * 30
    assert set(build(phrase=word).ask().prompts) == {word}


# the search


def run(search: GrIPS, reward: Callable[[list[str]], torch.Tensor], steps: int) -> Iterator[tuple[Any, Any, list[str]]]:
    """The state before and after each step, and what was proposed."""
    for _ in range(steps):
        before = copy.deepcopy(search.state_dict())
        proposal = search.ask()
        log = search.tell(proposal, reward(proposal.prompts))
        after = copy.deepcopy(search.state_dict())
        assert list(log) == ["base_reward"]
        yield before, after, proposal.prompts


@pytest.mark.parametrize("edits", [1, 2])
def test_every_prompt_is_within_the_edits_of_the_base(built: Callable[..., GrIPS], edits: int) -> None:
    phrase = " Read the story, then say: is the film good, or bad?"
    search = built(phrase=phrase, edits=edits, candidates=4)
    bases = set()
    for number, (before, _, prompts) in enumerate(run(search, by_chance, steps=40)):
        if number == 0:
            assert prompts.pop(0) == phrase
        bases.add(before["base"])
        allowed = {f" {text}" for text, _ in reachable(before["base"].strip(), before["deleted"], edits=edits)}
        assert len(prompts) == 4
        assert set(prompts) <= allowed
    assert len(bases) > 5


def test_the_base_is_the_best_so_far_since_the_last_start(built: Callable[..., GrIPS]) -> None:
    search, moves, restarts = built(phrase=QUESTION, patience=2), 0, 0
    first = float(by_chance([QUESTION])[0])
    since: dict[str, float] = {QUESTION: first}
    stale = 0
    for before, after, prompts in run(search, by_chance, steps=60):
        rewards = dict(zip(prompts, by_chance(prompts).tolist(), strict=True))
        gain = max(rewards.values()) > max(since.values())
        since |= rewards
        stale = 0 if gain else stale + 1
        if stale == 2:
            since, stale, restarts = {QUESTION: first}, 0, restarts + 1
            assert after["deleted"] == []
        best = max(since, key=lambda prompt: since[prompt])
        assert (after["base"], after["base_reward"]) == (best, since[best])
        assert after["waited"] == stale
        if gain:
            moves += 1
            start = before["base"]
            assert (best, tuple(sorted(after["deleted"]))) in reachable(start, before["deleted"])
    assert moves > 5
    assert restarts > 5


def test_it_begins_again_after_steps_without_gain_and_a_tie_is_none(built: Callable[..., GrIPS]) -> None:
    search = built(phrase=QUESTION, patience=3)
    proposal = search.ask()
    assert search.tell(proposal, torch.tensor([1.0, 0.0, 5.0, 1.0, 2.0, 3.0])) == {"base_reward": 5.0}
    assert search.state_dict()["base"] == proposal.prompts[2]
    for waited in (1, 2, 3):
        assert search.tell(search.ask(), torch.full((5,), 5.0)) == {"base_reward": 5.0}
        state = search.state_dict()
        assert state["base"] == (proposal.prompts[2] if waited < 3 else QUESTION)
    assert (state["base_reward"], state["deleted"], state["waited"]) == (1.0, [], 0)
    proposal = search.ask()
    assert len(proposal.prompts) == 5  # the phrase itself is not asked for again
    assert search.tell(proposal, torch.tensor([0.0, 0.0, 1.5, 0.0, 0.0])) == {"base_reward": 1.5}


def test_prompts_that_were_scored_are_drawn_again(built: Callable[..., GrIPS]) -> None:
    search = built(phrase="Write the story of the film, and say why it is good.")
    prompts = [prompt for _, _, proposed in run(search, by_chance, steps=6) for prompt in proposed]
    assert len(set(prompts)) == len(prompts) == 31


@pytest.mark.parametrize("phrase", ["The film", " The film", "  The \n film  "])
def test_prompts_open_with_a_space_if_the_phrase_does(built: Callable[..., GrIPS], phrase: str) -> None:
    prompts = [prompt for _, _, proposed in run(built(phrase=phrase), by_chance, steps=5) for prompt in proposed]
    assert prompts[0] == ("" if phrase.startswith("The") else " ") + "The film"
    assert all(prompt.startswith(" ") == phrase.startswith(" ") for prompt in prompts)
    assert all(prompt.lstrip(" ") == " ".join(prompt.split()) for prompt in prompts)


@pytest.mark.parametrize("seed", range(6))
def test_it_undoes_a_planted_change(build: Callable[..., GrIPS], seed: int) -> None:
    """Two deletions and a swap away from the target, the paraphrases sampled from the tiny LM."""
    target = ["the", "film", "is", "good", "or", "bad"]

    def reward(prompts: list[str]) -> torch.Tensor:
        return torch.tensor([-float(distance(prompt.split(), target)) for prompt in prompts])

    search = build(phrase="is good in the morning the film or bad at the sea", seed=seed)
    assert optimize(search, reward, evaluations=150).best.score == 0.0


def distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Insertions, deletions and substitutions of words."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        above = row
        row = [i]
        for j, b in enumerate(second, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


def test_a_resumed_search_is_the_same_bit_for_bit(build: Callable[..., GrIPS]) -> None:
    for steps in (0, 5):
        searches = [build(phrase=phrase, seed=seed) for phrase, seed in ((QUESTION, 0), (QUESTION, 9))]
        for _ in run(searches[0], by_chance, steps):
            pass
        searches[1].load_state_dict(copy.deepcopy(searches[0].state_dict()))
        for _ in range(3):
            proposals = [search.ask() for search in searches]
            assert proposals[0] == proposals[1]
            logs = [search.tell(p, by_chance(p.prompts)) for search, p in zip(searches, proposals, strict=True)]
            assert logs[0] == logs[1]
        assert searches[0].recommend() == searches[1].recommend()
        assert str(searches[0].state_dict()) == str(searches[1].state_dict())


def test_the_seed_decides_the_search(build: Callable[..., GrIPS]) -> None:
    seen = [[prompts for _, _, prompts in run(build(phrase=QUESTION, seed=seed), by_chance, 3)] for seed in (1, 1, 2)]
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


def test_it_recommends_the_best_seen(built: Callable[..., GrIPS]) -> None:
    search = built(phrase=QUESTION, recommended=3)
    seen = {prompt for _, _, prompts in run(search, by_chance, steps=5) for prompt in prompts}
    best = sorted(by_chance(list(seen)).tolist(), reverse=True)[:3]
    assert by_chance(search.recommend()).tolist() == best


@pytest.mark.parametrize("phrase", ["", "  ", " \n", "...", " ?!"])
def test_a_phrase_without_a_word_raises_an_input_error(build: Callable[..., GrIPS], phrase: str) -> None:
    with pytest.raises(InputError, match="at least one word"):
        build(phrase=phrase)


@pytest.mark.parametrize("setting", ["candidates", "edits", "patience", "recommended"])
def test_a_setting_below_one_raises_an_input_error(build: Callable[..., GrIPS], setting: str) -> None:
    with pytest.raises(InputError, match=f"{setting} is 0"):
        build(phrase=QUESTION, **{setting: 0})
