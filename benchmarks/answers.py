"""Measures what an answer of several tokens should count: the sum, the mean or the first of its log-probabilities.

    .venv/bin/python benchmarks/answers.py FOLDER --write

Accuracy of hand-written prompts with the embedded model on training and validation rows of ``FOLDER/16-shot``; no test
row is read.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pages

from hardprompt import Classification, Example, Template, load_task_lm
from hardprompt.lms.answers import Pooling
from hardprompt.search.writing import write_json

DOCS = Path(__file__).parents[1] / "docs"

SPLITS = ("16-100", "16-13", "16-21")
MOST = 96  # texts of a data set


@dataclass(frozen=True)
class Problem:
    """A data set, the answers for its classes, and prompts in a template."""

    data: str
    answers: Sequence[str]
    template: str
    prompts: Sequence[str]


_OPINION = ("", "The sentiment is", "In short, it was", "Is it good or bad? It is")
_TOPIC = ("", "The topic is", "Section:", "This article is about")
_KIND = ("", "This sentence is", "It states", "Is it an opinion or a fact? It is")
PROBLEMS = (
    Problem("agnews", (" World", " Sports", " Business", " Science and technology"), "News: {text}\n{prompt}", _TOPIC),
    Problem("agnews", (" world politics", " sports", " business", " computers"), "News: {text}\n{prompt}", _TOPIC),
    Problem("agnews", (" International news", " Sports", " Business", " Technology"), "News: {text}\n{prompt}", _TOPIC),
    Problem("sst-2", (" negative", " very positive"), "Review: {text}\n{prompt}", _OPINION),
    Problem("sst-2", (" very bad", " good"), "Review: {text}\n{prompt}", _OPINION),
    Problem("sst-2", (" terrible", " really great"), "Review: {text}\n{prompt}", _OPINION),
    Problem("cr", (" not worth the money", " recommended"), "Review: {text}\n{prompt}", _OPINION),
    Problem("cr", (" bad", " very good"), "Review: {text}\n{prompt}", _OPINION),
    Problem("cr", (" a complaint", " praise"), "Review: {text}\n{prompt}", _OPINION),
    Problem("subj", (" opinion", " plot description"), "Text: {text}\n{prompt}", _KIND),
    Problem("subj", (" personal opinion", " fact"), "Text: {text}\n{prompt}", _KIND),
    Problem("subj", (" subjective", " neutral and objective"), "Text: {text}\n{prompt}", _KIND),
)  # fmt: skip


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="that holds 16-shot/")
    parser.add_argument("--write", action="store_true", help="docs/answers.json and the table of docs/answers.md")
    arguments = parser.parse_args()
    lm = load_task_lm("embedded:smollm2")
    found = {"model": "embedded:smollm2", "problems": [measure(lm, arguments.folder, problem) for problem in PROBLEMS]}
    print(pages.answers(found))
    if arguments.write:
        write_json(DOCS / "answers.json", found)
        pages.fill_from(DOCS, "answers.md", "answers", found)


def measure(lm: Any, folder: Path, problem: Problem) -> dict[str, Any]:
    """Of each way: accuracy of each prompt, classes it never predicts, accuracy without each answer's mean score."""
    examples = read(folder / "16-shot" / problem.data)
    lm = lm.over(lm.model)  # what is kept of one problem's texts is of no use to the next
    rows: dict[str, Any] = {}
    for how in get_args(Pooling):
        task = Classification(
            lm=lm, examples=examples, template=Template(problem.template), how=how,
            verbalizers={str(i): answer for i, answer in enumerate(problem.answers)},
        )  # fmt: skip
        scores = task.probabilities(list(problem.prompts)).log()
        predicted = scores.argmax(-1)
        even = (scores - scores.mean(1, keepdim=True)).argmax(-1)  # every answer as likely as the others over the texts
        rows[how] = {
            "accuracy": (predicted == task.labels).double().mean(-1).tolist(),
            "never": [len(problem.answers) - len(set(row.tolist())) for row in predicted],
            "even": (even == task.labels).double().mean(-1).tolist(),
        }
    return {
        "data": problem.data,
        "texts": len(examples),
        "answers": list(problem.answers),
        "tokens": [lm.count(answer) for answer in problem.answers],
        "prompts": list(problem.prompts),
        "scores": rows,
    }


def read(folder: Path) -> list[Example]:
    """Training and validation rows of every split, each text once, as many of each class."""
    found: dict[str, str] = {}
    for split in SPLITS:
        for part in ("train", "dev"):
            with (folder / split / f"{part}.tsv").open(encoding="utf-8", newline="") as stream:
                rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
                next(rows)
                found |= {text: label for text, label in rows if text.strip()}
    labels = sorted(set(found.values()))
    each = MOST // len(labels)
    return [Example(t, label) for label in labels for t in [t for t, own in found.items() if own == label][:each]]


if __name__ == "__main__":
    main()
