"""The promises that every kind of task model keeps."""

import copy
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from transformers import LlamaForSequenceClassification

from hardprompt import testing
from hardprompt.data.tables import Example
from hardprompt.errors import InputError
from hardprompt.lms import hub, placing
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal, load_task_lm, resolve
from hardprompt.lms.masked import MaskedLM
from hardprompt.lms.placing import search_copy
from hardprompt.lms.roles import ROLES
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template


@pytest.fixture(params=["causal", "masked"])
def lm(request: pytest.FixtureRequest, tiny_causal: Any, tiny_masked: Any) -> Any:
    return CausalLM(*tiny_causal) if request.param == "causal" else MaskedLM(*tiny_masked)


def contexts(lm: Any, *texts: str) -> list[str]:
    return [text + lm.blank for text in texts]


@pytest.mark.parametrize("check", testing.LANGUAGE_MODEL_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_promises_of_a_language_model(lm: Any, check: Any) -> None:
    check(lm)


def test_it_makes_a_classifier(lm: Any) -> None:
    template = Template("{text}{prompt}{mask}" if lm.blank else "{text}{prompt}")
    task = Classification(
        lm=lm, examples=[Example("The film was good.", "a"), Example("The food was cold.", "b")], template=template,
        verbalizers={"a": " good", "b": " bad"},
    )  # fmt: skip
    p = task.probabilities([" It was", " The answer is"])
    assert p.shape == (2, 2, 2)
    torch.testing.assert_close(p.sum(-1), torch.ones(2, 2, dtype=torch.float64))
    assert lm.tokens_run > 0


def test_masked_choices_of_several_tokens_are_filled_from_left_to_right(tiny_masked: Any) -> None:
    model, tokenizer = tiny_masked
    lm = MaskedLM(model, tokenizer)
    choice = " not good"
    first, second = tokenizer(choice, add_special_tokens=False)["input_ids"]
    ids = tokenizer("The film was<mask>.")["input_ids"]
    at = ids.index(tokenizer.mask_token_id)
    with torch.no_grad():
        both = [*ids[:at], tokenizer.mask_token_id, *ids[at:]]
        one = model(torch.tensor([both])).logits[0, at].log_softmax(-1)[first]
        both[at] = first
        two = model(torch.tensor([both])).logits[0, at + 1].log_softmax(-1)[second]
    torch.testing.assert_close(lm.score(["The film was<mask>."], [choice, " bad"])[0, 0], one + two)


def test_a_masked_context_needs_exactly_one_mask(tiny_masked: Any) -> None:
    lm = MaskedLM(*tiny_masked)
    with pytest.raises(InputError, match="has 0 masks"):
        lm.score(["no mask here"], [" good"])


def test_folders_are_loaded_by_what_they_are(tiny_folder: Path, tiny_masked: Any, tmp_path: Path) -> None:
    assert isinstance(load_task_lm(str(tiny_folder)), CausalLM)
    tiny_masked.model.save_pretrained(tmp_path)
    tiny_masked.tokenizer.save_pretrained(tmp_path)
    masked = load_task_lm(str(tmp_path))
    assert isinstance(masked, MaskedLM)
    torch.testing.assert_close(
        masked.score(["It is<mask>"], [" good", " bad"]),
        MaskedLM(*tiny_masked).score(["It is<mask>"], [" good", " bad"]),
    )


def test_a_folder_with_pickled_weights_only_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04N.")  # a pickle
    with pytest.raises(InputError, match="could not be loaded"):
        load_causal(str(tmp_path))


def _say_nothing_of_the_class(folder: Path) -> None:
    """As configurations are that somebody wrote by hand."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None}))


def test_a_checkpoint_without_its_head_is_refused_and_the_weight_named(tiny_causal: Any, tmp_path: Path) -> None:
    config = copy.deepcopy(tiny_causal.model.config)
    for tied in (False, True):
        config.tie_word_embeddings = tied
        folder = tmp_path / str(tied)
        LlamaForSequenceClassification(config).save_pretrained(folder)
        tiny_causal.tokenizer.save_pretrained(folder)
        if tied:  # the head is the input embedding, which is there
            assert load_causal(str(folder))
        else:
            with pytest.raises(InputError, match=r"is a classifier of texts \(llama, saved as LlamaForSequenceClass"):
                load_causal(str(folder))
            _say_nothing_of_the_class(folder)
            with pytest.raises(InputError, match=r"has no weights for lm_head.weight \(1 missing\)"):
                load_causal(str(folder))


def test_a_masked_checkpoint_without_its_head_is_refused(tiny_masked: Any, tmp_path: Path) -> None:
    tiny_masked.model.base_model.save_pretrained(tmp_path)
    tiny_masked.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"is a sentence encoder \(roberta, saved as RobertaModel\)"):
        load_task_lm(str(tmp_path))
    _say_nothing_of_the_class(tmp_path)
    with pytest.raises(InputError, match=r"has no weights for lm_head\."):
        load_task_lm(str(tmp_path))


def test_without_the_hub_an_earlier_download_is_used(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "answers", lambda: False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"'some/model' could not be loaded: it is not on this machine, and https:.*be"
    ):
        load_causal("some/model")
    kept = tmp_path / "models--some--model"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (kept / "snapshots").mkdir()
    (kept / "snapshots" / ("0" * 40)).symlink_to(tiny_folder)
    model, tokenizer = load_causal("some/model")
    assert tokenizer("The film")["input_ids"]
    assert torch.equal(model.get_output_embeddings().weight, load_causal(str(tiny_folder))[0].lm_head.weight)


@pytest.mark.parametrize(
    ("resolves", "proxies", "answers"), [(True, {}, True), (False, {}, False), (False, "https", True)]
)
def test_the_hub_answers_where_its_name_can_be_resolved_by_us_or_a_proxy(
    monkeypatch: pytest.MonkeyPatch, resolves: bool, proxies: dict[str, str], answers: bool
) -> None:
    def lookup(host: str, _port: int) -> None:
        assert host == "huggingface.co"
        if not resolves:
            raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", lookup)
    monkeypatch.setattr("urllib.request.getproxies", lambda: dict.fromkeys(proxies and [proxies], "http://proxy"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert hub.answers.__wrapped__() is answers


def test_a_mistyped_embedded_model_is_told_from_a_hub_name() -> None:
    with pytest.raises(InputError, match="Did you mean 'embedded:smollm2'"):
        resolve("embeded:smollm2", ROLES["causal model"])


def test_a_file_that_is_not_gguf_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDPROMPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "fake.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="is not a GGUF file"):
        resolve(str(tmp_path / "fake.gguf"), ROLES["causal model"])


def test_a_search_copy_is_in_half_precision_and_leaves_the_original(lm: Any) -> None:
    texts = contexts(lm, "The film was", "The food in the house by the sea was")
    before = lm.score(texts, [" good", " bad"])
    copy, name = search_copy(lm, "bfloat16")
    assert name == "bfloat16"
    assert {p.dtype for p in copy.model.parameters()} == {torch.bfloat16}
    for a, b in zip(copy.model.buffers(), lm.model.buffers(), strict=True):
        assert torch.equal(a, b)  # the angles of positions above all
    assert {p.dtype for p in lm.model.parameters()} == {torch.float32}
    assert torch.equal(lm.score(texts, [" good", " bad"]), before)
    half = copy.score(texts, [" good", " bad"])
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.softmax(-1), before.softmax(-1), atol=0.05, rtol=0.0)


def test_auto_leaves_a_small_model_in_float32_and_halves_a_large_one_where_the_device_can(
    lm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert search_copy(lm, "auto") == (lm, "float32")
    monkeypatch.setattr(placing, "_HALF_FROM", 1)
    monkeypatch.setattr(placing, "half", lambda _: None)
    assert search_copy(lm, "auto") == (lm, "float32")
    monkeypatch.setattr(placing, "half", lambda _: torch.bfloat16)
    assert search_copy(lm, "auto")[1] == "bfloat16"


def test_a_model_that_is_not_local_is_searched_as_it_is() -> None:
    remote = object()
    assert search_copy(remote, "auto") == (remote, "float32")
