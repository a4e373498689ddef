"""Draws prompts with a diffusion model, so that a person sees what a found prompt means."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hardprompt.errors import MissingExtra, pip_install
from hardprompt.lms.hub import find
from hardprompt.lms.quiet import one_line
from hardprompt.lms.roles import ROLES, check_name
from hardprompt.lms.unasked import check_parts

if TYPE_CHECKING:
    from PIL.Image import Image

_LOG = logging.getLogger(__name__)

_HOW = {"num_inference_steps": 25, "guidance_scale": 9.0}  # PIN App. D.1


def check_installed() -> None:
    """Raise a MissingExtra unless diffusers is installed."""
    if importlib.util.find_spec("diffusers") is None:
        raise MissingExtra(
            "prompts are drawn by diffusers, which is not installed: " + pip_install("'hardprompt[diffusion]'")
        )


def draw(prompts: Sequence[str], *, model: str, seed: int = 0, revision: str | None = None) -> list[Image]:
    """One picture for each prompt; it depends on that prompt and the seed, not on the other prompts.

    Args:
        prompts: what to draw.
        model: hub name or folder of a text-to-image pipeline with safetensors weights.
        seed: of the noise that every picture starts from.
        revision: the commit of one on the hub; None is the newest.

    Raises:
        InputError: no such model, or one that cannot be loaded.
        MissingExtra: diffusers is not installed.
    """
    check_installed()
    import torch  # as late: that a model is missing, or diffusers, is said at once
    from diffusers import AutoPipelineForText2Image

    from hardprompt.lms.placing import device, half

    where = device()
    dtype = half(where) if where == "cuda" else torch.float32
    check_name(model, ROLES["pipeline"])
    with one_line(model, ROLES["pipeline"].valid, "cannot draw"):
        path, commit = find(model, revision)
        if Path(path).is_dir():
            check_parts(model, Path(path))
        # Only safetensors and no code from the hub: neither pickles nor a model's own pipeline are run.
        pipeline = AutoPipelineForText2Image.from_pretrained(
            path, revision=commit, torch_dtype=dtype, use_safetensors=True
        )
    pipeline = pipeline.to(where)
    pipeline.set_progress_bar_config(disable=True)
    pictures = []
    for prompt in prompts:
        noise = torch.Generator().manual_seed(seed)  # on the CPU: the same noise on every machine
        found = pipeline(prompt, generator=noise, **_HOW)
        if any(getattr(found, "nsfw_content_detected", None) or ()):
            _LOG.warning("the model's safety checker blackened the picture of %r", prompt)
        pictures.append(found.images[0])
    return pictures
