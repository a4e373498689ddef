"""The recipes are of one form, name what exists, and claim what the paper printed."""

import dataclasses
import importlib
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardprompt import optimizers
from hardprompt.data.named import LABEL, NAMED, TEXT
from hardprompt.tasks import find
from hardprompt.tasks.checks import faults

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
NEEDED = {"title", "source", "task", "settings", "data", "seeds", "methods", "models", "claims"}
METHODS = (
    "manual", "instruction", "demonstrations", "best-of-n", "random", "grips", "autoprompt", "gcg", "pez",
    "soft-prompt", "bbt", "rlprompt", "rlprompt-fluency", "rlprompt-rb", "rlprompt-rb-fluency", "pin",
    "pin-no-fluency", "pin-prior",
)  # fmt: skip
OTHERS = {"named", "instruction"}  # what a data set may have without its being a setting of the command

# The last column of PIN's Table 1, in points. That of In-Context Demonstration is left out: the printed 77.3 is not
# the mean of the printed row, which is 75.2.
MEANS = {
    "Manual Prompt": 67.5, "Instructions": 66.6, "Soft Prompt Tuning": 75.4, "GrIPS": 72.0, "AutoPrompt": 64.9,
    "PEZ": 59.7, "RLPrompt": 81.6, "PIN": 82.8,
}  # fmt: skip


class OneOfEach(yaml.SafeLoader):
    """Refuses a key that stands twice, of which the last would win in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice in {node.start_mark}: {keys}"
        return super().construct_mapping(node, deep=deep)


def load(name: str) -> dict[str, Any]:
    recipe = yaml.load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"), OneOfEach)
    assert isinstance(recipe, dict)
    return recipe


@pytest.fixture(params=[path.stem for path in RECIPES])
def recipe(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def cells(recipe: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings of every combination of models, data set and method, overlaid in this order."""
    for models in recipe["models"].values():
        for name, data in recipe["data"].items():
            for method in recipe["methods"].values():
                own = {key: value for key, value in models.items() if key != "data"}
                over = models.get("data", {}).get(name, {})
                yield name, {**recipe["settings"], **data, **own, **over, **method}


def test_there_is_one_for_each_result() -> None:
    assert [path.stem for path in RECIPES] == [
        "few-shot", "pin-figure1", "pin-figure3", "pin-table1", "pin-table2", "pin-table3",
    ]  # fmt: skip


def test_the_form_is_kept(recipe: dict[str, Any]) -> None:
    assert set(recipe) - {"splits"} == NEEDED
    assert all(isinstance(recipe[key], str) and recipe[key] for key in ("title", "source", "task"))
    for key in ("data", "methods", "models"):
        assert recipe[key]
        assert all(isinstance(name, str) and isinstance(value, dict) for name, value in recipe[key].items())
    assert recipe["seeds"] == list(range(len(recipe["seeds"])))
    assert all(re.fullmatch(r"16-\d+", split) for split in recipe.get("splits", []))
    for method in recipe["methods"].values():
        assert method["method"] in METHODS
    for models in recipe["models"].values():
        assert set(models.get("data", {})) <= set(recipe["data"])


def test_every_setting_is_one_of_the_command(recipe: dict[str, Any]) -> None:
    settings = find(recipe["task"])
    others = OTHERS - {field.name for field in dataclasses.fields(settings)}
    for name, values in cells(recipe):
        given = {key: value for key, value in values.items() if key not in others}
        if recipe["task"] == "classify":
            named = NAMED[values["named"]]
            assert values["named"] == name
            assert set(values.get("verbalizers", named.verbalizers)) == set(named.classes)
            given |= {"train": "train.tsv", "text": TEXT, "label": LABEL}
        config = settings.from_dict(given)  # names an unknown or missing one
        assert faults(settings, vars(config)) == ([], [])
        config.check_task()


def test_every_setting_of_a_method_is_one_of_its_own(recipe: dict[str, Any]) -> None:
    for method in recipe["methods"].values():
        found = optimizers.methods().get(method["method"])
        if found is not None:
            assert set(method.get("settings", {})) <= set(found.accepted())


def test_claims_are_of_its_methods_and_data(recipe: dict[str, Any]) -> None:
    assert set(recipe["claims"]) <= set(recipe["methods"])
    for claimed in recipe["claims"].values():
        assert set(claimed) <= set(recipe["data"])
        assert all(isinstance(value, float) and 0 <= value <= 1 for value in claimed.values())


def test_every_file_is_in_the_folder_of_data(recipe: dict[str, Any]) -> None:
    values = [value for data in recipe["data"].values() for value in data.values()]
    paths = [one for value in values for one in (value if isinstance(value, list) else [value]) if "{folder}" in one]
    assert bool(paths) == (recipe["task"] != "classify")
    assert all(path.startswith("{folder}/") for path in paths)
    if SHARED.is_dir():
        assert [path for path in paths if not Path(path.replace("{folder}", str(SHARED))).is_file()] == []


@pytest.mark.parametrize("method", MEANS)
def test_table_1_has_the_means_that_were_printed(method: str) -> None:
    recipe = load("pin-table1")
    claimed = recipe["claims"][method]
    assert set(claimed) == set(recipe["data"])
    assert 100 * statistics.fmean(claimed.values()) == pytest.approx(MEANS[method], abs=0.05 + 1e-9)


def test_table_1_is_the_papers_experiment() -> None:
    recipe = load("pin-table1")
    assert set(recipe["methods"]) == set(recipe["claims"]) == {*MEANS, "In-Context Demonstration"}
    assert (len(recipe["data"]), len(recipe["splits"]), len(recipe["seeds"])) == (7, 5, 3)
    assert recipe["claims"]["PIN"] == {
        "sst-2": 0.920, "yelp-2": 0.950, "mr": 0.872, "cr": 0.883, "agnews": 0.826, "yahoo": 0.495, "subj": 0.851,
    }  # fmt: skip
    paper = recipe["models"]["paper"]
    for name in recipe["data"]:
        assert paper.get("data", {}).get(name, paper)["template"] == NAMED[name].template


@pytest.mark.parametrize("name", ["pin-table1", "pin-table3", "pin-figure1", "pin-figure3", "pin-table2"])
def test_the_first_models_are_the_papers(name: str) -> None:
    first, *others = load(name)["models"]
    assert first == "paper"
    assert others[-1] == "embedded"


def test_our_own_comparison_has_every_method() -> None:
    recipe = load("few-shot")
    assert recipe["methods"] == {name: {"method": name} for name in METHODS}
    assert next(iter(recipe["models"])) == "embedded"


@pytest.mark.parametrize("name", ["few-shot", "pin-table1"])
def test_the_embedded_model_is_asked_as_in_the_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    results = importlib.import_module("results")
    asked = load(name)["models"]["embedded"]["data"]
    for key, task in results.SETS.items():
        assert asked[key] == {
            "template": task.template, "verbalizers": task.verbalizers, "manual": task.manual,
            "instruction": task.instruction,
        }  # fmt: skip
