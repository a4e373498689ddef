"""Sees that the header of a GGUF file fits in the file, before a library reads it that trusts every number there."""

import struct
from pathlib import Path
from typing import BinaryIO

from hardprompt.errors import InputError

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a value, by its type
_STRING, _ARRAY = 8, 9
_DEEP = 8  # arrays in arrays, at most
_DIMENSIONS = 8


def check_header(file: Path) -> None:
    """Walk through the names, values and tensors that a GGUF file says it has.

    Raises:
        InputError: it is no GGUF file, ends too early, or its numbers cannot be right.

    Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InputError(f"model file {str(file)!r} is not a GGUF file.")
        try:
            _walk(_Header(stream, size))
        except (ValueError, OSError) as error:
            raise InputError(f"model file {str(file)!r} is damaged: {error}.") from error


class _Header:
    """A stream that goes forward, and never beyond the file."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left, self.order = stream, size - stream.tell(), "<"

    def number(self, kind: str) -> int:
        return int(struct.unpack(self.order + kind, self.bytes(struct.calcsize(kind)))[0])

    def bytes(self, count: int) -> bytes:
        self._take(count)
        return self._stream.read(count)

    def skip(self, count: int) -> None:
        self._take(count)
        self._stream.seek(count, 1)

    def _take(self, count: int) -> None:
        if count > self._left:
            raise ValueError(f"its header goes on for {count} bytes where the file has {self._left}")
        self._left -= count


def _walk(header: _Header) -> None:
    version = header.bytes(4)
    header.order = "<" if version[:2] != b"\0\0" else ">"  # of a machine of the other byte order
    number = int.from_bytes(version, "little" if header.order == "<" else "big")
    if number not in (2, 3):
        raise ValueError(f"its header is of version {number}, and 2 or 3 was expected")
    tensors, values = header.number("Q"), header.number("Q")
    for _ in range(values):
        name = header.bytes(header.number("Q"))
        kind = header.number("I")
        if name.endswith(b".block_count") and kind == 4:
            if (blocks := header.number("I")) > tensors:
                raise ValueError(f"it says that it has {blocks} layers in {tensors} tensors")
            continue
        _skip(header, kind, _DEEP)
    for _ in range(tensors):
        header.skip(header.number("Q"))
        if (dimensions := header.number("I")) > _DIMENSIONS:
            raise ValueError(f"it has a tensor of {dimensions} dimensions")
        header.skip(8 * dimensions + 12)  # their sizes, type and place


def _skip(header: _Header, kind: int, deep: int) -> None:
    """Go past a value of that type."""
    if kind in _SIZES:
        header.skip(_SIZES[kind])
    elif kind == _STRING:
        header.skip(header.number("Q"))
    elif kind == _ARRAY and deep:
        inner, count = header.number("I"), header.number("Q")
        if inner in _SIZES:
            header.skip(_SIZES[inner] * count)
        else:
            for _ in range(count):
                _skip(header, inner, deep - 1)
    else:
        raise ValueError(f"it has a value of the unknown type {kind}")
