"""The film reviews: real, balanced, and no film on two sides."""

import csv
from pathlib import Path

import pytest

from hardprompt.compare.plan import Plan
from hardprompt.data import films
from hardprompt.errors import InputError


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_no_film_stands_in_two_parts_and_classes_are_balanced(tmp_path: Path) -> None:
    parts = {name: read(path) for name, path in films.write_data(tmp_path, seed=0).items()}
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": films.TRAIN, "validation": films.VALIDATION, "test": films.TEST,
    }  # fmt: skip
    assert films.TEST >= 500
    for rows in parts.values():
        assert [r["label"] for r in rows].count("positive") * 2 == len(rows)
    titles = [{r["film"] for r in rows} for rows in parts.values()]
    assert titles[0].isdisjoint(titles[1] | titles[2])
    assert titles[1].isdisjoint(titles[2])


def test_the_seed_draws_the_training_texts_only(tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
    first, second = (films.write_data(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert read(first["train"]) != read(second["train"])
    assert read(first["validation"]) == read(second["validation"])
    assert read(first["test"]) == read(second["test"])


def test_a_comparison_draws_the_training_texts_by_the_seed_and_tests_on_none_of_theirs(tmp_path: Path) -> None:
    methods = {"manual": {"method": "manual"}, "best-of-n": {"method": "best-of-n"}}
    plan = Plan(data={"films": {"named": "films"}}, seeds=[0, 1], methods=methods)
    cells = plan.cells(tmp_path)
    assert [(cell.method, cell.seed) for cell in cells] == [("manual", 0), ("best-of-n", 0), ("best-of-n", 1)]
    first, second = ({part: read(Path(cell.recipe.values[part])) for part in ("train", "test")} for cell in cells[1:])
    assert first["train"] != second["train"]
    assert first["test"] == second["test"]
    assert not {row["text"] for row in first["test"]} & {row["text"] for row in first["train"] + second["train"]}
    assert len(first["test"]) > 3000
    fewer = plan.narrowed(test=10).cells(tmp_path / "fewer")
    assert len(read(Path(fewer[0].recipe.values["test"]))) == 10
    with pytest.raises(InputError, match="'films' has no splits"):
        plan.narrowed(splits=["16-100", "16-13"], data=["films"]).cells(tmp_path / "split")
