"""The bytes of a user's file as text: in the encoding that is named, or in one of those that programs write unasked."""

import codecs
from encodings.aliases import aliases
from pathlib import Path

from hardprompt.data.saying import say_once
from hardprompt.errors import InputError, near

_KINDS = {  # by what such a file begins with
    b"PAR1": "Parquet; call it .parquet",
    b"PK\3\4": "a zip file, as .xlsx is; save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Office file, as .xls is; save it as CSV",
    b"\x1f\x8b": "gzip; unpack it",
}
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_encoding(name: str) -> None:
    """Raise an InputError for what is not the name of an encoding of text."""
    if not _is_text(name):
        found = [one for one in near(name, sorted({*aliases, *aliases.values()})) if _is_text(one)]
        hint = f" Near ones: {', '.join(found[:3])}." if found else ""
        raise InputError(
            f"unknown encoding {name!r}.{hint} Valid are Python's, such as utf-8, utf-16, cp1251 and latin-1."
        )


def _is_text(name: str) -> bool:
    """Whether it is the name of an encoding that Python has here, and that makes text of bytes."""
    try:
        b" ".decode(name)
    except UnicodeError:  # half a letter of UTF-16, say
        return name != "undefined"  # which refuses everything
    except (LookupError, ValueError):
        return False
    return True


def read_text(file: Path, encoding: str | None = None) -> str:
    """The text of a file, without a byte order mark.

    Args:
        file: its path.
        encoding: as Python calls it; None is UTF-8, UTF-16 with its mark or, after saying so, Windows-1252.

    Raises:
        InputError: the file cannot be read, or is no text in that encoding.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"data file {str(file)!r} cannot be read: {error.strerror}.") from error
    for start, kind in _KINDS.items():
        if data.startswith(start) and b"\0" in data:  # a text may begin with PAR1
            raise InputError(f"data file {str(file)!r} is not text but {kind}.")
    if encoding is not None:
        check_encoding(encoding)
    name = encoding or ("utf-16" if data.startswith(_MARKS) else "utf-8")
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        wide = _unmarked(data)
        if encoding is not None or name != "utf-8" or wide:
            mend = f"; it looks like UTF-16 without its mark: add --encoding {wide}" if wide else ""
            raise InputError(
                f"data file {str(file)!r} is not {name.upper()} text (line {line}, byte {error.start}){mend}."
            ) from error
        text = _windows(file, data, line, error)
    except UnicodeError as error:  # of codecs that say no more, such as idna
        raise InputError(f"data file {str(file)!r} is not {name.upper()} text: {error}.") from error
    if "\0" in text:
        wide = _unmarked(data)
        mend = f" It looks like UTF-16 without its mark: add --encoding {wide}." if wide else ""
        raise InputError(f"data file {str(file)!r} is not text: it holds a NUL byte.{mend}")
    return text.removeprefix("\ufeff")


def _windows(file: Path, data: bytes, line: int, error: UnicodeDecodeError) -> str:
    """Text as Windows programs save it by default in the west, after saying so; what is none is refused."""
    for number, part in enumerate(data.split(b"\n"), 1):
        if not part.isascii() and (found := _mostly(part)):
            raise InputError(
                f"data file {str(file)!r} is UTF-8 in some of it (line {number} is {found.strip()[:60]!r}) and not in "
                f"all (line {line}, byte {error.start}). Mend that line, or name what the whole file is, such as "
                "--encoding cp1252."
            ) from error
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = "\0"
    if any(c < " " and c not in "\t\n\r\f\v" for c in text):
        raise InputError(
            f"data file {str(file)!r} is not UTF-8 text (line {line}, byte {error.start}); name its encoding, such as "
            "--encoding cp1251."
        ) from error
    shown = text.split("\n")[line - 1].strip()[:60]
    say_once(
        f"{file} is not UTF-8; it is read as Windows-1252, so line {line} is {shown!r}. If that is wrong, name its "
        "encoding, such as --encoding cp1251, or save it as UTF-8"
    )
    return text


def _mostly(line: bytes) -> str | None:
    """The line if more letters of it are UTF-8's than are not; of Windows-1252 hardly one is, as ``É…`` is."""
    text = line.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    return text if sum(letter > "\x7f" for letter in text) > 2 * bad else None


def _unmarked(data: bytes) -> str | None:
    """The UTF-16 that bytes with NULs among them look like, if any: the NULs are halves of ASCII letters."""
    even, odd = data[0::2].count(0), data[1::2].count(0)
    name = "utf-16-le" if odd > even else "utf-16-be"
    try:
        return name if even != odd and "\0" not in data.decode(name) else None
    except UnicodeDecodeError:
        return None
