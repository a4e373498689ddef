"""Loads language models by name: a hub name, a folder, a .gguf file, one that a package embeds, or a user's own."""

from __future__ import annotations

import functools
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.errors import InputError, unknown
from hardprompt.lms import TaskLM
from hardprompt.lms.embedded import EMBEDDED, VALID, embedded_folder, gguf_folder
from hardprompt.lms.own import is_own, load_own
from hardprompt.lms.quiet import one_line, quiet

if TYPE_CHECKING:
    from hardprompt.lms.masked import MaskedLM


def load_causal(name: str) -> tuple[Any, Any]:
    """A causal model and its tokenizer, on the best device, in float32.

    Args:
        name: ``embedded:NAME``, a ``.gguf`` file, a folder, or a hub name.

    Raises:
        InputError: no such model, or one that is not causal or lacks weights, all of them in safetensors.
        MissingExtra: the package that embeds it is not installed.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModelForCausalLM

    source = resolve(name)
    config = read_config(name, source)
    # transformers would load an encoder as if it were causal, with attention to both sides.
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise InputError(f"model {name!r} is a masked model ({config.model_type}); a causal one is needed here.")
    return _whole(AutoModelForCausalLM, name, source), load_tokenizer(name, source)


def load_task_lm(name: str) -> TaskLM:
    """The task LM of that name: masked if its configuration and tokenizer know a mask, causal otherwise.

    Args:
        name: as in ``load_causal``, or ``package.module:Name`` of a user's own, which is called without arguments.

    Raises:
        InputError: as ``load_causal``, or the user's own is no ``TaskLM``.
        MissingExtra: as ``load_causal``.
    """
    from hardprompt.lms.causal import CausalLM

    if is_own(name):
        return load_own("task model", name, TaskLM)  # type: ignore[type-abstract]
    return load_masked(name) or CausalLM(*load_causal(name))


def load_masked(name: str) -> MaskedLM | None:
    """The masked task LM of that name, or None where configuration or tokenizer know no mask; raises likewise."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoModelForMaskedLM

    from hardprompt.lms.masked import MaskedLM

    source = resolve(name)
    tokenizer = load_tokenizer(name, source)
    if tokenizer.mask_token is None or type(read_config(name, source)) not in MODEL_FOR_MASKED_LM_MAPPING:
        return None
    return MaskedLM(_whole(AutoModelForMaskedLM, name, source), tokenizer)


def check_name(name: str, *, own: bool = True) -> None:
    """Raise an InputError for a name that no local model can have, or is not there; ``own`` allows a user's."""
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
    elif not own and is_own(name):
        raise InputError(f"model {name!r} is your own; here one of transformers is needed.")
    elif ":" in name and not {"/", "\\"} & {*name} and not is_own(name):  # no path, and no name that the hub could have
        raise unknown("model", name, [f"embedded:{known}" for known in EMBEDDED])


def resolve(name: str) -> str:
    """The folder or hub name behind ``name``; a .gguf file is converted into the cache folder once.

    Where the hub cannot be reached, it is the folder that an earlier download left.

    Raises:
        InputError: an unknown embedded model, a file that is missing or is not GGUF, no hub and no earlier download, or
            a model of a user's own, which no folder holds.
        MissingExtra: the package that embeds the model is not installed.
    """
    check_name(name)
    if is_own(name):
        raise InputError(f"model {name!r} is your own; here one of transformers is needed. {VALID}")
    if name.startswith("embedded:"):
        return str(embedded_folder(EMBEDDED[name.removeprefix("embedded:")]))
    if name.endswith(".gguf"):
        return str(gguf_folder(Path(name).expanduser()))
    with one_line(name, VALID):
        return folder_or_hub(name)


def folder_or_hub(name: str) -> str:
    """A folder as it is; of a hub name, where the hub cannot be reached, the folder that an earlier download left.

    It raises an OSError where there is neither, and a ValueError for what cannot be a hub name.
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
    try:
        if not urllib.request.getproxies().keys() & {"https", "all"}:  # a proxy resolves names by itself
            socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def read_config(name: str, source: str) -> Any:
    """The configuration of the model that the user calls ``name``, from its folder or the hub."""
    from transformers import AutoConfig

    with one_line(name, VALID):
        return AutoConfig.from_pretrained(source, trust_remote_code=False)


def load_tokenizer(name: str, source: str) -> Any:
    """Its tokenizer."""
    from transformers import AutoTokenizer

    with quiet(), one_line(name, VALID):
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)


def _whole(auto: Any, name: str, source: str) -> Any:
    """The model, whose checkpoint has each of its weights."""
    model, missing = load_weights(auto, name, source)
    if missing:
        raise InputError(
            f"model {name!r} has no weights for {missing[0]} ({len(missing)} missing): its checkpoint is not a whole "
            "language model, but a classifier, say; use another."
        )
    return model


def load_weights(auto: Any, name: str, source: str, *, valid: str = VALID) -> tuple[Any, list[str]]:
    """The model on the best device, in float32, and the weights that it lacks, which transformers makes up at random.

    ``auto`` is the class of transformers that loads it, ``valid`` what else could be named.
    """
    from hardprompt.lms.placing import device

    with quiet(), one_line(name, valid):
        # Only safetensors: a pickle could run code.
        model, report = auto.from_pretrained(
            source, dtype="float32", use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        return model.to(device()).eval(), sorted(report["missing_keys"])
