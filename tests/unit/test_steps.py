"""``steps.jsonl`` is read back whatever byte a killed run ended it at."""

from pathlib import Path

from hardprompt.runs.steps import FILE, StepLog, read_steps
from hardprompt.search.engine import Step


def test_a_last_line_that_was_cut_at_any_byte_is_dropped(tmp_path: Path) -> None:
    log = StepLog(tmp_path, keep=0)
    for number in (1, 2):
        log(Step(number, ["größer \u2028 ものの"], [0.5], number, 1.0, 0.5, {}, 0.5, None))
    data = (tmp_path / FILE).read_bytes()
    end = data.index(b"\n") + 1
    for size in range(end, len(data)):
        (tmp_path / FILE).write_bytes(data[:size])
        assert [record["step"] for record in read_steps(tmp_path)] == [1]
        StepLog(tmp_path, keep=1)
        assert (tmp_path / FILE).read_bytes() == data[:end]
