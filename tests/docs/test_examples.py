"""What the documents show is run, on the tiny model in place of the embedded one."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from hardprompt import PolicyLM, QLearner, load_causal, optimize, testing
from hardprompt.cli.main import main
from hardprompt.optimizers import find
from hardprompt.tasks.function.reward import FunctionReward

ROOT = Path(__file__).parents[2]


def test_the_readmes_python_runs(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = block.replace("embedded:smollm2", str(tiny_folder)).replace("prior=0.2", "prior=0.2, top_k=100")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    best, reward, policy = names["result"].best, names["reward"], names["policy"]
    assert capsys.readouterr().out == f"{best.prompt} {best.score}\n"
    assert names["result"].evaluations == 32
    assert best.score == pytest.approx(float(reward([best.prompt])[0]))
    assert len(policy.tokenizer(best.prompt, add_special_tokens=False)["input_ids"]) == 4


def test_the_quick_start_runs(tiny_folder: Path) -> None:
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "examples" / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "after 64 evaluations" in module.main(str(tiny_folder))


def test_the_worked_task_is_short_and_searches(tiny_folder: Path) -> None:
    file = ROOT / "examples" / "json_answers.py"
    code = file.read_text().partition('"""\n\n')[2]
    assert f"```python\n{code}```" in (ROOT / "docs" / "tasks.md").read_text()
    assert len(file.read_text().splitlines()) < 40
    names: dict[str, Any] = {}
    exec(compile(code, str(file), "exec"), names)
    function, seen = names["JsonAnswers"](str(tiny_folder)), {}

    def score(prompts: list[str]) -> list[float]:
        seen.update(zip(prompts, values := function(prompts), strict=True))
        return values

    policy = PolicyLM(*load_causal(str(tiny_folder)))
    result = optimize(QLearner(policy=policy, length=2, top_k=100), FunctionReward(score), evaluations=32)
    assert result.evaluations == 32
    assert result.best.score == max(seen.values()) == seen[result.best.prompt]
    halves = [(value + 0.01 * len(prompt)) * 16 for prompt, value in seen.items()]  # of four questions, asked twice
    assert halves == pytest.approx([min(max(round(half), 0), 16) for half in halves])
    assert [names["point"](text) for text in ('{"a": 1}', "{ and so on", "[1]", "no")] == [1.0, 0.5, 0.0, 0.0]


def test_every_command_in_the_documents_exists(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(p.read_text() for p in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    # In the documents a command stands in code; the word after the name in prose is no command.
    commands = set(re.findall(r"(?:`|bin/)hardprompt (\w+)", text))
    assert commands >= {"classify", "restyle", "invert", "optimize", "judge"}
    for command in sorted(commands):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        assert "--json" in capsys.readouterr().out


def test_the_method_of_ones_own_keeps_what_a_method_promises(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    method = find("examples.own_method:Exchange")
    policy = PolicyLM(*load_causal(str(tiny_folder)))
    testing.check_optimizer(lambda seed: method.build(policy=policy, length=3, seed=seed))
