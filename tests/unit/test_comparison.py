"""What a comparison consists of, how its cells run, and what is left when some fail."""

import dataclasses
import shutil
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardprompt.compare import cells as parts
from hardprompt.compare import folder, report
from hardprompt.compare.plan import Cell, Plan
from hardprompt.errors import InputError
from hardprompt.tasks.classify.splits import read_splits

TEXTS = [
    ("The film was great and the music was good", "good"), ("It was a great day at the sea", "good"),
    ("A good story, and the people were kind", "good"), ("The food was good and the room was clean", "good"),
    ("The film was bad and the food was cold", "bad"), ("It was a bad day and we had no time", "bad"),
    ("The service was slow and the room was cold", "bad"), ("A bad book, and the story was not new", "bad"),
]  # fmt: skip


def write_data(root: Path) -> Path:
    """Two splits of a data set in the layout of the published ones."""
    for split, rows in (("16-1", TEXTS[:2] + TEXTS[4:6]), ("16-2", TEXTS[2:4] + TEXTS[6:])):
        where = root / "data" / "toy" / split
        where.mkdir(parents=True)
        lines = "".join(f"{text}\t{label}\n" for text, label in rows)
        (where / "train.tsv").write_text(f"text\tlabel\n{lines}")
    for name, end in (("dev", "."), ("test", "!")):
        lines = "".join(f"{text}{end}\t{label}\n" for text, label in TEXTS)
        (root / "data" / "toy" / f"{name}.tsv").write_text(f"text\tlabel\n{lines}")
    return root / "data"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of the data."""
    return write_data(tmp_path)


def plan(where: Path, tiny: Path, /, **changes: Any) -> Plan:
    values = {
        "task": "classify",
        "title": "toys",
        "folder": str(where),
        "settings": {
            "text": "text", "label": "label", "template": "{text}{prompt}", "length": 2, "evaluations": 16,
            "verbalizers": {"good": " great", "bad": " bad"}, "threads": 1, "judge": str(tiny),
        },
        "data": {
            "toy": {
                "train": "{folder}/toy/{split}/train.tsv", "validation": "{folder}/toy/dev.tsv",
                "test": "{folder}/toy/test.tsv",
            },
        },
        "splits": ["16-1", "16-2"],
        "seeds": [0, 1],
        "methods": {"hand": {"method": "manual"}, "chance": {"method": "random"}},
        "models": {"tiny": {"policy_model": str(tiny), "task_model": str(tiny)}},
        **changes,
    }  # fmt: skip
    return Plan.from_dict(values)


def test_a_cell_is_made_for_every_method_data_set_split_and_seed_that_differs(
    data: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    found = plan(data, tiny_folder).cells(tmp_path / "out")
    assert [(c.data, c.split, c.method, c.seed) for c in found] == [
        ("toy", "", "hand", 0),  # the same whatever the split and the seed
        ("toy", "16-1", "chance", 0),
        ("toy", "16-1", "chance", 1),
        ("toy", "16-2", "chance", 0),
        ("toy", "16-2", "chance", 1),
    ]
    assert len({c.folder for c in found}) == len(found)
    assert found[1].recipe.files[0] == f"{data}/toy/16-1/train.tsv"
    assert found[1].recipe.values["method"] == "random"


def test_settings_are_laid_over_each_other_from_the_general_to_the_special(data: Path, tiny_folder: Path) -> None:
    made = plan(
        data, tiny_folder,
        methods={
            "chance": {"method": "random", "length": 7, "settings": {"proposals": 3}}, "other": {"method": "random"},
        },
        models={"tiny": {"policy_model": str(tiny_folder), "length": 5, "data": {"toy": {"evaluations": 9}}}},
    )  # fmt: skip
    chance, other = (cell.recipe.values for cell in made.cells(data / "out")[:2])
    assert (chance["length"], chance["evaluations"], chance["settings"]) == (7, 9, {"proposals": 3})
    assert (other["length"], other["settings"]) == (5, {})
    narrowed = made.narrowed(settings={"evaluations": 4}, seeds=[5])
    assert {c.recipe.values["evaluations"] for c in narrowed.cells(data / "out")} == {4}, "what is typed holds for all"
    assert {c.seed for c in narrowed.cells(data / "out")} == {5}


def test_every_seed_is_tested_on_the_same_texts(data: Path, tiny_folder: Path) -> None:
    made = plan(data, tiny_folder, data={"toy": {"train": "{folder}/toy/test.tsv"}}, splits=[], seeds=[3, 4])
    cells = [cell for cell in made.cells(data / "out") if cell.method == "chance"]
    assert [cell.recipe.values["seed"] for cell in cells] == [3, 4]
    names = signature(read_splits).parameters
    given = [{name: value for name, value in cell.recipe.values.items() if name in names} for cell in cells]
    tests = [[row.text for row in read_splits(**one).test] for one in given]
    assert tests[0] == tests[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": {"x": {"method": "rl-prompt"}}}, "x: unknown method 'rl-prompt'.*rlprompt"),
        ({"settings": {"evaluations": 16}}, "toy, 16-1, hand, 0: .*has no 'text'"),
        ({"model": "big"}, "unknown set of models 'big'"),
        ({"data": {"toy": {"named": "sst-3"}}}, "unknown data set 'sst-3'.*sst-2"),
        ({"folder": None}, "name it with --folder"),
        ({"seeds": []}, "a method and a seed"),
        (
            {"methods": {"my way": {"method": "random"}, "My_way": {"method": "random"}}},
            "would share its folder with toy, my way",
        ),
        (
            {"data": {"toy": {"train": "{folder}/toy/test.tsv"}}},
            "has no splits, so '16-2' would be '16-1' again",
        ),
        ({"settings": {"text": "txt", "label": "label"}}, "Did you mean 'text'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    data: Path, tiny_folder: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        plan(data, tiny_folder, **changes).cells(data / "out")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"method": []}, "unknown key of a comparison 'method'.*methods"),
        ({"seeds": "0"}, "seeds is '0'; a list was expected"),
        ({"seeds": [0, "1"]}, "1 of seeds is '1'; a whole number was expected"),
        ({"data": {"toy": 3}}, "'toy' of data is 3; a mapping with names for keys was expected"),
        ({"data": {2020: {}}}, "a name of data is 2020; a text was expected"),
        ({"data": {"toy": {2020: 1}}}, "a name of 'toy' of data is 2020; a text was expected"),
        ({"methods": {"a": {"settings": 3}}}, "'settings' of 'a' of methods is 3; a mapping"),
        ({"models": {"a": {"data": {"b": 3}}}}, "'b' of 'data' of 'a' of models is 3; a mapping"),
        ({"claims": {"a": {"b": "0.9 %"}}}, "'b' of 'a' of claims is '0.9 %'; a number was expected"),
        ({"folder": 3}, "folder is 3; a text was expected"),
        ({"settings": {"settings": 5}}, "'settings' of settings is 5; a mapping with names for keys was expected"),
        ({"typed": {"settings": [1]}}, r"'settings' of typed is \[1\]; a mapping"),
        ({"settings": {"settings": {2: 1}}}, "'settings' of settings is {2: 1}; a mapping"),
        ({"methods": {"r": {"method": "random", "seed": 5}}}, "'r' of methods has seed, .* nothing there: .* seeds"),
        ({"settings": {"seed": 5}}, "settings has seed, which does nothing there"),
        ({"settings": {"method": "pin"}}, "settings has method, .* under methods"),
        ({"settings": {"task": "invert"}}, "settings has task"),
        ({"data": {"toy": {"method": "pin"}}}, "'toy' of data has method"),
        ({"data": {"toy": {"settings": {"alpha": 1.0}}}}, "'toy' of data has settings, .* beside it, under methods"),
        ({"models": {"big": {"seed": 1}}}, "'big' of models has seed"),
        ({"models": {"big": {"data": {"toy": {"settings": {}}}}}}, "'toy' of data of 'big' of models has settings"),
        ({"test": "many", "workers": 0}, "test is 'many'; a whole number was expected. workers is 0; .* at least 1"),
    ],
)
def test_a_file_that_is_no_comparison_says_so(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Plan.from_dict(values)


def test_the_plan_comes_back_from_its_folder(data: Path, tiny_folder: Path, tmp_path: Path) -> None:
    made = plan(data, tiny_folder)
    folder.start(made, tmp_path / "out")
    assert folder.load(tmp_path / "out") == made
    with pytest.raises(InputError, match="hardprompt resume"):
        folder.start(made, tmp_path / "out")


def test_a_searchs_run_yaml_is_compared_with_the_methods_that_its_task_has_all_for(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"task": "optimize", "reward": "a:b", "method": "pin", "seed": 3, "manual": None}))
    made = Plan.read(path)
    assert made.task == "optimize"
    assert "manual" not in made.methods, "there is no hand-written prompt"
    assert {"best-of-n", "pin", "pin-prior"} <= set(made.methods)
    assert list(made.seeds) == [0, 1, 2]


def test_a_seed_or_split_that_comes_twice_counts_once(data: Path, tiny_folder: Path) -> None:
    made = plan(data, tiny_folder, seeds=[0, 0], splits=["16-1", "16-1"])
    assert len(made.cells(data / "out")) == 2


def test_a_class_that_asks_for_nothing_is_run_on_every_split(data: Path, tiny_folder: Path) -> None:
    made = plan(data, tiny_folder, methods={"own": {"method": "tests.broken:Blind"}})
    assert [cell.split for cell in made.cells(data / "out")] == ["16-1", "16-2"]


def test_a_reference_that_is_no_method_is_refused(data: Path, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"unknown reference 'chanse'.*Did you mean 'chance'"):
        plan(data, tiny_folder).narrowed(reference="chanse")


def test_a_setting_of_some_methods_goes_to_those_that_have_it(data: Path, tiny_folder: Path) -> None:
    methods = {"hand": {"method": "manual"}, "learner": {"method": "pin"}}
    cells = plan(data, tiny_folder, methods=methods).narrowed(settings={"settings": {"alpha": 0.5}}).cells(data / "out")
    found = {cell.method: cell.recipe.values["settings"] for cell in cells}
    assert found == {"hand": {}, "learner": {"alpha": 0.5}}


def test_named_data_that_were_written_need_no_folder_again(data: Path, tiny_folder: Path) -> None:
    where = data / "sst-2" / "16-9"
    where.mkdir(parents=True)
    for name in ("train", "dev"):
        (where / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(f"{name} {i}\t{i % 2}\n" for i in range(6)))
    (data / "sst-2" / "test.tsv").write_text("sentence\tlabel\n" + "".join(f"test {i}\t{i % 2}\n" for i in range(4500)))
    made = plan(data, tiny_folder, data={"sst-2": {"named": "sst-2"}}, splits=["16-9"], settings={"threads": 1})
    before = [cell.recipe for cell in made.cells(data / "out")]
    assert before[0].values["test"] == str(data / "out" / "data" / "sst-2" / "16-9" / "test.tsv")
    assert before[0].plan()["texts"]["test"] == 4500  # whole, unlike a user's own file
    shutil.rmtree(data / "sst-2")
    made = made.narrowed(folder=str(data / "gone"))
    assert [cell.recipe for cell in made.cells(data / "out")] == before


def test_a_note_says_where_the_models_are_not_those_of_the_claims(data: Path, tiny_folder: Path) -> None:
    models = {"paper": {"task_model": "roberta-large"}, "mine": {"task_model": str(tiny_folder)}}
    made = plan(data, tiny_folder, models=models, claims={"chance": {"toy": 0.5}})
    assert made.note() is None
    note = made.narrowed(model="mine").note()
    assert note is not None
    assert f"{tiny_folder} in place of roberta-large" in note
    note = made.narrowed(settings={"evaluations": 8}).note()
    assert note is not None
    assert "evaluations 8 in place of 16" in note


@pytest.fixture(scope="module")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, list[Cell], Path]:
    root = tmp_path_factory.mktemp("comparison")
    where = write_data(root)
    methods = {
        "hand": {"method": "manual"},
        "chance": {"method": "random"},
        "broken": {"method": "tests.broken:Broken"},
    }
    made = plan(where, tiny_folder, methods=methods, seeds=[0])
    cells = made.cells(root / "out")
    folder.start(made, root / "out")
    ended = list(parts.run_cells(parts.unfinished(cells), workers=2))
    assert sorted(c.folder.name for c, _ in ended) == sorted(c.folder.name for c in cells)
    return made, cells, root / "out"


def test_a_cell_that_fails_is_recorded_and_the_others_finish(finished: tuple[Plan, list[Cell], Path]) -> None:
    made, cells, out = finished
    result = report.write(made, cells, out)
    assert result["cells"]["finished"] == 3
    assert set(result["cells"]["failed"]) == {"toy-16-1-broken-0", "toy-16-2-broken-0"}
    assert all("this one is broken" in error for error in result["cells"]["failed"].values())
    assert "Traceback" in (out / "cells" / "toy-16-1-broken-0" / "failed.json").read_text()
    assert [cell.method for cell in parts.unfinished(cells)] == ["broken", "broken"]


def test_a_prompt_with_a_foreign_line_end_and_a_long_text_can_be_reported(
    finished: tuple[Plan, list[Cell], Path], tmp_path: Path
) -> None:
    _, cells, _ = finished
    cell = next(cell for cell in cells if cell.method == "chance")
    copy = dataclasses.replace(cell, folder=tmp_path / "copy")
    shutil.copytree(cell.folder, copy.folder)
    steps = (copy.folder / "steps.jsonl").read_text().replace('"prompts": ["', '"prompts": ["\u2028')
    (copy.folder / "steps.jsonl").write_text(steps)
    table = (copy.folder / "predictions.csv").read_text()
    (copy.folder / "predictions.csv").write_text(
        table.replace("The film was great", "The film was " + "great " * 40_000)
    )
    assert report.outcome(copy)[0].items == report.outcome(cell)[0].items


def test_a_failure_that_was_mended_is_no_failure(finished: tuple[Plan, list[Cell], Path]) -> None:
    _, cells, _ = finished
    cell = next(cell for cell in cells if cell.method == "chance")
    parts.record(cell, "the disk was full", "")
    assert parts.failure(cell) is None


def test_it_leaves_tables_tests_and_figures(finished: tuple[Plan, list[Cell], Path]) -> None:
    made, cells, out = finished
    result = report.write(made, cells, out)
    names = {"table.csv", "tests.csv", "table.tex", "README.md", "result.json", "curves.png", "scatter.png"}
    assert names <= {path.name for path in out.iterdir()}
    (block,) = result["summary"]["data"]
    rows = {row["method"]: row for row in block["rows"]}
    assert rows["chance"]["runs"] == 2
    assert rows["hand"]["evaluations"] == 1
    assert rows["chance"]["evaluations"] == 16
    page = (out / "README.md").read_text()
    assert "this one is broken" in page
    assert "chance" in page


def test_the_figures_are_those_of_the_cells(finished: tuple[Plan, list[Cell], Path]) -> None:
    _, cells, _ = finished
    for cell in cells:
        if cell.method != "broken":
            found, texts = report.outcome(cell)
            assert found.items is not None
            assert len(found.items) == len(texts) == len(TEXTS)
            assert found.score == pytest.approx(sum(found.items) / len(found.items))


def test_what_is_finished_is_not_run_again(finished: tuple[Plan, list[Cell], Path]) -> None:
    _, cells, _ = finished
    before = {c.folder: (c.folder / "result.json").stat().st_mtime_ns for c in cells if c.method != "broken"}
    good = [cell for cell in cells if cell.method != "broken"]
    assert list(parts.run_cells(parts.unfinished(good), workers=1)) == []
    assert before == {c.folder: (c.folder / "result.json").stat().st_mtime_ns for c in good}


def test_a_process_that_dies_is_found_and_the_others_finish(data: Path, tiny_folder: Path, tmp_path: Path) -> None:
    methods = {"dying": {"method": "tests.broken:Dying"}, "hand": {"method": "manual"}}
    cells = plan(data, tiny_folder, methods=methods, seeds=[0], splits=["16-1"]).cells(tmp_path / "out")
    ended = {cell.method: error for cell, error in parts.run_cells(cells, workers=2)}
    assert ended["hand"] is None
    assert "died" in str(ended["dying"])
    assert "died" in str(parts.failure(cells[0]))
