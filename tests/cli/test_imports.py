"""What needs no model is said at once: nothing heavy is imported for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardprompt.version import __version__

MODELS = {"torch", "transformers", "scipy", "sklearn", "statsmodels", "matplotlib"}  # of which the first takes seconds
HEAVY = MODELS | {"numpy", "yaml", "pydantic", "rich"}
EACH = """
import json, sys
from hardprompt.cli.main import main
heavy = set(json.loads(sys.argv[1]))
for words in json.loads(sys.argv[2]):
    print(json.dumps([words, main(words), sorted(heavy & set(sys.modules))]), file=sys.stderr)
"""
CODE = """
import sys
from hardprompt.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(*sys.modules, file=sys.stderr)
"""
CLASSIFY = ["--text", "text", "--label", "label"]
REFUSED = {
    "classify nope.csv": CLASSIFY,
    "classify x.csv --text nope --label label": [],
    "classify x.csv --text text --label nope": [],
    "classify x.csv --method pim": CLASSIFY,
    "classify x.csv --lenght 5": CLASSIFY,
    "classify x.csv --length 99": CLASSIFY,
    "classify x.csv --template {text}": CLASSIFY,
    "classify x.csv --policy-model embedded:nope": CLASSIFY,
    "classify x.csv --task-model ./nope": CLASSIFY,
    "classify x.csv --task-model nope/x": CLASSIFY,
    "classify x.csv --policy-model nope": CLASSIFY,
    "classify x.csv --task-model": ["", *CLASSIFY],
    "classify x.csv --task-model /usr": CLASSIFY,
    "classify x.csv --task-model /proc": CLASSIFY,
    "classify x.csv --judge /proc": CLASSIFY,
    "compare classify x.csv --methods manual --task-model nope/x": CLASSIFY,
    "classify x.csv --method gcg --out run": CLASSIFY,
    "classify x.csv --verbalizer a=b": CLASSIFY,
    "classify x.csv --verbalizer a=good --verbalizer b=good": CLASSIFY,
    "classify x.csv --q 0.5": CLASSIFY,
    "classify x.csv --alpha -1": CLASSIFY,
    "classify x.csv --prior -1": CLASSIFY,
    "classify x.csv --top-k 0": CLASSIFY,
    "classify x.csv --method random --q 2": CLASSIFY,
    "restyle x.csv --target-examples x.csv --text text --embedder nope/x": [],
    "restyle x.csv --target-examples x.csv --text text --task-model nope/x": [],
    "restyle x.csv --style-model nope/x --style-label a --text text": [],
    "restyle x.csv --style-function nope:style --text text": [],
    "restyle x.csv --target-examples x.csv --acceptability-model": ["", "--acceptability-label", "a"],
    "restyle nope.txt --target-examples x.csv": [],
    "restyle x.csv --target-examples x.csv --text nope": [],
    "restyle x.csv --method gcg --target-examples x.csv": [],
    "invert nope.png": [],
    "invert x.png --image-model nope/x": [],
    "invert x.png --image-model": [""],
    "invert x.png --image-model /usr": [],
    "invert x.png --image-model /proc": [],
    "invert x.png --policy-model nope/x": [],
    "invert x.png --draw nope/x": [],
    "invert x.csv --method demonstrations": [],
    "optimize nope:reward": [],
    "optimize reward": [],
    "optimize os:getcwd --method os:system": [],
    "run nope.yaml": [],
    "run broken.yaml": [],
    "run strange.yaml": [],
    "run run/run.yaml --out run": [],
    "run plan.yaml": [],
    "resume nope": [],
    "resume x.csv": [],
    "resume run": [],
    "resume cmp": [],
    "resume demo": [],
    "show nope": [],
    "compare nope.yaml": [],
    "compare broken.yaml": [],
    "compare strange.yaml": [],
    "compare plan.yaml --methods pim": [],
    "compare plan.yaml --data nope": [],
    "compare plan.yaml --splits a": [],
    "compare classify nope.csv": CLASSIFY,
    "compare classify x.csv --out run": CLASSIFY,
    "judge nope --base-url http://127.0.0.1:1 --model m": [],
    "demo --out run": [],
    "demo --evaluations 0": [],
}


def check_each(commands: list[list[str]], code: int) -> None:
    """Call them one after the other in one process, which has nothing heavy at the end of each."""
    done = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(sorted(MODELS)), json.dumps(commands)], capture_output=True, text=True
    )
    lines = done.stderr.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("[[")]
    assert found == [[words, code, []] for words in commands], done.stderr
    assert len([line for line in lines if line.startswith("hardprompt: ")]) == (len(commands) if code else 0)


@pytest.fixture
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders such as a user has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = {"task": "classify", "train": "x.csv", "text": "text", "label": "label"}
    Path("x.csv").write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20)))
    Path("x.png").touch()
    Path("broken.yaml").write_text("a: [")
    Path("strange.yaml").write_text(yaml.safe_dump({**settings, "method": "os:system"}))
    Path("plan.yaml").write_text(yaml.safe_dump({"settings": settings, "methods": {"manual": {}}}))
    for name, file in (("run", "run.yaml"), ("cmp", "compare.yaml"), ("demo", "demo.json")):
        Path(name).mkdir()
        Path(name, file).write_text(json.dumps({**settings, "version": "0.0", "versions": {"hardprompt": "0.0"}}))


@pytest.mark.parametrize("words", [["--help"], ["classify", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True)
    assert done.returncode == 0
    assert "hardprompt" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


@pytest.mark.usefixtures("_folders")
def test_a_refusal_waits_for_no_model() -> None:
    check_each([[*command.split(), *more] for command, more in REFUSED.items()], 2)


@pytest.mark.usefixtures("_folders")
def test_what_is_there_is_shown_without_a_model() -> None:
    result: dict[str, Any] = {
        "task": "optimize", "method": "random", "prompt": " a", "test": {"reward": 1.0}, "baselines": [],
        "perplexity": None, "perplexity_by": "none", "evaluations": 1, "seconds": 1.0, "support_size": None,
    }  # fmt: skip
    Path("done").mkdir()
    Path("done/result.json").write_text(json.dumps(result))
    check_each([["show", "run"], ["show", "done"], ["show", "done", "--json"], ["methods"], ["doctor"]], 0)


def test_the_version_is_that_of_the_package() -> None:
    done = subprocess.run([sys.executable, "-m", "hardprompt", "--version"], capture_output=True, text=True)
    assert done.stdout == f"hardprompt {__version__}\n"
