"""`completions.jsonl`: one `Completion` a line, appended as they are finished. Imports no torch.

A line that a crash or a file system damaged is dropped, and its completion is drawn again: completions depend on their
seeds only, so nothing is lost. Once nothing is missing, a file in the order of the prompts replaces this one, and only
that file is complete: the answer to a request is the same bytes, whichever completion ended first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from evohpc.envelopes import decode, encode
from evohpc.errors import EnvelopeError, LMError, storage_error
from evohpc.files import sync_file, sync_folder, write_atomic
from evohpc.messages import Completion, LMRequest

Key = tuple[int, int]
"""(prompt index, sample index) of a completion."""


def keys(request: LMRequest) -> list[Key]:
    """Return the keys of the completions that a request asks for, in order."""
    return [(prompt.index, sample.index) for prompt in request.prompts for sample in prompt.samples]


def read(path: Path, request: LMRequest) -> dict[Key, Completion]:
    """Return what is finished and whole; empty if there is no file yet."""
    return _scan(path, request)[0]


def read_complete(path: Path, request: LMRequest) -> list[Completion]:
    """Return the completions of a request in the order of its prompts and samples.

    Raises:
        LMError: the file is not complete.
    """
    finished = read(path, request)
    missing = [key for key in keys(request) if key not in finished]
    if missing:
        prompt, sample = missing[0]
        raise LMError(f"{path}: {len(missing)} completions are missing, the first is prompt {prompt}, sample {sample}")
    return [finished[key] for key in keys(request)]


def read_prefix(path: Path, request: LMRequest) -> list[Completion]:
    """Return, in the order of the request, what is finished before the first completion that is not."""
    finished = read(path, request)
    for more in read_parts(path, request).values():
        finished = more | finished
    return [finished[key] for key in takewhile(finished.__contains__, keys(request))]


def is_complete(path: Path, request: LMRequest) -> bool:
    """Return whether all that a request asks for is finished, and put in order."""
    return list(read(path, request)) == keys(request)


def part(path: Path, rank: int | str) -> Path:
    """Return the file that a rank other than the first appends to, until the first has copied it; '*' for a pattern."""
    return path.with_name(f"{path.stem}.rank{rank}{path.suffix}")


def read_parts(path: Path, request: LMRequest) -> dict[Path, dict[Key, Completion]]:
    """Return what ranks other than the first have finished."""
    return {file: read(file, request) for file in sorted(path.parent.glob(part(path, "*").name))}


def recover(path: Path, request: LMRequest) -> dict[Key, Completion]:
    """Cut off what is not whole, so that lines can be appended; return what is finished.

    Raises:
        StorageError: the file system refused.
    """
    finished, length = _scan(path, request)
    try:
        if path.exists() and path.stat().st_size > length:
            os.truncate(path, length)
    except OSError as error:
        raise storage_error(path, error) from error
    return finished


def append(path: Path, completions: Iterable[Completion]) -> None:
    """Add finished completions.

    Raises:
        StorageError: the file system refused.
    """
    lines = "".join(encode(completion) + "\n" for completion in completions)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(lines.encode())
    except OSError as error:
        raise storage_error(path, error) from error


def close(path: Path, request: LMRequest) -> None:
    """Put a file that lacks nothing in order, unless it is.

    Raises:
        StorageError: the file system refused.
    """
    finished, wanted = read(path, request), keys(request)
    # Another job for the same request, on a node that was cut off, may have dropped what it saw half of: it draws that.
    if list(finished) != wanted and finished.keys() == set(wanted):
        write(path, [finished[key] for key in wanted])


def write(path: Path, completions: Sequence[Completion]) -> None:
    """Write a whole file at once.

    Raises:
        StorageError: the file system refused.
    """
    write_atomic(path, "".join(encode(completion) + "\n" for completion in completions))


def sync(path: Path) -> None:
    """Let what was appended survive a crash.

    Raises:
        StorageError: the file system refused.
    """
    try:
        sync_file(path)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def _scan(path: Path, request: LMRequest) -> tuple[dict[Key, Completion], int]:
    """Return the completions up to the first line that is not whole, and the bytes up to there."""
    wanted = set(keys(request))
    finished: dict[Key, Completion] = {}
    length = 0
    for line in _lines(path):
        try:
            completion = decode(line, Completion)
        except EnvelopeError:
            break
        key = (completion.prompt, completion.sample)
        if key not in wanted or not line.endswith(b"\n"):
            break
        finished.setdefault(key, completion)
        length += len(line)
    return finished, length


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
