"""A whole search in memory: what the run folder does, without a folder."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

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


@torch.no_grad()
def says_yes(model: Any, tokenizer: Any, text: str) -> float:
    """P(yes) of one plain forward of the model."""
    answers = [tokenizer(word, add_special_tokens=False).input_ids for word in (" no", " yes")]
    logs = []
    for answer in answers:
        context = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False).input_ids]
        logits = model(torch.tensor([[*context, *answer]])).logits[0, len(context) - 1 : -1].log_softmax(-1)
        logs.append(logits[range(len(answer)), answer].sum())
    return float(torch.stack(logs).softmax(-1)[1])


def test_the_verdict_and_the_ensemble_are_of_what_the_model_says(recipe: Recipe, tiny_causal: Any) -> None:
    search = prepare(recipe.changed(ensemble=3))
    found = search.run(**recipe.budget)
    task: Any = search.task
    report = task.report(found.best.prompt)
    verdict, together = report["verdict"], report["ensemble"]
    assert [row["name"] for row in verdict["candidates"]][:1] == ["found"]
    assert {row["name"] for row in verdict["candidates"]} == {"found", "empty", "manual"}
    for row in verdict["candidates"]:
        prompt = {"manual": " The sentiment is"}.get(row["name"], row["prompt"])
        for part, rows in (("train", task.train), ("validation", task.validation), ("test", task.test)):
            right = [(says_yes(*tiny_causal, r.text + prompt) > 0.5) == (r.label == "yes") for r in rows]
            assert row[part] == pytest.approx(sum(right) / len(right)), (row, part)
    assert len(together["prompts"]) == 3
    chances = [
        statistics.fmean(says_yes(*tiny_causal, r.text + p) for p in together["prompts"]) for r in task.test
    ]  # fmt: skip
    right = [(chance > 0.5) == (r.label == "yes") for chance, r in zip(chances, task.test, strict=True)]
    assert together["test"]["accuracy"] == pytest.approx(sum(right) / len(right))


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
