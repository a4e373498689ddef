"""The demonstration's data: real, balanced, and no film on two sides."""

import csv
from pathlib import Path

from hardprompt.data import films as reviews


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_no_film_stands_in_two_parts_and_classes_are_balanced(tmp_path: Path) -> None:
    parts = {name: read(path) for name, path in reviews.write_data(tmp_path, seed=0).items()}
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": reviews.TRAIN, "validation": reviews.VALIDATION, "test": reviews.TEST,
    }  # fmt: skip
    assert reviews.TEST >= 500
    for rows in parts.values():
        assert [r["label"] for r in rows].count("positive") * 2 == len(rows)
    films = [{r["film"] for r in rows} for rows in parts.values()]
    assert films[0].isdisjoint(films[1] | films[2])
    assert films[1].isdisjoint(films[2])


def test_the_seed_draws_the_training_texts_only(tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
    first, second = (reviews.write_data(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert read(first["train"]) != read(second["train"])
    assert read(first["validation"]) == read(second["validation"])
    assert read(first["test"]) == read(second["test"])
