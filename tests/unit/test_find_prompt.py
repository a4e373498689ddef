"""A whole search in memory: what the run folder does, without a folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from hardprompt import Recipe, find_prompt
from hardprompt.errors import InputError
from hardprompt.lms.causal import CausalLM
from hardprompt.runs import execute, prepare, start
from hardprompt.tasks.function.task import FunctionTask


def share_of_vowels(prompts: list[str]) -> list[float]:
    return [sum(c in "aeiou" for c in prompt) / len(prompt) for prompt in prompts]


@pytest.fixture
def recipe(tiny_folder: Path, tmp_path: Path) -> Recipe:
    file = tmp_path / "texts.csv"
    things = ("film", "food", "sea", "dog", "sun", "book", "day", "team")
    rows = [f"The {t} was {word}.,{label}\n" for t in things for word, label in (("good", "yes"), ("bad", "no"))]
    file.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    model = str(tiny_folder)
    return Recipe.of({
        "task": "classify", "train": str(file), "text": "text", "label": "label", "template": "{text}{prompt}",
        "policy_model": model, "task_model": model, "judge": model, "length": 2, "evaluations": 48, "threads": 1,
    })  # fmt: skip


def test_it_finds_in_memory_what_the_run_folder_finds(recipe: Recipe, tmp_path: Path) -> None:
    search = prepare(recipe)
    found = search.run(**recipe.budget)
    out = tmp_path / "run"
    stored = execute(out, start(recipe, out))
    assert stored is not None
    assert search.task.shown(found.best.prompt) == stored["prompt"]
    assert found.evaluations == stored["evaluations"] == 48
    assert found.best.score == stored["validation"]
    tested = json.loads(json.dumps(search.task.report(found.best.prompt)))
    assert tested["test"] == json.loads((out / "result.json").read_text())["test"]


def test_any_reward_is_a_task(tiny_causal: Any) -> None:
    task = FunctionTask(share_of_vowels, manual="a")
    found = find_prompt(task, method="random", policy_model=CausalLM(*tiny_causal), evaluations=40, length=2, seed=3)
    assert found.evaluations == 40
    assert found.best.score == pytest.approx(share_of_vowels([found.best.prompt])[0])
    fixed = find_prompt(task, method="manual", policy_model=CausalLM(*tiny_causal), evaluations=40)
    assert (fixed.best.prompt, fixed.best.score) == ("a", 1.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "manual"}, "needs a hand-written prompt, and the task has none"),
        ({"method": "grips"}, "needs a prompt to begin with, and the task has none"),
        ({"method": "gcg"}, "needs the gradient of a loss, and the task has none"),
        ({"method": "demonstrations"}, "load the task with leads=True"),
        ({"method": "pim"}, "unknown method 'pim'. Did you mean 'pin'"),
        ({"settings": {"proposal": 3}}, "unknown setting of method 'pin-prior' 'proposal'. Did you mean 'proposals'"),
        ({"settings": {"proposals": "three"}}, "proposals is 'three'; a whole number was expected"),
    ],
)
def test_what_a_task_has_not_or_a_method_does_not_take_is_said(
    tiny_causal: Any, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        find_prompt(FunctionTask(share_of_vowels), policy_model=CausalLM(*tiny_causal), **arguments)
