"""The package that reads pictures, where it is installed."""

from typing import Any

from hardprompt.errors import MissingExtra, pip_install


def pillow() -> Any:
    """The package PIL with the modules that are used here; raises a MissingExtra where it is not installed."""
    try:
        import PIL.Image
        import PIL.ImageCms
        import PIL.ImageDraw
        import PIL.ImageFont
        import PIL.ImageOps
    except ImportError as error:
        raise MissingExtra(
            "pictures are read by Pillow, which is not installed: " + pip_install("'hardprompt[images]'")
        ) from error
    return PIL
