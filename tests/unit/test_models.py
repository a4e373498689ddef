"""Models by name: what a store hands out again, what is probed once, and models of a user's own."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hardprompt.errors import InputError
from hardprompt.lms import TaskLM, packing
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.image_text import ImageText, load_image_text
from hardprompt.lms.load import load_causal, load_task_lm
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.models import Models
from hardprompt.lms.policy import PolicyLM
from hardprompt.lms.proof import prove
from hardprompt.lms.roles import ROLES, check_name

OWN = """
import torch


class Scorer:
    blank, context_length, tokens_run = "", None, 0

    def score(self, contexts, choices, *, after="", how="sum"):
        return torch.tensor([[float(len(choice)) for choice in choices] for _ in contexts])

    def prepare(self, contexts):
        pass

    def count(self, text):
        return len(text.split())

    def truncate(self, text, tokens):
        return " ".join(text.split()[:tokens])


class Tower:
    name, stand_in, text_limit, tokenizer, embedding = "mine", None, 10, None, None

    def count(self, text):
        return len(text.split())

    images = texts = ids = padding = read = count


def broken():
    raise RuntimeError("not today\\nnor tomorrow")


def mute():
    print("loading")
    return object()
"""


@pytest.fixture
def masked_folder(tiny_masked: Any, tmp_path: Path) -> str:
    tiny_masked.model.save_pretrained(tmp_path)
    tiny_masked.tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_models.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # so that what is added to it is taken back
    yield
    sys.modules.pop("my_models", None)


def test_a_store_loads_once_and_hands_out_the_same_weights_with_nothing_kept(tiny_folder: Path) -> None:
    models, name = Models(keep=True), str(tiny_folder)
    first = models.causal(name)
    first.prepare(["The film was good."])
    again, task = models.causal(name), models.task(name)
    assert isinstance(task, CausalLM)
    assert first is not again
    assert first.model is again.model is task.model
    assert first.tokenizer is again.tokenizer is task.tokenizer
    assert again.tokens_run == task.tokens_run == 0
    task.prepare(["The film was good."])
    assert task.tokens_run == first.tokens_run > 0  # run again: keys and values end with who kept them


def test_a_masked_model_is_shared_likewise(masked_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models(keep=True)
    first = models.task(masked_folder)
    monkeypatch.setattr(MaskedLM, "_probe_head", None)  # neither probe is repeated
    monkeypatch.setattr(MaskedLM, "_probe_lengths", None)
    again = models.task(masked_folder)
    assert isinstance(first, MaskedLM)
    assert isinstance(again, MaskedLM)
    assert first is not again
    assert first.model is again.model
    contexts = ["The film was<mask>.", "It is<mask>"]
    assert torch.equal(first.score(contexts, [" good", " bad"]), again.score(contexts, [" good", " bad"]))
    with pytest.raises(InputError, match=r"is a masked language model \(roberta.*a causal language model is needed"):
        models.causal(masked_folder)


def test_without_keeping_each_call_loads_anew(tiny_folder: Path) -> None:
    models = Models()
    assert models.causal(str(tiny_folder)).model is not models.causal(str(tiny_folder)).model


def test_a_model_is_proved_once_in_each_precision(tiny_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, proved = tiny_of("llama"), []

    def counted(model: Any, *, like: Any = None) -> Any:
        proved.append(model.dtype)
        return prove(model, like=like)

    monkeypatch.setattr(packing, "prove", counted)
    lm = CausalLM(*tiny)
    assert proved == [torch.float32]
    policy = PolicyLM(lm.model, lm.tokenizer, probed=lm.packed)
    assert policy.packed.allows("tree", 8)
    assert lm.over(lm.model).packed.allows("tree", 8)
    assert proved == [torch.float32]
    half = lm.over(copy.deepcopy(lm.model).to(torch.bfloat16))
    assert half.packed.allows("tree", 8)
    assert proved == [torch.float32, torch.bfloat16]
    before = lm.model.config._attn_implementation
    try:
        lm.model.set_attn_implementation("eager")
        lm.over(lm.model)
    finally:
        lm.model.set_attn_implementation(before)
    assert len(proved) == 3


@pytest.mark.usefixtures("own")
def test_a_task_model_of_ones_own_is_called_without_arguments() -> None:
    check_name("my_models:Scorer", ROLES["task model"])
    assert "my_models" not in sys.modules  # a check runs nothing of the user's
    lm = load_task_lm("my_models:Scorer")
    assert isinstance(lm, TaskLM)
    assert lm.score(["a"], ["bc", "d"]).tolist() == [[2.0, 1.0]]
    models = Models(keep=True)
    assert models.task("my_models:Scorer") is models.task("my_models:Scorer")
    assert Models().task("my_models:Scorer") is not lm


@pytest.mark.usefixtures("own")
def test_an_image_model_of_ones_own_is_called_without_arguments() -> None:
    tower = load_image_text("my_models:Tower")
    assert isinstance(tower, ImageText)
    assert tower.name == "mine"
    with pytest.raises(InputError, match=r"image model 'my_models:mute' makes a object, no ImageText: it lacks name, "):
        load_image_text("my_models:mute")


@pytest.mark.usefixtures("own")
def test_what_is_no_task_model_is_said_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for name, message in (
        ("my_models:mute", r"makes a object, no TaskLM: it lacks blank, context_length, tokens_run, score, prepare"),
        ("my_models:broken", r"could not be built: RuntimeError: not today \(my_models.py, line \d+\)\."),
        ("my_models:Scoerr", r"Did you mean 'Scorer'\?"),
        ("my_models.inner:Scorer", "could not be imported"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load_task_lm(name)
        assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""  # standard output is for results
    with pytest.raises(
        InputError, match="'my_models:Scorer' is your own; here a causal language model of a library is needed"
    ):
        load_causal("my_models:Scorer")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["embeded:smollm2", "embedded:smolm2", "my_modls:Scorer", ":Scorer", "my-models:7b"])
def test_a_name_without_a_module_is_a_mistyped_one(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown (embedded )?model"):
        check_name(name, ROLES["task model"])


def test_the_protocol_is_had_without_torch() -> None:
    code = "import sys, hardprompt.lms, hardprompt.lms.image_text; print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
