"""Loads language models by name: a hub name, a folder, a .gguf file, one that a package embeds, or a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms import TaskLM
from hardprompt.lms.embedded import EMBEDDED, embedded_folder, gguf_folder
from hardprompt.lms.hub import Source, find, there
from hardprompt.lms.own import is_own, load_own
from hardprompt.lms.quiet import one_line, quiet
from hardprompt.lms.roles import INSIDE, KINDS, ROLES, Role, check_name
from hardprompt.lms.tokens import check_limit, check_rows, special_ids
from hardprompt.lms.unasked import adapted, check_weights, plain

if TYPE_CHECKING:
    from hardprompt.lms.masked import MaskedLM


def load_causal(name: str, *, revision: str | None = None) -> tuple[Any, Any]:
    """A causal model and its tokenizer, on the best device, in float32.

    Args:
        name: ``embedded:NAME``, a ``.gguf`` file, a folder, or a hub name.
        revision: the commit of a model on the hub; None is the newest.

    Raises:
        InputError: no such model, or one that is not causal or lacks weights, all of them in safetensors.
        MissingExtra: the package that embeds it is not installed.
    """
    from transformers import AutoModelForCausalLM

    source = resolve(name, ROLES["causal model"], revision=revision)
    config = read_config(source)
    check_config(source, config)
    tokenizer = load_tokenizer(source)
    special_ids(tokenizer)  # it can be understood
    return load_weights(AutoModelForCausalLM, source, config, tokenizer), tokenizer


def load_task_lm(name: str, *, revision: str | None = None) -> TaskLM:
    """The task LM of that name: masked if its configuration is that of a masked model, causal otherwise.

    Args:
        name: as in ``load_causal``, or ``package.module:Name`` of a user's own, which is called without arguments.
        revision: as in ``load_causal``.

    Raises:
        InputError: as ``load_causal``, or the user's own is no ``TaskLM``.
        MissingExtra: as ``load_causal``.
    """
    from hardprompt.lms.causal import CausalLM

    if is_own(name):
        return load_own("task model", name, TaskLM)  # type: ignore[type-abstract]
    return load_masked(name, revision=revision) or CausalLM(*load_causal(name, revision=revision))


def load_masked(name: str, *, revision: str | None = None) -> MaskedLM | None:
    """The masked task LM of that name, or None where it is another model; raises likewise."""
    from transformers import AutoModelForMaskedLM

    from hardprompt.lms.masked import MaskedLM

    source = resolve(name, ROLES["task model"], revision=revision)
    config = read_config(source)
    check_config(source, config)
    if "masked" not in kinds_of(config):
        return None
    tokenizer = load_tokenizer(source)
    mask_of(source, config, tokenizer)
    special_ids(tokenizer)  # it can be understood
    return MaskedLM(load_weights(AutoModelForMaskedLM, source, config, tokenizer), tokenizer)


def resolve(name: str, role: Role, *, revision: str | None = None) -> Source:
    """Where the model of that name lies; a .gguf file is converted into the cache folder once.

    Raises:
        InputError: a name that no model of that role can have, a file that is missing or is not GGUF, no hub and no
            earlier download, or a model of a user's own, which no folder holds.
        MissingExtra: the package that embeds the model is not installed.
    """
    check_name(name, role)
    if is_own(name):
        raise InputError(f"model {name!r} is your own; here one of transformers is needed. {role.valid}")
    if name.startswith("embedded:"):
        return Source(name, str(embedded_folder(EMBEDDED[name.removeprefix("embedded:")])), "main", role)
    if name.endswith(".gguf"):
        return Source(name, str(gguf_folder(Path(name).expanduser())), "main", role)
    with one_line(name, role.valid):
        return Source(name, *find(name, revision), role)


def read_config(source: Source) -> Any:
    """The configuration of a model, in which torch computes everything; raises an InputError beside an adapter."""
    from transformers import AutoConfig
    from transformers.utils import find_adapter_config_file

    where = {"revision": source.revision, "trust_remote_code": False}
    with quiet(), one_line(source.name, source.role.valid):
        config = AutoConfig.from_pretrained(source.path, **where)
        asked, _ = type(config).get_config_dict(source.path, **where)
        if (used := plain(asked)) != asked:
            config = type(config).from_dict({**used, "model_type": config.model_type})
        if find_adapter_config_file(source.path, revision=source.revision) is not None:
            raise adapted(source.name)
    return config


def kinds_of(config: Any) -> set[str]:
    """What a model of that configuration can be, as ``roles.KINDS`` has it."""
    import transformers
    from transformers.models.auto import modeling_auto as auto

    kind, decoder = type(config), bool(getattr(config, "is_decoder", False))
    both_sides = kind in auto.MODEL_FOR_MASKED_LM_MAPPING and not decoder
    found = {
        # transformers would load an encoder as if it were causal, with attention to both sides
        "causal": kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING and not both_sides,
        "masked": both_sides,
        # what is causal would load as well, but its tokens have not seen what follows them
        "encoder": both_sides and not getattr(config, "is_encoder_decoder", False),
        "classifier": kind in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "towers": kind in (transformers.CLIPConfig, transformers.SiglipConfig, transformers.Siglip2Config),
    }
    return {name for name, can in found.items() if can} - _headless(config)


def mask_of(source: Source, config: Any, tokenizer: Any) -> str | None:
    """The mask token of a masked model, which an InputError says that it needs; None of another model."""
    if "masked" not in kinds_of(config):
        return None
    if tokenizer.mask_token is None:
        raise InputError(f"model {source.name!r} is masked ({config.model_type}), but its tokenizer has no mask token.")
    return str(tokenizer.mask_token)


def _headless(config: Any) -> set[str]:
    """What a checkpoint cannot be since its architecture is another's: it has no such head, nor makes one of others."""
    from transformers.models.auto import modeling_auto as auto

    def names(*mappings: Any) -> set[str]:
        each = (own for mapping in mappings for own in mapping.values())
        return {name for own in each for name in ((own,) if isinstance(own, str) else own)}

    headed = {
        "causal": names(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        "masked": names(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES),
        "classifier": names(auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    }
    others = names(
        auto.MODEL_MAPPING_NAMES, auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES, auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
        auto.MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES,
    )  # fmt: skip
    saved = set(config.architectures or ())
    if not saved or not saved <= others.union(*headed.values()):  # nothing is said, or by a class of somebody's own
        return set()
    # Where the head is the embedding, any checkpoint has it.
    tied = any(getattr(part, "tie_word_embeddings", False) for part in (config, config.get_text_config()))
    return {name for name, own in headed.items() if not saved & own} - ({"causal"} if tied else set())


def check_config(source: Source, config: Any, what: str = "model") -> None:
    """Raise an InputError for a model whose configuration says that it cannot have its role."""
    kinds = kinds_of(config)
    if not kinds & source.role.kinds:
        is_it = next((f"is {said}" for kind, said in KINDS.items() if kind in kinds), "cannot be used")
        saved = f", saved as {config.architectures[0]}" if config.architectures else ""
        raise InputError(
            f"{what} {source.name!r} {is_it} ({config.model_type}{saved}); {source.role.needs} is needed here. "
            f"{source.role.valid}"
        )


def check_role(name: str, role: Role, what: str, *, revision: str | None = None) -> set[str]:
    """What a model can be of what that role takes, as its name or configuration says; no weights are loaded.

    Of one that is not there, which is left to whoever needs it, nothing is known, and so of a user's own.

    Raises:
        InputError: it can be nothing of that.
    """
    check_name(name, role, what)
    if "pipeline" in role.kinds or is_own(name):
        return set()
    if name.startswith("embedded:") or name.endswith(".gguf"):
        return {INSIDE.get(name, "causal")}
    try:
        source = resolve(name, role, revision=revision)
        config = read_config(source)
    except (InputError, MissingExtra):
        return set()
    check_config(source, config, what)
    return kinds_of(config) & role.kinds


def check_there(name: str, role: Role, what: str, *, revision: str | None = None) -> None:
    """Raise an InputError for a name of a model of that role that is neither here nor on the hub; nothing is loaded."""
    check_name(name, role, what)
    if not is_own(name) and not name.startswith("embedded:") and not name.endswith(".gguf"):
        with one_line(name, role.valid, what=what):
            there(name, revision)


def load_tokenizer(source: Source) -> Any:
    """The tokenizer of a model."""
    from transformers import AutoTokenizer

    with quiet(), one_line(source.name, source.role.valid):
        tokenizer = AutoTokenizer.from_pretrained(source.path, revision=source.revision, trust_remote_code=False)
        check_limit(tokenizer)
        tokenizer("a")  # what is wrong with its files may show only now
    return tokenizer


def load_weights(auto: Any, source: Source, config: Any, tokenizer: Any, *, spare: Sequence[str] = ()) -> Any:
    """The model on the best device, in float32, as that class of transformers has it.

    Args:
        auto: the class.
        source: of the model.
        config: its configuration, as ``read_config`` gives it.
        tokenizer: its tokenizer, all of whose tokens it has to know.
        spare: beginnings of the names of weights that nothing needs.

    Raises:
        InputError: it cannot be loaded, its checkpoint lacks weights, which transformers would make up at random, or
            the tokenizer has tokens that it does not know.
    """
    from torch.nn import Embedding

    from hardprompt.lms.placing import device

    with quiet(), one_line(source.name, source.role.valid):
        # Only safetensors: a pickle could run code.
        check_weights(source.name, source.path, source.revision, config)
        model, report = auto.from_pretrained(
            source.path, config=config, revision=source.revision, dtype="float32", use_safetensors=True,
            trust_remote_code=False, output_loading_info=True,
        )  # fmt: skip
        ends = getattr(model.generation_config, "eos_token_id", None) if model.can_generate() else None
        if not all(isinstance(end, int | None) for end in (ends if isinstance(ends, list) else [ends])):
            raise ValueError(f"its eos_token_id is {ends!r}; the number of a token, or a list of them, was expected")
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith(tuple(spare))):
        raise InputError(
            f"model {source.name!r} has no weights for {missing[0]} ({len(missing)} missing): its checkpoint is not "
            f"whole, or not that of {source.role.needs}; use another."
        )
    embedding = (model.text_model if "towers" in source.role.kinds else model).get_input_embeddings()
    if isinstance(embedding, Embedding):  # some models have no such table
        check_rows(source.name, tokenizer, embedding)
    return model.to(device()).eval()
