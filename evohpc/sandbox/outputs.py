"""Reads what a stage left behind as what it is: bytes that a hostile program chose.

Nothing is followed, unpickled or allocated before its size is known and allowed. Whatever is wrong raises `Untrusted`.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAX_HEADER_BYTES = 1 << 14
"""The safetensors format itself allows 100 MB, which takes a parser seconds and gigabytes."""
_COPIED = 1 << 20
"""Bytes of a copied file that are in memory at once."""

_NUMPY = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_BYTES = {
    **{name: np.dtype(code).itemsize for name, code in _NUMPY.items()},
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "C64": 8,
}


class Untrusted(Exception):
    """A file that the protocol does not allow; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor in a safetensors header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def claim(self) -> int:
        """Bytes that it would have if none of its sides were 0: what is made of an empty array may be as long as one
        of its other sides."""
        return math.prod(max(1, side) for side in self.shape) * _BYTES[self.dtype]


@dataclass
class Budget:
    """What the arrays of several files may take together; reading spends it."""

    bytes: int
    arrays: int

    def spend(self, name: str, size: int, arrays: int) -> None:
        """Take what a file needs; raise `Untrusted` if there is not enough."""
        self.bytes -= size
        self.arrays -= arrays
        if self.bytes < 0 or self.arrays < 0:
            raise Untrusted(f"{name}: more has been left than is read, in bytes or in arrays")


def copy_file(path: Path, copy: Path, limit: int) -> None:
    """Copy a regular file of at most `limit` bytes: its content, and nothing else of it."""
    with _opened(path, limit) as (descriptor, size), open(copy, "xb") as target:
        for start in range(0, size, _COPIED):
            target.write(_read(descriptor, min(_COPIED, size - start), path.name))


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes."""
    with _opened(path, limit) as (descriptor, size):
        return bytes(_read(descriptor, size, path.name))


def list_files(folder: Path, limit: int) -> list[Path]:
    """Return the regular files in a real folder, sorted; nothing else may be in it."""
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise Untrusted(f"{folder.name} is no folder")
        with os.scandir(folder) as entries:
            found = [entry.name for entry, _ in zip(entries, range(limit + 1), strict=False) if _is_plain(entry)]
    except OSError as error:
        raise Untrusted(f"{folder.name}/: {error.strerror}") from None
    if len(found) > limit:
        raise Untrusted(f"{folder.name}/ has more than {limit} files")
    return [folder / name for name in sorted(found)]


def read_arrays(path: Path, budget: Budget) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a safetensors file within a budget, all of them finite.

    Raises:
        Untrusted: not such a file.
        FloatingPointError: NaN or infinity in it.
    """
    with _opened(path, budget.bytes) as (descriptor, size):
        entries, start = _header(descriptor, size, path.name)
        for name, entry in entries.items():
            if entry.claim > budget.bytes:
                raise Untrusted(f"{name[:80]!r} is empty, but of a shape beyond all that is read")
        budget.spend(path.name, size, len(entries))
        data = memoryview(_read(descriptor, size - start, path.name))
    return {name: _array(name, entry, data) for name, entry in entries.items()}


def _is_plain(entry: os.DirEntry[str]) -> bool:
    if not entry.is_file(follow_symlinks=False):
        raise Untrusted(f"{entry.name[:80]!r} is no regular file")
    return True


@contextmanager
def _opened(path: Path, limit: int) -> Iterator[tuple[int, int]]:
    """Open a regular file without following a link or waiting for a FIFO; yield descriptor and size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Untrusted(f"{path.name}: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise Untrusted(f"{path.name} is no regular file with one name")
        if status.st_size > limit:
            raise Untrusted(f"{path.name} has {status.st_size} bytes, at most {limit} are allowed")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int, name: str) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = os.readv(descriptor, [rest])
        if not count:
            raise Untrusted(f"{name} ends early")
        rest = rest[count:]
    return data


def _header(descriptor: int, size: int, name: str) -> tuple[dict[str, Entry], int]:
    """Return the tensors and where their data starts. They must fill the file without gap or overlap."""
    if size < 8:
        raise Untrusted(f"{name} is no safetensors file: {size} bytes")
    length = int.from_bytes(_read(descriptor, 8, name), "little")
    if length > min(MAX_HEADER_BYTES, size - 8):
        raise Untrusted(f"{name} is no safetensors file: header of {length} bytes")
    try:
        document = json.loads(_read(descriptor, length, name))
        entries = {key: _entry(value) for key, value in document.items() if key != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Untrusted(f"{name} is no safetensors file: malformed header") from None
    position = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise Untrusted(f"{name}: tensors overlap or leave a gap")
        position = entry.end
    if position != size - 8 - length:
        raise Untrusted(f"{name}: the header speaks of {position} bytes, there are {size - 8 - length}")
    return entries, 8 + length


def _entry(value: dict[str, Any]) -> Entry:
    shape, (start, end) = tuple(value["shape"]), value["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)) or len(shape) > 16:
        raise ValueError
    if math.prod(shape) * _BYTES[value["dtype"]] != end - start:
        raise ValueError
    return Entry(value["dtype"], shape, start, end)


def _array(name: str, entry: Entry, data: memoryview) -> np.ndarray[Any, Any]:
    if entry.dtype not in _NUMPY:
        raise Untrusted(f"{name[:80]!r} has dtype {entry.dtype}, which is not a prediction's")
    array = np.frombuffer(data[entry.start : entry.end], dtype=_NUMPY[entry.dtype]).reshape(entry.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FloatingPointError(f"prediction {name[:80]!r} is not finite")
    return array
