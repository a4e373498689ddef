"""Help answers at once: nothing heavy is imported for it."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "numpy", "scipy", "sklearn", "yaml", "pydantic", "rich"}
CODE = """
import sys
from hardprompt.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["classify", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage: hardprompt" in done.stdout
    assert "hardprompt.cli.main" in done.stderr.split()
    assert HEAVY & set(done.stderr.split()) == set()
