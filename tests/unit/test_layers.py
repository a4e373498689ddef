"""Imports of our files point one way: down the layers, in no circle, and at public names only."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[2] / "src"
FILES = {  # by module
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
LAYERS = (
    ("errors", "version"), ("search",), ("lms", "data"), ("optimizers",), ("tasks",), ("runs",), ("compare",), ("cli",),
)  # fmt: skip
FLOOR = {name: floor for floor, names in enumerate(LAYERS) for name in names}
FREE = {"", "__main__", "testing"}  # the package itself, run too, and what plug-ins test themselves with


class Arrow(NamedTuple):
    """One import of ours by another: a name in it, or the whole module; ``typed`` is for type checkers only."""

    one: str
    other: str
    name: str
    typed: bool

    def __str__(self) -> str:
        return f"{self.one} -> {self.other} {self.name}{' (for types only)' if self.typed else ''}"


def arrows(module: str) -> Iterator[Arrow]:
    """Every import of ours in a file, in functions too, and every private attribute of an imported module."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    typing = {
        child
        for block in ast.walk(tree) if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for child in ast.walk(block)
    }  # fmt: skip
    called: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("hardprompt")):
            assert not node.level, f"{module} imports by a relative path"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in FILES:
                    called[alias.asname or alias.name] = whole
                    yield Arrow(module, whole, "", node in typing)
                else:
                    yield Arrow(module, str(node.module), alias.name, node in typing)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in FILES:
                    called[alias.asname or alias.name] = alias.name
                    yield Arrow(module, alias.name, "", node in typing)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in called:
            yield Arrow(module, called[ast.unparse(node.value)], node.attr, False)


ARROWS = [arrow for module in FILES for arrow in arrows(module)]


def place(module: str) -> list[str]:
    return [*module.split(".")[1:], "", ""]


def test_every_file_has_a_layer() -> None:
    assert {place(module)[0] for module in FILES} <= FLOOR.keys() | FREE


def test_no_import_points_up() -> None:
    up = [
        str(arrow) for arrow in ARROWS if not {place(arrow.one)[0], place(arrow.other)[0]} & FREE
        and FLOOR[place(arrow.one)[0]] < FLOOR[place(arrow.other)[0]]
    ]  # fmt: skip
    assert up == []


def test_nobody_imports_the_whole_package() -> None:
    assert [str(a) for a in ARROWS if place(a.other)[0] in FREE and place(a.one)[0] not in FREE] == []


@pytest.mark.parametrize("layers", [{"lms", "data"}])
def test_layers_side_by_side_do_not_know_each_other(layers: set[str]) -> None:
    assert [str(a) for a in ARROWS if {place(a.one)[0], place(a.other)[0]} == layers] == []


def test_a_task_does_not_know_another() -> None:
    folders = {place(module)[1] for module in FILES if place(module)[0] == "tasks" and place(module)[2]}
    pairs = [(place(a.one), place(a.other), a) for a in ARROWS]
    other = [
        str(arrow) for one, two, arrow in pairs
        if one[0] == two[0] == "tasks" and one[1] != two[1] and {one[1], two[1]} <= folders
    ]  # fmt: skip
    assert other == []


def test_no_private_name_leaves_its_file() -> None:
    private = [a for a in ARROWS if a.name.startswith("_") and not a.name.startswith("__") and a.one != a.other]
    assert list(map(str, private)) == []


@pytest.mark.parametrize("typed", [False, True], ids=["when run", "for types too"])
def test_there_is_no_circle(typed: bool) -> None:
    below: dict[str, set[str]] = {module: set() for module in FILES}
    for arrow in ARROWS:
        if arrow.one != arrow.other and (typed or not arrow.typed):
            below[arrow.one].add(arrow.other)
    while free := [module for module, others in below.items() if not others & below.keys()]:
        for module in free:
            del below[module]
    while free := [module for module in below if not any(module in others for others in below.values())]:
        for module in free:
            del below[module]  # it is on no circle, but imports from one
    assert {module: sorted(others & below.keys()) for module, others in below.items()} == {}


def test_only_the_command_line_and_the_tasks_settings_see_settings() -> None:
    allowed = {"tasks", "tasks.settings", "tasks.recipe", "tasks.registry", ""}
    seen = [
        str(arrow) for arrow in ARROWS
        if arrow.other.endswith(".settings") and not arrow.name.startswith("DEFAULT_") and place(arrow.one)[0] != "cli"
        and not arrow.one.endswith(".settings") and arrow.one.removeprefix("hardprompt").strip(".") not in allowed
        and place(arrow.one)[0] != "testing"
    ]  # fmt: skip
    assert seen == []


def test_no_file_has_more_than_350_lines() -> None:
    assert {m: n for m, path in FILES.items() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 350} == {}
