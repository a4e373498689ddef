"""The versions that the numbers of a run depend on."""

import importlib.metadata
import platform

from hardprompt.version import __version__


def versions() -> dict[str, str]:
    """By the name of each package, and of Python; nothing is imported to find them."""
    packages = ("torch", "transformers", "safetensors", "tokenizers")
    found = {"python": platform.python_version(), "hardprompt": __version__}
    return found | {name: importlib.metadata.version(name) for name in packages}
