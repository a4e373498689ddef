"""A model that cannot have a role is refused for it, by its name or its configuration, before anything is loaded."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    CLIPConfig,
    LlamaConfig,
    T5Config,
)  # fmt: skip

from hardprompt.cli.main import main
from hardprompt.errors import InputError
from hardprompt.lms.load import check_role, check_there, kinds_of
from hardprompt.lms.models import Models
from hardprompt.lms.roles import INSIDE, KINDS, ROLES, check_name
from hardprompt.tasks import TASKS, Recipe, find
from hardprompt.tasks.settings import roles_of
from tests.conftest import make_tiny

GIVEN: dict[str, dict[str, Any]] = {  # what each task needs beside
    "classify": {"train": "data.csv", "text": "text", "label": "label"},
    "restyle": {"texts": "data.csv", "text": "text", "target_examples": "data.csv"},
    "invert": {"images": ("data.csv",)},
    "optimize": {"reward": "builtins:len"},
}
WITH: dict[str, dict[str, Any]] = {  # what belongs to a setting
    "style_model": {"style_label": "a", "target_examples": None},
    "acceptability_model": {"acceptability_label": "a"},
}
FITS: dict[str, set[str]] = {  # said once more, by hand
    "policy_model": {"smollm2", "gemma3"}, "judge": {"smollm2", "gemma3"}, "task_model": {"smollm2", "gemma3"},
    "embedder": {"minilm"}, "image_model": {"conse"}, "style_model": set(), "acceptability_model": set(), "draw": set(),
}  # fmt: skip
PLACES = [(task, setting) for task in TASKS for setting in roles_of(find(task))]


@pytest.fixture
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20)))


def asked(task: str, **models: str) -> Recipe:
    beside = {key: value for setting in models for key, value in WITH.get(setting, {}).items()}
    values = {"task": task, **GIVEN[task], **beside, **models}
    return Recipe.of({key: value for key, value in values.items() if value is not None})


def test_every_setting_and_every_embedded_model_is_tried() -> None:
    assert {setting for _, setting in PLACES} == FITS.keys()
    assert {name.removeprefix("embedded:") for name in INSIDE} == {"smollm2", "gemma3", "minilm", "conse"}
    assert {kind for role in ROLES.values() for kind in role.kinds} == KINDS.keys()


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize(
    ("place", "name"), list(itertools.product(PLACES, INSIDE)), ids=lambda v: v if isinstance(v, str) else "-".join(v)
)
def test_a_model_inside_a_package_is_taken_for_what_it_is(place: tuple[str, str], name: str) -> None:
    task, setting = place
    if name.removeprefix("embedded:") in FITS[setting]:
        assert asked(task, **{setting: name}).values[setting] == name
        return
    with pytest.raises(InputError) as caught:
        asked(task, **{setting: name})
    said = str(caught.value)
    assert said.startswith(f"{setting.replace('_', ' ')} {name!r} is {KINDS[INSIDE[name]]}; ")
    assert "\n" not in said
    valid = said.partition("Valid: ")[2]
    assert {n.removeprefix("embedded:") for n in INSIDE if n in valid} == FITS[setting]


@pytest.mark.usefixtures("_data")
def test_it_is_said_without_torch() -> None:
    words = ["classify", "data.csv", "--text", "text", "--label", "label", "--task-model", "embedded:minilm"]
    code = "import sys; from hardprompt.cli.main import main; print(main(sys.argv[1:]), {'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout == "2 set()\n"
    assert done.stderr.startswith("hardprompt: task model 'embedded:minilm' is a sentence encoder; a causal or masked")


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize("name", ["a" * 300, "./" + "a" * 300, "a" * 300 + ".gguf", "/" + "a/" * 3000])
def test_a_name_that_no_path_can_have_is_one_line(name: str) -> None:
    role, expected = ROLES["task model"], r"^task model '[a/.]{60}…' cannot be looked for \([^\n]+\)\. Valid: "
    for check in (check_name, check_there, check_role, lambda *_: asked("classify", task_model=name)):
        with pytest.raises(InputError, match=expected) as said:
            check(name, role, "task model")
        assert len(str(said.value)) < 300


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize(
    ("setting", "name", "message"),
    [
        ("embedder", "x.gguf", "is a causal language model; a sentence encoder or"),
        ("policy_model", "data.csv", "is a file; name the folder"),
        ("judge", "empty", "is a folder without config.json"),
        ("judge", "list", "its config.json holds no settings"),
        ("judge", "cut", "its config.json is no JSON"),
        ("draw", "list", "is a folder without model_index.json"),
        ("image_model", "", "image model's name is empty"),
    ],
)
def test_what_a_path_says(setting: str, name: str, message: str) -> None:
    Path("x.gguf").write_bytes(b"GGUF")
    for folder, text in (("empty", None), ("list", "[]"), ("cut", '{"model_type": "ll')):
        Path(folder).mkdir()
        if text is not None:
            Path(folder, "config.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        asked("invert" if setting in ("image_model", "draw") else "restyle", **{setting: name})
    assert "\n" not in str(caught.value)


def saved(kind: Any, config: Any, **changes: Any) -> Any:
    """The configuration that a model of that class leaves in its folder."""
    config.update(changes)
    with torch.device("meta"):
        config.architectures = [type(kind.from_config(config)).__name__]
    return config


def llama(**changes: Any) -> Any:
    return LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=50, **changes
    )


def bert(**changes: Any) -> Any:
    return BertConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=50, **changes
    )


def test_a_configuration_says_what_its_model_can_be() -> None:
    for config, kinds in (
        (llama(), {"causal", "classifier"}),  # nothing is said of the head
        (saved(AutoModelForCausalLM, llama()), {"causal"}),
        (saved(AutoModelForSequenceClassification, llama()), {"classifier"}),
        (saved(AutoModelForSequenceClassification, llama(), tie_word_embeddings=True), {"causal", "classifier"}),
        (saved(AutoModel, llama()), set()),
        (saved(AutoModelForMaskedLM, bert()), {"masked", "encoder"}),
        (saved(AutoModelForSequenceClassification, bert()), {"classifier", "encoder"}),
        (saved(AutoModel, bert()), {"encoder"}),
        (saved(AutoModelForCausalLM, bert(), is_decoder=True), {"causal"}),
        (bert(architectures=["MyBert"]), {"masked", "encoder", "classifier"}),
        (CLIPConfig(), {"towers"}),
        (T5Config(), {"classifier"}),
    ):
        assert kinds_of(config) == kinds, config.architectures


def test_a_folder_is_refused_by_its_configuration_alone(tmp_path: Path) -> None:
    """There are no weights in it."""
    saved(AutoModelForSequenceClassification, llama()).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"^judge '.*' is a classifier of texts \(llama, saved as LlamaForSeq"):
        check_role(str(tmp_path), ROLES["causal model"], "judge")
    check_role(str(tmp_path), ROLES["classifier"], "style model")


def test_a_model_that_is_not_there_is_left_to_whoever_loads_it() -> None:
    check_role("no/such-model", ROLES["causal model"], "judge")


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize("how", ["--dry-run", "--json"])
def test_no_model_is_loaded_where_one_cannot_have_its_role(
    how: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The judge comes last: its folder was found out after the whole search."""
    make_tiny("roberta").save_pretrained("roberta")
    monkeypatch.setattr(Models, "causal", None)
    flags = {"text": "text", "label": "label", "policy-model": tiny_folder, "task-model": tiny_folder}
    words = [f"--{name}={value}" for name, value in {**flags, "judge": "roberta", "out": tmp_path / "run"}.items()]
    assert main(["classify", "data.csv", *words, how]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = [line for line in said.err.splitlines() if line.startswith("hardprompt: ")]
    assert re.match(r"hardprompt: judge '.*roberta' is a masked language model \(roberta, saved as RobertaForM", line)
    assert not (tmp_path / "run").exists()
    assert json.loads(Path("roberta/config.json").read_text())["architectures"] == ["RobertaForMaskedLM"]
