"""Reads the pictures that users have, and draws grids of pictures with captions."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardprompt.data.saying import say_once
from hardprompt.errors import InputError
from hardprompt.lms.image_text.pillow import pillow
from hardprompt.lms.image_text.shown import as_shown

if TYPE_CHECKING:
    from PIL.Image import Image

MEGAPIXELS = 100  # a few times what cameras make; decoded it takes 300 MB
ASPECT = 50  # image processors scale the shorter side up to theirs: a longer strip would fill the memory

_EXPECTED = "give a picture such as photo.jpg or photo.png"
_GAP = 8
_FONT = 15


def read_image(path: str | Path) -> Image:
    """The picture of a file in 8-bit RGB, as a viewer would show it on a white page.

    As ``as_shown`` has it; of several frames or pages the first is taken.

    Raises:
        InputError: no such file, not a picture, damaged, empty, above 100 megapixels or a strip.
        MissingExtra: Pillow is not installed.
    """
    pil = pillow()
    name = f"image {str(path)!r}"
    large = InputError(f"{name} has more than {MEGAPIXELS} megapixels; scale it down first.")
    try:
        with warnings.catch_warnings(action="ignore"):
            file = Path(path).expanduser()
            if not file.exists():
                raise InputError(f"{name} does not exist; {_EXPECTED}.")
            if not file.is_file():
                raise InputError(f"{name} is {'a folder' if file.is_dir() else 'no file'}; {_EXPECTED}.")
            if not file.stat().st_size:
                raise InputError(f"{name} is an empty file; {_EXPECTED}.")
            with pil.Image.open(file, formats=_formats(pil)) as image:
                width, height = image.size
                if width * height > MEGAPIXELS * 1_000_000:
                    raise large
                if min(width, height) < 1 or max(width, height) > ASPECT * min(width, height):
                    raise InputError(
                        f"{name} is {width} × {height} pixels; expected a picture whose longer side is at most "
                        f"{ASPECT} times the shorter."
                    )
                if getattr(image, "is_animated", False):
                    say_once(f"{path} holds several pictures (an animation or pages); the first one is used")
                image.load()
                return as_shown(image, name)
    except InputError:
        raise
    except pil.Image.DecompressionBombError as error:
        raise large from error
    except pil.UnidentifiedImageError as error:
        raise InputError(f"{name} is not a picture that Pillow knows; {_EXPECTED}.") from error
    except Exception as error:  # a damaged file makes decoders raise almost anything
        reason = (getattr(error, "strerror", None) or str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name} cannot be read ({reason}); {_EXPECTED}.") from error


def image_files(folder: str | Path) -> list[Path]:
    """The pictures that lie in a folder, in natural order (2.jpg before 10.jpg), without hidden files.

    Raises:
        InputError: not a folder, or no picture in it.
        MissingExtra: Pillow is not installed.
    """
    pil = pillow()
    where = Path(folder).expanduser()
    if not where.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder; expected a folder of pictures.")
    kinds = _formats(pil)
    known = {suffix for suffix, kind in pil.Image.registered_extensions().items() if kind in kinds}
    shown = [file for file in where.iterdir() if file.is_file() and not file.name.startswith(".")]
    found = [file for file in shown if file.suffix.lower() in known]
    if not found:
        raise InputError(f"the folder {str(folder)!r} holds no picture; expected files such as photo.jpg or photo.png.")
    return sorted(found, key=lambda file: (_natural(file.name), file.name))


def grid(rows: Sequence[Sequence[tuple[Image, str]]], *, width: int = 224) -> Image:
    """A white sheet of pictures in rows, each scaled to ``width`` pixels with its caption wrapped below.

    Raises:
        InputError: no picture at all.
        MissingExtra: Pillow is not installed.
    """
    pil = pillow()
    if not any(rows):
        raise InputError("a grid needs at least one picture.")
    font = pil.ImageFont.load_default(size=_FONT)
    line = sum(font.getmetrics()) + 2
    cells = [
        [(image.resize((width, max(1, round(width * image.height / image.width)))), _wrap(text, font, width))
         for image, text in row]
        for row in rows if row
    ]  # fmt: skip
    heights = [max(i.height for i, _ in row) + _GAP // 2 + line * max(len(t) for _, t in row) for row in cells]
    columns = max(len(row) for row in cells)
    sheet: Image = pil.Image.new(
        "RGB", (_GAP + columns * (width + _GAP), _GAP + sum(h + _GAP for h in heights)), "white"
    )
    draw = pil.ImageDraw.Draw(sheet)
    top = _GAP
    for row, height in zip(cells, heights, strict=True):
        pictures = max(image.height for image, _ in row)
        for column, (image, lines) in enumerate(row):
            left = _GAP + column * (width + _GAP)
            sheet.paste(image, (left, top + pictures - image.height))  # feet on one line, above the captions
            for number, text in enumerate(lines):
                draw.text((left, top + pictures + _GAP // 2 + number * line), text, fill="black", font=font)
        top += height + _GAP
    return sheet


def png(image: Image) -> bytes:
    """The picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _formats(pil: Any) -> list[str]:
    """What Pillow decodes by itself: EPS files are programs, run by Ghostscript, and some formats are no pictures."""
    pil.Image.init()
    return [kind for kind in pil.Image.OPEN if pil.Image.MIME.get(kind, "").startswith("image/")]


def _natural(name: str) -> list[tuple[int, str]]:
    """Digits by their value, the rest without case."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)]


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """Lines that are at most ``width`` pixels wide; a word that is wider is broken, and a line break is kept."""
    lines: list[str] = []
    for part in text.split("\n"):
        lines.append("")
        for word in part.split():
            trial = f"{lines[-1]} {word}".strip()
            if font.getlength(trial) <= width:
                lines[-1] = trial
                continue
            if lines[-1]:
                lines.append("")
            for letter in word:
                if lines[-1] and font.getlength(lines[-1] + letter) > width:
                    lines.append("")
                lines[-1] += letter
    return lines
