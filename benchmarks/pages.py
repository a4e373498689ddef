"""Puts measured tables into the pages of docs/, between the marks that stand there for them."""

from pathlib import Path

from hardprompt.search.files import write_text


def fill(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name: begin -->`` and ``<!-- name: end -->``."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no place for {name!r}: {begin} and {end} are expected.")
    write_text(page, f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
