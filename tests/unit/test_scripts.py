"""Benchmarks and examples use the library as anyone can: nothing patched, nothing private, no path edited."""

import ast
from pathlib import Path

import calibration
import pytest

from hardprompt.data import films
from hardprompt.data.tables import read_rows

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "examples").glob("*.py")])


def faults(source: str) -> list[str]:
    """The lines of a script that reach into the library, or change where modules are looked for."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = {
        (alias.asname or alias.name).partition(".")[0]
        for node in imports for alias in node.names
        if (getattr(node, "module", None) or alias.name).partition(".")[0] == "hardprompt"
    }  # fmt: skip
    found = []
    for node in ast.walk(tree):
        named = [alias.name for alias in node.names] if node in imports else []
        attribute = node.attr if isinstance(node, ast.Attribute) else ""
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        patched = bool(attribute) and not isinstance(node.ctx, ast.Load) and getattr(root, "id", "") in ours
        private = attribute[:1] == "_" and attribute[:2] != "__" and getattr(root, "id", "") not in ("self", "cls")
        private = private or any(part[:1] == "_" for name in named for part in name.split("."))
        setter = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr"
        if patched or private or setter or (attribute == "path" and getattr(root, "id", "") == "sys"):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_uses_public_names_only(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import hardprompt.lms.load as load\nload.load_causal = print",
        "from hardprompt import Restyle\nRestyle.outputs, x = print, 1",
        "from hardprompt.data.named import _write",
        "from hardprompt import QLearner\nlearner = QLearner(policy=None)\nlearner._update(1, 2)",
        "import sys\nsys.path.insert(0, 'src')",
        "from hardprompt import Restyle\nsetattr(Restyle, 'outputs', print)",
    ],
)
def test_what_reaches_into_the_library_is_found(source: str) -> None:
    assert faults(source)


def test_what_was_tuned_on_is_no_test_text(tmp_path: Path) -> None:
    for split in ("16-100", "16-13", "16-21"):  # beside which there is no test file
        (tmp_path / "16-shot" / "sst-2" / split).mkdir(parents=True)
        for part in ("train", "dev"):
            rows = [f"{split} {part} {i}\t{i % 2}" for i in range(4)]
            (tmp_path / "16-shot" / "sst-2" / split / f"{part}.tsv").write_text("\n".join(["sentence\tlabel", *rows]))
    train, others, _, _ = calibration.PROBLEMS["sst-2"](tmp_path)
    assert [example.text for example in train] == [f"16-100 train {i}" for i in range(4)]
    assert {example.text.rpartition(" ")[0] for example in others} == {
        f"{split} {part}" for split in ("16-100", "16-13", "16-21") for part in ("train", "dev")
    } - {"16-100 train"}
    train, others, _, _ = calibration.PROBLEMS[films.NAME](tmp_path)
    paths = films.write_data(tmp_path, seed=0)
    tested = {row.group for row in read_rows(paths["test"], text="text", label="label", group="film")}
    of_text: dict[str, set[str]] = {}
    for text, _, film in films.films():
        of_text.setdefault(text, set()).add(film)
    assert all(of_text[example.text] - tested for example in [*train, *others])
