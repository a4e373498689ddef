"""What is held and what a pass takes stays within bounds, whatever the texts, and changes no result."""

import contextlib
import csv
import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt.data.tables import Example
from hardprompt.lms import answers, head, kept, masked, sampling, tokens
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.footprint import Footprint, Reading, Writing, footprint
from hardprompt.lms.kept import Room
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.packing import PackedModel
from hardprompt.lms.policy import PolicyLM
from hardprompt.optimizers import grips
from hardprompt.optimizers.grips import GrIPS
from hardprompt.optimizers.qlearning.prefix import PrefixTree
from hardprompt.runs import begun, execute, start
from hardprompt.search.engine import Step
from hardprompt.tasks import Recipe
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template
from tests.cli.conftest import comparable
from tests.conftest import VOCABULARY, Tiny, make_tiny
from tests.peak import Peak
from tests.unit.test_packing import assert_same_as_whole

WORDS = {"bad": " bad", "good": " good"}
TOKEN_BYTES = 2 * 2 * 16 * 4  # keys and values of two layers with one head of 16, in float32


@pytest.fixture(scope="module")
def long() -> Any:
    """A tiny Llama that reads 4,096 tokens."""
    return make_tiny("llama", max_position_embeddings=4096)


def text(length: int, seed: int) -> list[int]:
    return torch.randint(5, 400, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_what_models_hold_together_stays_within_the_room_and_ends_with_them(long: Any) -> None:
    room = Room(100 * TOKEN_BYTES)
    first, second = PackedModel(long, room=room), PackedModel(long, room=room)
    assert first.keep([text(30, 0), text(80, 1), text(40, 2)]) == [tuple(text(30, 0)), tuple(text(40, 2))]
    assert room.taken == 70 * TOKEN_BYTES
    assert second.keep([text(20, 3), text(31, 4)]) == [tuple(text(20, 3))]
    assert second.keep([text(10, 5)]) == [tuple(text(10, 5))]  # what did not fit is no end
    assert room.taken == room.limit
    assert first.keep([text(1, 6)]) == []
    circle: list[Any] = [first]
    circle.append(circle)  # a model that only the garbage collector finds must not take room from others
    del first, circle
    assert second.keep([text(70, 7)]) == [tuple(text(70, 7))]
    assert_same_as_whole(second, [[*text(70, 7), 9], [*text(31, 4), 9], [*text(20, 3), 9]])


def test_those_who_come_later_are_left_a_share() -> None:
    room, owner = Room(100), Room(0)
    assert room.take(owner, [40, 60, 50], share=0.9) == [True, False, True]
    assert room.take(owner, [20, 10]) == [False, True]
    room.give(owner, 30)
    assert room.taken == 70


def test_what_is_kept_for_a_block_is_given_up_behind_it_and_what_else_is_held_stays(long: Any) -> None:
    room = Room(1000 * TOKEN_BYTES)
    packed, held = PackedModel(long, room=room), text(20, 0)
    packed.keep([held, [*held, 7, 8], text(9, 1)])
    before = room.taken
    with packed.keeping([[*held, 7, 8, 9], [*held, 5], [*text(9, 1), 6], text(12, 2), held]):
        assert room.taken == before + (23 + 21 + 10 + 12) * TOKEN_BYTES
        assert_same_as_whole(packed, [[*held, 7, 8, 9, 10], [*text(12, 2), 4]])
    assert room.taken == before
    begun = packed.tokens_run
    assert_same_as_whole(packed, [[*held, 7, 8, 9, 10], [*text(12, 2), 4], [*text(9, 1), 6]])
    assert packed.tokens_run - begun == 2 + 13 + 1


def test_a_long_beginning_that_is_not_held_is_run_once_for_all_that_share_it(long: Any) -> None:
    packed, one, other = PackedModel(long), text(700, 0), text(600, 1)
    ids = [[*one, 7, 8], [*other, 7], [*one, 7, 9], [*one[:690], 5, 5, 5], text(300, 2), [8, 9], [*text(500, 3), 1]]
    before = packed.tokens_run
    packed.hidden(ids)
    assert packed.tokens_run - before == 690 + (10 + 1 + 2) + 3 + 601 + 300 + 2 + 501
    assert_same_as_whole(packed, ids, tails=[(), (40, 41), (40,)])


def test_a_pass_over_long_kept_texts_is_lent_one_layer_at_a_time(long: Any) -> None:
    packed = PackedModel(make_tiny("llama", max_position_embeddings=4096, num_hidden_layers=8))
    texts = [text(1500 + i, i) for i in range(40)]
    packed.keep(texts)
    packed.allows("tree", 2048)
    with Peak() as peak:
        packed.hidden([[*ids, 9] for ids in texts])
    every = sum(map(len, texts)) * packed.token_bytes
    assert (
        peak.most < every / 2
    )  # a layer's keys and values are an eighth; they are joined with the new ones, and spread


def test_the_perplexity_of_a_long_text_does_not_hold_the_vocabulary_at_every_token(
    tiny_causal: Tiny, long: Any
) -> None:
    lm = CausalLM(long, tiny_causal.tokenizer)
    lasting = "The film was bad. " * 700
    ids = torch.tensor([tiny_causal.tokenizer(lasting)["input_ids"][:4096]])
    with torch.no_grad():
        plain = long(input_ids=ids, labels=ids).loss.exp()  # transformers' own
    with Peak() as peak:
        found = lm.perplexity([lasting])
    assert float(found) == pytest.approx(float(plain), rel=1e-4)
    assert (
        peak.most < 3 * ids.numel() * len(long.lm_head.weight) * 4 / 2
    )  # it takes logits, and twice more for the loss


@pytest.mark.parametrize("quick", [True, False])
def test_answers_of_several_tokens_hold_the_vocabulary_for_few_contexts_at_a_time(
    tiny_causal: Tiny, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    """The sum over the vocabulary is needed for later tokens, and for the first where answers count unevenly."""
    lm = CausalLM(*tiny_causal)
    lm.packed.head.quick = quick  # else the model's own code is asked for each logit
    contexts, choices = [f"The film {'was ' * (i % 7)}{i}" for i in range(50)], [" not good", " bad", " great"]
    before = lm.score(contexts, choices, how="mean")
    monkeypatch.setattr(head, "_LOGITS", 8 * VOCABULARY)
    rows: list[int] = []
    handle = lm.model.lm_head.register_forward_hook(lambda _, __, out: rows.append(out.shape[:-1].numel()))
    found = lm.score(contexts, choices, how="mean")
    handle.remove()
    assert max(rows) <= 8
    torch.testing.assert_close(found, before, atol=1e-5, rtol=1e-5)
    ids = [tiny_causal.tokenizer(word, add_special_tokens=False)["input_ids"] for word in choices]
    assert [len(own) for own in ids] == [2, 1, 1]
    with torch.no_grad():
        start = lm.encode([contexts[3]])[0]
        plain = [lm.model(input_ids=torch.tensor([[*start, *own]])).logits[0].log_softmax(-1) for own in ids]
    expected = [
        sum(float(log_p[len(start) - 1 + i, token]) for i, token in enumerate(own)) / len(own)
        for log_p, own in zip(plain, ids, strict=True)
    ]
    assert found[3].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("word", [" not good", " good"])
def test_the_memory_that_is_said_counts_the_vocabulary_where_answers_need_it(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(head, "_LOGITS", 400 * 20_000)
    model = make_tiny("llama", vocab_size=20_000, num_hidden_layers=1, intermediate_size=32)
    task = Classification(
        lm=CausalLM(model, tiny_tokenizer), template=Template("{text}{prompt}"), keep=False, how="mean",
        examples=[Example(f"good {i}", "ab"[i % 2]) for i in range(200)], verbalizers={"a": word, "b": " bad"},
    )  # fmt: skip
    prompts = ["", " It was", " So"]
    task.score(prompts[:1], [0])  # what is proved at the first call is no part of it
    with Peak() as peak:
        task.score(prompts)
    said = footprint([(task.lm, Reading(task.lengths(), False, task.normalised))])
    needed = 400 * 20_000 * 4  # one copy
    if word == " good":
        assert peak.most < needed / 4
        assert said.batch < needed / 4
    else:
        assert peak.most < 2 * said.batch < 4 * peak.most
        assert needed < peak.most < 4 * needed  # not of all contexts at once, which were 600


def examples(tiny: Tiny, words: int) -> list[Example]:
    return [Example(f"The film {'was ' * words}{word}.", word) for word in ("bad", "good") for _ in range(4)]


@pytest.mark.parametrize("room", [0, 1 << 30])
def test_a_loss_of_long_texts_takes_few_at_a_time_and_is_the_plain_one(
    tiny_causal: Tiny, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(kept, "room", lambda _: Room(room))
    lm = CausalLM(make_tiny("llama", max_position_embeddings=4096), tiny_causal.tokenizer)
    long = lm.model
    task = Classification(
        lm=lm, examples=examples(tiny_causal, 900), template=Template("{text}{prompt}"), verbalizers=WORDS, keep=False
    )
    objective = task.objective()
    vectors = objective.table[[20, 21, 22]][None].clone().requires_grad_(True)
    widths: list[int] = []
    handle = long.model.register_forward_pre_hook(
        lambda _, args, kwargs: widths.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    loss = objective.loss(vectors)
    handle.remove()
    assert max(widths) <= 16
    (slope,) = torch.autograd.grad(loss.sum(), vectors)
    rows = []
    for example in task.examples:
        ids = tiny_causal.tokenizer(example.text)["input_ids"]
        embedded = long.get_input_embeddings()(torch.tensor([ids]))
        logits = long(inputs_embeds=torch.cat([embedded, vectors], 1)).logits[0, -1]
        choices = [tiny_causal.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in WORDS.values()]
        rows.append(-logits[choices].log_softmax(-1)[list(WORDS).index(example.label)])
    plain = torch.stack(rows).mean()
    torch.testing.assert_close(loss[0], plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(slope, torch.autograd.grad(plain, vectors)[0], atol=1e-4, rtol=1e-3)


@pytest.fixture
def recipe(tiny_folder: Path, tmp_path: Path) -> Recipe:
    things = [f"The {thing} in the {place}" for thing in ("film", "food", "book", "team") for place in ("sun", "sea")]
    with (tmp_path / "texts.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(
            [f"{thing} was {word}" + ", she said" * i, word] for i, thing in enumerate(things) for word in WORDS
        )
    model = str(tiny_folder)
    return Recipe.of({
        "task": "classify", "train": str(tmp_path / "texts.csv"), "text": "text", "label": "label", "length": 2,
        "evaluations": 64, "threads": 1, "policy_model": model, "task_model": model, "judge": model, "method": "pin",
        "template": "{text}{prompt}", "validate_every": 2, "save_every": 1,
    })  # fmt: skip


def test_a_run_whose_texts_do_not_fit_is_resumed_to_the_same_bits(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(200 * TOKEN_BYTES)
    monkeypatch.setattr(kept, "room", lambda _: room)
    start(recipe, tmp_path / "whole")
    execute(tmp_path / "whole", recipe)
    start(recipe, tmp_path / "parts")
    for last in (2, 4):

        def stop(step: Step, last: int = last) -> None:
            if step.number == last:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            execute(tmp_path / "parts", begun(tmp_path / "parts"), callbacks=(stop,))
    execute(tmp_path / "parts", begun(tmp_path / "parts"))
    gc.collect()
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")


def test_grips_remembers_few_paraphrases_and_finds_the_same(tiny_causal: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(most: int) -> Iterator[list[str]]:
        monkeypatch.setattr(grips, "_PHRASES", most)
        search = GrIPS(
            policy=PolicyLM(*tiny_causal, spaced=False), phrase="Is the film good or bad, old or new?", seed=1
        )
        for _ in range(6):
            proposal = search.ask()
            search.tell(proposal, torch.tensor([float(len(p)) for p in proposal.prompts]))
            assert len(search._paraphrases) <= most
            yield proposal.prompts

    assert list(run(2)) == list(run(1000))


def test_a_tree_remembers_the_latest_blocked_prompts_and_a_restored_one_the_same(tiny_causal: Tiny) -> None:
    policy = PolicyLM(*tiny_causal, spaced=False)
    tree = PrefixTree(policy=policy, top_k=20, blocked_kept=5)
    blocked = [(first, int(tree.actions((first,)).ids[0])) for first in range(300, 330)]
    for prompt in blocked:
        tree.block(prompt)
        assert sum(map(len, tree._blocked.values())) == len(tree._blocked_log) <= 10
        assert prompt[1] not in tree.actions(prompt[:1]).ids
    again = PrefixTree(policy=policy, top_k=20, blocked_kept=5)
    again.load_state_dict(tree.state_dict())
    for prompt in blocked:
        assert torch.equal(tree.actions(prompt[:1]).ids, again.actions(prompt[:1]).ids)
    assert [p for p in blocked if p[1] not in tree.actions(p[:1]).ids] == blocked[-len(tree._blocked_log) :]


def test_the_tokens_of_a_long_text_are_not_remembered(tiny_causal: Tiny) -> None:
    def sizes() -> list[int]:
        return [module._remembered.cache_info().currsize for module in (answers, tokens)]

    short = answers.answers(tiny_causal.tokenizer, (" good", " bad"), how="sum", after=" It was.")
    before = sizes()
    lasting = " It was." + " The sea is warm." * 200
    long = answers.answers(tiny_causal.tokenizer, (" good", " bad"), how="sum", after=lasting)
    assert sizes() == before
    assert [a.ids[: len(b.ids)] for a, b in zip(long, short, strict=True)] == [b.ids for b in short]


def test_a_masked_model_that_computes_the_vocabulary_at_every_token_is_given_few_of_them(
    tiny_masked: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = MaskedLM(*tiny_masked)
    contexts = [f"The film was {'very ' * i}<mask>." for i in range(12)]
    before = lm.score(contexts, [" good", " bad"])
    monkeypatch.setattr(masked, "_LOGITS", 60 * len(tiny_masked.model.get_input_embeddings().weight))
    lm._short = False
    sizes: list[int] = []
    handle = lm.model.register_forward_hook(lambda _, __, output: sizes.append(output.logits.shape[:2].numel()))
    found = lm.score(contexts, [" good", " bad"])
    handle.remove()
    assert len(sizes) > 1
    assert max(sizes) <= 60
    torch.testing.assert_close(found.softmax(-1), before.softmax(-1), atol=1e-5, rtol=1e-4)


def test_continuations_grow_side_by_side_as_far_as_their_keys_and_values_have_room(
    tiny_causal: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = CausalLM(*tiny_causal)
    contexts = ["The film", "It is", "We went"]
    before = lm.generate(contexts, samples=2, longest=8)
    monkeypatch.setattr(sampling, "_BYTES", 40 * TOKEN_BYTES)
    rows: list[int] = []
    handle = lm.model.model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    assert lm.generate(contexts, samples=2, longest=8) == before
    handle.remove()
    assert max(rows) == 2  # one context at a time


@pytest.mark.parametrize(("contexts", "words", "longest"), [(3, 400, 12), (40, 20, 12)])
def test_the_memory_that_is_said_of_rewriting_is_what_its_tensors_take(
    tiny_tokenizer: Any, contexts: int, words: int, longest: int
) -> None:
    lm = CausalLM(make_tiny("llama", num_hidden_layers=8, max_position_embeddings=4096), tiny_tokenizer)
    texts = [f"The film {'was ' * words}{i}" for i in range(contexts)]
    lm.generate(texts[:1], longest=longest, stop=())  # what is proved at the first call is no part of it
    lengths = [len(ids) for ids in lm.encode(texts)]
    with Peak() as peak:
        lm.generate(texts, samples=4, longest=longest, stop=())
    said = footprint([], [(lm, Writing(lengths, [longest] * contexts, 4))]).batch
    assert peak.most < 2 * said < 4 * peak.most
    assert footprint([], [(object(), Writing(lengths, [longest] * contexts, 4))]).batch == 0  # not on this machine


MEASURED = """
import psutil, torch
from hardprompt.data.tables import Row
from hardprompt.tasks.classify.task import ClassifyTask
from hardprompt.lms.causal import CausalLM
from hardprompt.tasks.template import Template
from tests.conftest import make_tiny, make_tokenizer

torch.set_num_threads(1)
model = make_tiny(
    "llama", hidden_size=128, num_hidden_layers=12, num_key_value_heads=4, num_attention_heads=4,
    max_position_embeddings=4096,
)
lm = CausalLM(model, make_tokenizer())
lm.packed.allows("tree", 2048)
rows = [Row(f"The film {'was ' * (1000 + i)}{word}.", word) for i in range(6) for word in ("bad", "good")]
said, task = [], None
task = ClassifyTask(
    lm=lm, train=rows, validation=rows[:4], test=rows[:2], template=Template("{text}{prompt}"),
    verbalizers={"bad": " bad", "good": " good"}, precision="float32",
    notify=lambda note: said.append((note, psutil.Process().memory_info().rss)),
)
task.reward([" It was", " So"])
task.validate([" It was"])
task.report(" It was")
((note, before),) = said
print(note)
needed = task._footprint()
# Not getrusage: what that says includes the process that began this one.
(highest,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(needed.kept + needed.batch, int(highest.split()[1]) * 1024 - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the highest memory of a process")
def test_the_memory_that_is_said_is_what_a_process_takes_within_a_factor_of_two() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    note, numbers = done.stdout.splitlines()
    said, taken = map(int, numbers.split())
    assert re.fullmatch(
        r"about \d+\.\d GB of memory: models \d+\.\d, keys and values 0\.\d of 2\.\d, a batch 0\.\d", note
    )
    assert 100e6 < taken < 2 * said < 4 * taken


def test_more_memory_than_there_is_is_said_with_what_to_lower(caplog: pytest.LogCaptureFixture) -> None:
    Footprint(models=10**9, kept=2 * 10**9, room=2**31, batch=10**9, available=3 * 10**9).warn()
    assert not caplog.messages
    Footprint(models=10**9, kept=2 * 10**9, room=2**31, batch=10**9, available=2 * 10**9).warn()
    (warning,) = caplog.messages
    assert "3.0 GB more" in warning
    assert "2.0 GB are available" in warning
    assert "--max-text-tokens" in warning
