"""Peak memory of a whole search on long texts, phase by phase.

    python benchmarks/memory.py                          # 64 texts of 5,000 words; SmolLM2 classifies
    python benchmarks/memory.py --words 30 --texts 764   # as many short ones
    python benchmarks/memory.py --max-text-tokens 100000 # cut only where the model's context ends

Texts are film reviews put end to end, those of one class together. A third of them trains; 4 prompts are scored, the
best is validated, and the test runs. `estimate` is what the program itself said before its first step.
"""

import argparse
import csv
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import torch

from hardprompt.data.films import MANUAL, TEMPLATE, VERBALIZERS, films
from hardprompt.runs import prepare
from hardprompt.tasks import Recipe

BLINK = 0.02  # seconds between two looks


class Watch(threading.Thread):
    """Highest resident memory since it was last asked, in GB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.process, self.began = 0, psutil.Process(), time.perf_counter()

    def run(self) -> None:
        while True:
            self.most = max(self.most, self.process.memory_info().rss)
            time.sleep(BLINK)

    def tell(self, phase: str) -> None:
        seconds = time.perf_counter() - self.began
        print(f"{phase}: {self.most / 1e9:.2f} GB at the most, {seconds:.0f} s", flush=True)
        self.most, self.began = 0, time.perf_counter()


def write_texts(path: Path, count: int, words: int) -> None:
    """A CSV of so many texts of so many words, half of each class."""
    rows = []
    for label in VERBALIZERS:
        pool = " ".join(text for text, own, _ in films() if own == label).split()
        each = (count + 1) // 2
        rows += [(" ".join((pool * 9)[i * words : (i + 1) * words]), label) for i in range(each)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows[:count]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=5000)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--max-text-tokens", type=int, default=1024, help="as the program's own flag")
    parser.add_argument("--model", default="embedded:smollm2")
    arguments = parser.parse_args()
    watch = Watch()
    watch.start()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.csv"
        write_texts(path, arguments.texts, arguments.words)
        recipe = Recipe.of({
            "task": "classify", "train": str(path), "text": "text", "label": "label", "template": TEMPLATE,
            "verbalizers": VERBALIZERS, "manual": MANUAL, "method": "best-of-n", "evaluations": 4,
            "task_model": arguments.model, "max_text_tokens": arguments.max_text_tokens,
        })  # fmt: skip
        watch.tell("imports")
        torch.set_num_threads(2)
        search = prepare(recipe, lambda note: print(note, flush=True))
        watch.tell("models and training texts")
        search.run(**{**recipe.budget, "validate_every": 10**9}, callbacks=[lambda _: watch.tell("step")])
        watch.tell("validation")
        search.task.report(search.optimizer.recommend()[0])
        watch.tell("test")
    print(f"in all {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
