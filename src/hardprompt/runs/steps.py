"""``steps.jsonl``: one line a step, appended as it is made; read back also when its last line is cut."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.errors import InputError
from hardprompt.search.writing import naming, write_text

if TYPE_CHECKING:
    from hardprompt.search.engine import Step

FILE = "steps.jsonl"


class StepLog:
    """Appends a line per step in a run folder; steps after ``keep``, the checkpoint's, are run again: theirs go."""

    def __init__(self, out: Path, *, keep: int) -> None:
        self._path = out / FILE
        kept = [(line, record) for line, record in _lines(out) if record["step"] <= keep]
        self.last_support: float | None = kept[-1][1]["log"].get("support_size") if kept else None
        write_text(self._path, "".join(line + "\n" for line, _ in kept))

    def __call__(self, step: "Step") -> None:
        """Append one step."""
        self.last_support = step.log.get("support_size")
        record = {
            "step": step.number,
            "evaluations": step.evaluations,
            "seconds": round(step.seconds, 3),
            "best_reward": step.best_reward,
            "validation": step.best.score if step.best else None,
            "log": step.log,
            "prompts": step.prompts,
            "rewards": step.rewards,
        }
        with naming(self._path), self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_steps(out: Path) -> list[dict[str, Any]]:
    """Every whole line."""
    return [record for _, record in _lines(out)]


def _lines(out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    path = out / FILE
    # Only "\n" ends a line there: a prompt may hold what else is taken for a line's end.
    whole = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []  # after the last: cut when the run was killed
    for number, line in enumerate(whole, 1):
        try:
            text = line.decode("utf-8")
            record = json.loads(text)
            if not isinstance(record["step"], int) or not isinstance(record["log"], dict):
                raise TypeError("its number or its log is something else")
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(f"line {number} of {str(path)!r} is no step as it was written ({error}).") from error
        yield text, record
