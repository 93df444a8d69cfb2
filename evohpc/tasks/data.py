"""Has a run's task make its data, in a process of its own: the driver never imports torch.

What a benchmark's public code and a small seed tell can be made again by a candidate, labels and all. So each run has a
secret seed, from which its task draws samples that nobody has seen; it lies with the labels, whose digest is in the
run's provenance, and makes the same data whenever that is made anew.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evohpc import envelopes
from evohpc.errors import EnvelopeError, RunFolderError, StorageError, TaskError
from evohpc.files import make_folder, write_atomic
from evohpc.linux import python
from evohpc.messages import TaskInterface
from evohpc.run_folder import RunDir

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_NO_MAPPING = f"os error {errno.ENODEV}"
"""What safetensors, which sets no errno, says of such a file system: some of FUSE's, and some mounts of Ceph."""


def draw_secret(run: RunDir) -> None:
    """Give a new run its secret seed.

    Raises:
        StorageError: the file system refused.
    """
    write_private(run.secret, f"{secrets.token_hex(16)}\n".encode())


def secret_digest(run: RunDir) -> str:
    """Return what a run's provenance keeps of its secret: the SHA-256 of the file; '' without one."""
    try:
        return hashlib.sha256(run.secret.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def write_private(path: Path, data: bytes) -> None:
    """Write a file, in a folder of its own, that other users cannot read.

    Raises:
        StorageError: the file system refused.
    """
    make_folder(path.parent)
    path.parent.chmod(0o700)
    before = os.umask(0o077)
    try:
        write_atomic(path, data)
    finally:
        os.umask(before)


def prepare(run: RunDir, task_file: Path | None = None) -> TaskInterface:
    """Make data/ and labels/ of a run unless they are there and whole; return what the driver must know of the task.

    Args:
        task_file: where the user has the task file, for messages; None if the run's own copy is to be mended.

    Raises:
        TaskError: the task cannot be loaded or its data not made.
        StorageError: a file of them cannot be read now.
        KeyboardInterrupt: Ctrl-C ended that.
    """
    if run.task_interface.exists() and (damaged := _damaged(run)):
        log.warning("%s is missing or not whole; the task makes its data anew", damaged)
        run.task_interface.unlink()
    if not run.task_interface.exists():
        _make(run, task_file or run.task_file)
    return interface(run)


def interface(run: RunDir) -> TaskInterface:
    """Return what the driver must know of the task.

    Raises:
        RunFolderError: its file is missing or damaged.
    """
    path = run.task_interface
    try:
        return envelopes.decode(path.read_bytes(), TaskInterface)
    except (OSError, EnvelopeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunFolderError(f"{path}: {reason}; to have it made anew: evohpc run {run.path} (or submit)") from None


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a safetensors file, also from a file system that maps no files into memory.

    Raises:
        OSError: it cannot be read.
    """
    from safetensors.numpy import load, load_file

    try:
        return dict(load_file(path))
    except OSError as error:
        if _NO_MAPPING not in str(error):
            raise
    return {name: array.copy() for name, array in load(path.read_bytes()).items()}


def is_whole(path: Path) -> bool:
    """Say whether a safetensors file is there and as long as its header says; its numbers are not read."""
    try:
        return _is_as_long_as_it_says(path)
    except OSError:
        return False


def _is_as_long_as_it_says(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                return False
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return bool(path.stat().st_size == 8 + length + max(ends, default=0))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False


def _damaged(run: RunDir) -> Path | None:
    """Return the first file of a run's data that is missing or not whole.

    Raises:
        StorageError: one cannot be read now. It is not made anew: candidates were measured on what is there.
    """
    for path in (run.task_interface, run.train, run.inputs, run.labels):
        try:
            if not (_is_interface(path) if path == run.task_interface else _is_as_long_as_it_says(path)):
                return path
        except FileNotFoundError:
            return path
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}; try again when it can be read") from error
    return None


def _is_interface(path: Path) -> bool:
    try:
        envelopes.decode(path.read_bytes(), TaskInterface)
    except EnvelopeError:
        return False
    return True


def _make(run: RunDir, task_file: Path) -> None:
    command = [*python(), "-m", "evohpc.tasks.prepare", str(run.path), "--parent", str(os.getpid())]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == -signal.SIGINT:
        raise KeyboardInterrupt
    if done.returncode != 0 or not run.task_interface.exists():
        raise TaskError(_reason(done).replace(str(run.task_file.resolve()), str(task_file)))


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    said = done.stderr.strip().splitlines()[-1:]
    if said and done.returncode == 1:
        return said[0]
    code = done.returncode
    ended = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return ": ".join([f"the task ended Python with {ended} while its data was made", *said])
