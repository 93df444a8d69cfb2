"""Writes files whole: a crash leaves the old file or the new one, and of two writers exactly one wins. Reads JSON."""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from evohpc.errors import RunFolderError, storage_error

_LARGEST_INPUT = 16 << 20


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a whole file or nothing: aside, fsync, rename, fsync of the folder.

    A reader on any host sees the old content or the new, never a part; after a crash a stray `.tmp-*` may remain.

    Raises:
        StorageError: the file system refused (full, over quota, read-only).
    """
    aside = aside_of(path)
    try:
        make_folder(path.parent)
        try:
            _write_and_sync(aside, data)
            os.replace(aside, path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


def is_utf8(path: Path) -> bool:
    """Say whether a path is text that files of a run, which name it, can hold: Linux lets names be any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def write_once(path: Path, data: bytes | str) -> bool:
    """Write a whole file unless one of that name exists; return whether this call wrote it.

    Of two writers on two hosts exactly one wins (link(2) is atomic on NFS too), and a file that exists never changes:
    the twin of a requeued task cannot alter a result.

    Raises:
        StorageError: the file system refused.
    """
    aside = aside_of(path)
    try:
        make_folder(path.parent)
        try:
            _write_and_sync(aside, data)
            is_ours = link_once(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # whoever waited for the file has it, and has removed the folder
            sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    return is_ours


def link_once(aside: Path, path: Path) -> bool:
    """Give a file a second name, unless that is taken; return whether it has it now.

    Raises:
        OSError: the file system refused.
    """
    try:
        os.link(aside, path)
    except FileExistsError:
        # On NFS the answer to a successful link may be lost; the client asks again and gets this error (link(2), BUGS).
        return aside.stat().st_nlink == 2
    return True


def read_input(path: Path) -> bytes:
    """Return what a file of a user's holds, a program or a config; /dev/zero, named by mistake, has no end.

    Raises:
        OSError: it cannot be read, or is larger than any of them.
    """
    with path.open("rb") as file:
        data = file.read(_LARGEST_INPUT + 1)
    if len(data) > _LARGEST_INPUT:
        raise OSError(errno.EFBIG, f"it has more than {_LARGEST_INPUT >> 20} MiB", str(path))
    return data


def read_input_text(path: Path) -> str:
    """Return the text of a file of a user's, as Python reads a program: any end of line is \\n, and a byte order mark,
    which editors of Windows write, is none of the text.

    Raises:
        OSError: as `read_input`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return io.TextIOWrapper(io.BytesIO(read_input(path)), encoding="utf-8-sig").read()


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, so that they survive a crash.

    Raises:
        OSError: the file system refused.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def check_writable(folder: Path) -> None:
    """Check that a file can be made in a folder, or in the one above it that exists: before long work, not after it.

    Raises:
        StorageError: the file system refuses.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    probe = aside_of(there / "probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise storage_error(folder, error) from error


def check_free(folder: Path, *known: str) -> None:
    """Check that a folder holds nothing but what may have these names; hidden files, as of a writer, do not count.

    Raises:
        RunFolderError: it holds more.
    """
    found = {path.name for path in folder.glob("[!.]*")} if folder.is_dir() else set()
    if strangers := sorted(found.difference(known)):
        raise RunFolderError(f"{folder} holds other files ({', '.join(strangers[:3])}); take a new folder")


def put_folder(aside: Path, path: Path) -> None:
    """Give a folder of files its name once all of them survive a crash: who finds a folder of that name may read it.

    Raises:
        OSError: the file system refused, or there is such a folder with something in it.
    """
    for each in (*aside.iterdir(), aside):
        _sync(each)
    os.replace(aside, path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what was written to a file, by whomever on this host, survive a crash.

    Raises:
        OSError: the file system refused.
    """
    _sync(path)


def sync_folder(folder: Path) -> None:
    """Make the creations, renames and removals in a folder survive a crash (fsync(2), NOTES).

    Raises:
        OSError: the file system refused.
    """
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def aside_of(path: Path) -> Path:
    """Return a name beside a file to write it under, which no other writer has, not even one that was replaced."""
    return path.with_name(f".tmp-{path.name}-{secrets.token_hex(4)}")


def strays_of(path: Path) -> list[Path]:
    """Return what writers of a file or folder left beside it that were killed: whatever has a name of `aside_of`."""
    return list(path.parent.glob(f".tmp-{path.name}*"))


def _write_and_sync(path: Path, data: bytes | str) -> None:
    with open(path, "xb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
