"""Measures what calibrated answers are worth: accuracy of prompts elsewhere, and how well the reward foretells it.

    python benchmarks/calibration.py ../shared/data --write     # half an hour on one core

Prompts sampled from the embedded model and hand-written ones, rewarded on 32 training texts and judged on others: of
the films, texts of the validation films; of sst-2, training and validation rows of its splits. No test text is read.
"""

import argparse
import csv
import random
import tempfile
from pathlib import Path
from typing import Any, get_args

import calibrated
import pages
import torch
from torch import Tensor

from hardprompt import BestOfN, Classification, Example, PolicyLM, Template
from hardprompt.data import films
from hardprompt.data.tables import read_rows
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal
from hardprompt.search.writing import write_json
from hardprompt.tasks.classify.calibration import leaning, without
from hardprompt.tasks.classify.prior import Calibration

DOCS = Path(__file__).parents[1] / "docs"
SAMPLED = 120
JUDGING = 240  # texts that judge a prompt
SHARPNESS = (1.0, 2.0, 4.0, 8.0, 16.0)
HAND_WRITTEN = {
    films.NAME: ("", films.MANUAL, "This movie is", "The film is", "The sentiment is", "Overall it is"),
    "sst-2": (
        "",
        pages.HAND_WRITTEN["sst-2"]["manual"],
        "This movie is",
        "The film is",
        "The sentiment is",
        "In short it is",
    ),
}


def of_films(_: Path) -> tuple[list[Example], list[Example], Template, dict[str, str]]:
    """The demonstration's training texts, and others of its validation films."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = films.write_data(Path(scratch), seed=0)
        train = [row.example for row in read_rows(paths["train"], text="text", label="label")]
        theirs = {row.group for row in read_rows(paths["validation"], text="text", label="label", group="film")}
    rows = [Example(text, label) for text, label, film in films.films() if film in theirs]
    return train, _even(rows), Template(films.TEMPLATE), dict(films.VERBALIZERS)


def of_sst_2(folder: Path) -> tuple[list[Example], list[Example], Template, dict[str, str]]:
    """The training rows of the first split, and what else its and the other splits train and validate on."""
    found: dict[str, dict[str, str]] = {}
    for split in ("16-100", "16-13", "16-21"):
        for part in ("train", "dev"):
            with (folder / "16-shot" / "sst-2" / split / f"{part}.tsv").open(encoding="utf-8", newline="") as stream:
                _, *rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            found.setdefault(f"{split}/{part}", {}).update(dict(rows))
    train = found.pop("16-100/train")
    others = {text: label for rows in found.values() for text, label in rows.items() if text not in train}
    pairs = [[Example(text, label) for text, label in rows.items()] for rows in (train, others)]
    return pairs[0], _even(pairs[1]), Template("{text} {prompt}"), {"0": " terrible", "1": " great"}


def _even(rows: list[Example]) -> list[Example]:
    """As many of each class, drawn at random."""
    draw, classes = random.Random(5), sorted({row.label for row in rows})
    each = min(JUDGING // len(classes), *(sum(row.label == name for row in rows) for name in classes))
    return [row for name in classes for row in draw.sample([r for r in rows if r.label == name], each)]


PROBLEMS = {films.NAME: of_films, "sst-2": of_sst_2}


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Accuracy of each prompt on other texts, and its reward, for each way to calibrate and each sharpness."""
    model, tokenizer = load_causal("embedded:smollm2")
    train, others, template, words = PROBLEMS[name](folder)
    start = template.in_place([example.text for example in train], words=64)
    policy = PolicyLM(model, tokenizer, start=start, spaced=template.spaced)
    sampled = BestOfN(policy=policy, seed=5, proposals=SAMPLED).ask().prompts
    written = [template.joined(prompt) for prompt in HAND_WRITTEN[name]]
    prompts, lm = list(dict.fromkeys([*sampled, *written])), CausalLM(model, tokenizer)

    def scored(examples: list[Example]) -> tuple[Tensor, Tensor]:
        task = Classification(lm=lm, examples=examples, template=template, verbalizers=words)
        logs: Tensor = torch.cat([task.score(prompts[i : i + 8]) for i in range(0, len(prompts), 8)])
        return logs, task.labels

    (own, labels), (other, judged) = scored(train), scored(others)
    ways: dict[str, Any] = {}
    for how in get_args(Calibration):
        right = without(leaning(how, own, labels), other).argmax(-1) == judged
        rewards = {
            f"{sharpness:g}": Classification(
                lm=lm, examples=train, template=template, verbalizers=words, keep=False, calibrate=how,
                sharpness=sharpness,
            ).aggregate(own).tolist()
            for sharpness in SHARPNESS
        }  # fmt: skip
        ways[how] = {"accuracy": right.double().mean(-1).tolist(), "rewards": rewards}
    return {
        "data": name, "train": len(train), "texts": len(others), "sampled": len(set(sampled)), "prompts": prompts,
        "written": written, "ways": ways,
    }  # fmt: skip


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="that holds 16-shot/")
    parser.add_argument("--write", action="store_true", help="docs/calibration.json and the tables of calibration.md")
    arguments = parser.parse_args()
    found = {"model": "embedded:smollm2", "problems": [measure(name, arguments.folder) for name in PROBLEMS]}
    print(calibrated.answers(found))
    if arguments.write:
        write_json(DOCS / "calibration.json", found)
        for mark in ("calibration", "written", "sharpness"):
            pages.fill_from(DOCS, "calibration.md", mark, found)


if __name__ == "__main__":
    main()
