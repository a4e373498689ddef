"""How long a person waits before anything happens.

    python benchmarks/startup.py      # half a minute; the embedded model must have been used once before

Medians of five: `hardprompt --help`; `import hardprompt` beyond a bare Python; and, once, the seconds from the start of
a process to the first prompt scored, on the demonstration's data, with how long each part took, and how long it kept
the processor, which is the same on a busy machine.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST = """
import sys, time
def now():
    return time.perf_counter(), time.process_time()
def since(last):
    return [b - a for a, b in zip(last, now())]
began = now()
from pathlib import Path
from hardprompt.cli import demo
from hardprompt.data.films import write_data
from hardprompt.lms.placing import choose_threads
from hardprompt.runs import prepare
parts = {"imports": since(began)}
folder = Path(sys.argv[1])
data, threads = write_data(folder, seed=0), choose_threads()
recipe = demo.recipe(data, method="pin-prior", seed=0, evaluations=16, threads=threads)
last = now()
search = prepare(recipe)
parts["models, vocabulary and training texts"] = since(last)
last = now()
proposal = search.optimizer.ask()
parts["proposing 16 prompts"] = since(last)
last = now()
search.task.reward(proposal.prompts[:1])
parts["scoring the first on 64 texts"] = since(last)
print("; ".join(f"{name} {wall:.1f} s ({own:.1f})" for name, (wall, own) in parts.items()))
print(f"{time.process_time():.1f}")
"""


def seconds(*command: str) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    program = str(Path(sys.executable).parent / "hardprompt")
    medians = {
        name: statistics.median(seconds(*command)[0] for _ in range(5))
        for name, command in {
            "help": (program, "--help"),
            "bare": (sys.executable, "-c", "pass"),
            "import": (sys.executable, "-c", "import hardprompt"),
        }.items()
    }
    print(f"hardprompt --help: {medians['help']:.2f} s")
    print(f"import hardprompt: {medians['import'] - medians['bare']:.3f} s beyond a bare Python")
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = seconds(sys.executable, "-c", FIRST, folder)
    named, own = parts.strip().splitlines()
    print(f"first prompt scored after {whole:.1f} s ({own} of the processor): {named}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
