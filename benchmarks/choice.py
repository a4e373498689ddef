"""Compares rules that choose among validated prompts, on film reviews that are in no set of the demonstration.

    python benchmarks/choice.py      # ten minutes on two cores

The searches are those of docs/results.json; 300 texts of the films that validation texts are drawn from, but not
among them, judge the choice. A rule takes the prompt of lowest perplexity among those within so many standard errors of
the best on validation.
"""

import argparse
import json
import random
import statistics
import sys
from pathlib import Path

import torch

from hardprompt.data import films
from hardprompt.data.tables import Example, read_rows
from hardprompt.lms.causal import CausalLM
from hardprompt.lms.load import load_causal
from hardprompt.search.choice import choose
from hardprompt.search.engine import Trial
from hardprompt.tasks.classify.reward import Classification
from hardprompt.tasks.template import Template

RULES = (0.0, 0.5, 1.0, 1.5)  # standard errors


def unused(folder: Path, count: int) -> list[Example]:
    """Texts of the validation films that are not validation texts, classes balanced."""
    paths = films.write_data(folder, seed=0)
    taken = read_rows(paths["validation"], text="text", label="label", group="film")
    theirs = {row.group for row in taken}
    texts = {row.text for row in taken}
    rows = [(text, label) for text, label, film in films.films() if film in theirs and text not in texts]
    chosen = []
    for name in sorted(films.VERBALIZERS):
        members = [Example(text, label) for text, label in rows if label == name]
        chosen += random.Random(5).sample(members, count // 2)
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="pin-prior")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--root", type=Path, default=Path("runs/choice"))
    arguments = parser.parse_args()
    published = Path(__file__).parents[1] / "docs" / "results.json"
    cells = [
        c for c in json.loads(published.read_text())["cells"]
        if c["data"] == "films" and c["method"] == arguments.method and c["settings"] in ({}, {"prior": 0.2})
    ]  # fmt: skip
    arguments.root.mkdir(parents=True, exist_ok=True)
    prompts = sorted({prompt for c in cells for prompt, _ in c["trials"]})
    lm = CausalLM(*load_causal("embedded:smollm2"))
    task = Classification(
        lm=lm, examples=unused(arguments.root, arguments.texts), template=Template(films.TEMPLATE),
        verbalizers=films.VERBALIZERS,
    )  # fmt: skip
    print(f"{len(prompts)} prompts of {len(cells)} searches", file=sys.stderr)
    right = {p: float((task.predictions([p])[0] == task.labels).float().mean()) for p in prompts}
    perplexity = dict(
        zip((p.strip() for p in prompts), lm.perplexity([p.strip() for p in prompts]).tolist(), strict=True)
    )
    judge = CausalLM(*load_causal("embedded:gemma3"))
    print("| standard errors | accuracy on other texts | perplexity (Gemma 3) | prompts |\n|---|---|---|---|")
    for rule in RULES:
        chosen = []
        for cell in cells:
            trials = [Trial(0, p, s) for p, s in cell["trials"]]
            best = choose(trials, films.VALIDATION, lambda ps: torch.tensor([perplexity[p] for p in ps]), errors=rule)
            chosen.append(best.prompt)
        nats = judge.perplexity([p.strip() for p in chosen]).log().mean()
        accuracy = statistics.fmean(right[p] for p in chosen)
        print(
            f"| {rule} | {accuracy:.3f} | {float(nats.exp()):.0f} | {'; '.join(f'`{p}`' for p in chosen)} |", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
