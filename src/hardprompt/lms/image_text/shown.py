"""A picture's pixels as a viewer shows them: turned, its colours in sRGB, on white, in 8-bit RGB."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import numpy as np

from hardprompt.errors import InputError
from hardprompt.lms.image_text.pillow import pillow

if TYPE_CHECKING:
    from PIL.Image import Image

_LOG = logging.getLogger(__name__)

_PROFILES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # mode of Pillow by the colour space of a profile


def as_shown(image: Image, name: str = "a picture") -> Image:
    """The picture in 8-bit RGB as a colour-managed viewer would show it on a white page; twice is as once.

    It is turned as its EXIF data says, its colour profile is heeded, transparency lies over white, and 16-bit grey is
    scaled to 8 bits. ``name`` is what messages call it.

    Raises:
        InputError: pixels of 32 bits.
    """
    turned: Image = pillow().ImageOps.exif_transpose(image)
    return _flat(_srgb(_eight_bit(turned, name), name))


def _eight_bit(image: Image, name: str) -> Image:
    """Grey of more than 8 bits is scaled, since Pillow's own conversion would clip it; other pictures stay."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    # Mode I is what some 16-bit files are read as; where white would be in truly wider pixels is not known.
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise InputError(f"{name} has pixels of 32 bits; expected 8 or 16 bits.")
    scaled = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 257 = 255, to the nearest
    grey: Image = pillow().Image.fromarray(scaled)
    grey.info.update(image.info)  # its colour profile
    return grey


def _srgb(image: Image, name: str) -> Image:
    """The picture's colours as its own profile means them, in sRGB; one that is damaged is ignored after a word."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    image = image.copy()
    del image.info["icc_profile"]  # so that nobody heeds it twice
    cms = pillow().ImageCms
    try:
        own = cms.ImageCmsProfile(io.BytesIO(profile))
        mode = _PROFILES[own.profile.xcolor_space]
        if (image.mode == "CMYK") != (mode == "CMYK"):
            raise ValueError("it is of another kind of picture")
        shown: Image = cms.profileToProfile(image.convert(mode), own, cms.createProfile("sRGB"), outputMode="RGB")
    except (cms.PyCMSError, KeyError, OSError, TypeError, ValueError) as error:
        _LOG.warning("%s has a colour profile that cannot be used (%s); its colours are taken as sRGB", name, error)
        return image
    shown.info.pop("icc_profile", None)
    if image.has_transparency_data:
        shown.putalpha(image.convert("RGBA").getchannel("A"))
    return shown


def _flat(image: Image) -> Image:
    """RGB, with what is transparent over white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    above = image.convert("RGBA")
    white = pillow().Image.new("RGBA", above.size, "white")
    return pillow().Image.alpha_composite(white, above).convert("RGB")  # type: ignore[no-any-return]
