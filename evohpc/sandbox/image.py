"""The evaluation image on this node: its digest, and its copy on the node's own disk."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from evohpc.errors import EvaluationError, storage_error
from evohpc.files import write_atomic

_CHUNK = 1 << 22


def local_copy(image: Path, folder: str) -> Path:
    """Return the image on the node's own disk, copied there by whichever of the node's tasks came first.

    A container's start reads the image through and through; hundreds of them from one shared file system are slow for
    everybody on it. A sandbox folder is used where it is.

    Args:
        folder: may hold variables of the job, e.g. '$TMPDIR'; '' copies nothing.

    Raises:
        EvaluationError: there is no such image, or a variable is not set.
        StorageError: the disk is full.
    """
    if not image.exists():
        raise EvaluationError(
            f"there is no image {image}; build it with containers/build.sh, or correct the site profile"
        )
    if not folder or image.is_dir():
        return image
    status, private = image.stat(), _private_folder(folder)
    copy = private / f"{image.stem}-{status.st_size}-{status.st_mtime_ns}{image.suffix}"
    try:
        _copy_once(image, copy)
    except OSError as error:
        raise storage_error(copy, error) from error
    return copy


def digest(image: Path) -> str:
    """Return 'sha256:...' of an image file, kept beside it once it is known; '' for a sandbox folder."""
    if image.is_dir():
        return ""
    status, kept = image.stat(), image.with_name(f"{image.name}.sha256")
    key = f"{status.st_size} {status.st_mtime_ns}"
    try:
        known, _, value = kept.read_text().partition(" for ")
        if value.strip() == key:
            return known
    except OSError:
        pass
    with image.open("rb") as file:
        known = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if os.access(image.parent, os.W_OK):
        write_atomic(kept, f"{known} for {key}\n")
    return known


def _private_folder(folder: str) -> Path:
    place = Path(os.path.expandvars(folder))
    if "$" in str(place):
        raise EvaluationError(f"container.local_folder is {folder!r}, and that variable is not set on this node")
    private = place / f"evohpc-{os.getuid()}"
    try:
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(private, error) from error
    if private.stat().st_uid != os.getuid():
        raise EvaluationError(f"{private} belongs to somebody else; set container.local_folder to a folder of yours")
    return private


def _copy_once(image: Path, copy: Path) -> None:
    with open(copy.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if copy.exists():
            return
        aside = copy.with_name(f".tmp-{copy.name}")
        with image.open("rb") as source, aside.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
        aside.replace(copy)
