"""Image–text models: pictures and texts in, unit vectors of one space out.

Public: ``ImageText`` (what one is), ``load_image_text`` (one by its name) and ``check_length``.
"""

from hardprompt.lms.image_text.protocol import ImageText, check_length
from hardprompt.lms.own import is_own, load_own
from hardprompt.lms.roles import ROLES, check_name

__all__ = ["ImageText", "check_length", "load_image_text"]


def load_image_text(name: str, *, revision: str | None = None) -> ImageText:
    """The image–text model of that name.

    Args:
        name: ``embedded:conse``, the folder or hub name of a CLIP or SigLIP model, or ``package.module:Name`` of a
            user's own, which is called without arguments.
        revision: the commit of a model on the hub; None is the newest.

    Raises:
        InputError: no such model, or one of another kind, or without all weights, in safetensors.
        MissingExtra: Pillow or a package that embeds the model is not installed.
    """
    if is_own(name):
        return load_own("image model", name, ImageText)  # type: ignore[type-abstract]
    check_name(name, ROLES["image model"], "image model")
    if name.startswith("embedded:"):
        from hardprompt.lms.image_text.conse import ConSE

        return ConSE()
    from hardprompt.lms.image_text.dual import load_dual

    return load_dual(name, revision=revision)
