"""From the envelopes of a round to results that can be trusted, and a closed round into one archive.

A file that is torn, foreign, altered or about something else than its name says is moved to the round's quarantine with
its reason beside it, and counts as not there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from evohpc import envelopes
from evohpc.errors import EnvelopeError, RunFolderError, storage_error
from evohpc.files import aside_of, link_once, make_folder, strays_of, sync_folder, write_atomic
from evohpc.messages import Result, Status, TaskInterface
from evohpc.run_folder import RoundDir

log = logging.getLogger(__name__)

_MAX_INTEGER = 2**63 - 1
"""The greatest that the database holds."""
_MAX_FLOAT = sys.float_info.max
_MAX_BYTES = 1 << 22
"""Of a result's file; its parts are limited where it is written."""


def read_results(
    folder: RoundDir, run_id: str, sources: Mapping[str, str], task: TaskInterface, skip: Collection[str] = ()
) -> Iterator[tuple[str, Result]]:
    """Yield (file name, result) of every trustworthy envelope of a round, in order of name.

    Args:
        sources: source of each candidate, by id; a result for another source or candidate is foreign.
        task: what each trained candidate was measured on.
        skip: file names that need not be read again.

    Raises:
        RunFolderError: the round's archive is damaged.
        StorageError: the file system refused the quarantine.
    """
    for name, data, path in _result_files(folder, skip):
        try:
            yield name, unseal_result(name, data, run_id, sources, task)
        except EnvelopeError as error:
            if path is not None:
                _quarantine(folder, path, str(error))


def unseal_result(name: str, data: bytes, run_id: str, sources: Mapping[str, str], task: TaskInterface) -> Result:
    """Return the result in an envelope: the one judge of what may enter the search, whoever wrote it.

    Args:
        name: of the file; it says which candidate and attempt the result is for.
        data: the file's content.
        run_id: of this run.
        sources: source of each candidate of the round, by id.
        task: has the name of the metric, and the largest error.

    Raises:
        EnvelopeError: the envelope is torn, altered, foreign or about something else than its name says, or its
            result cannot be true: a trained candidate without size (>= 1), error (0 or more, at most the task's
            largest), fitness or the task's metric; another one with a fitness; a number that is not finite; a negative
            size or time.
    """
    result = envelopes.unseal(data, run_id, Result)
    _check_origin(name, result, sources)
    _check_outcome(result, task.metric)
    check_numbers(result, task.largest_error)
    return result


def pack(folder: RoundDir) -> None:
    """Pack the many small files of a round that is over into one archive, so that inodes stay few; idempotent.

    Raises:
        StorageError: the file system refused.
    """
    packed = [folder.candidates, folder.results, folder.jobs, folder.logs, folder.slurm]
    try:
        if not folder.archive.exists():
            make_folder(folder.path)  # where all seeds were refused, nothing has needed it
            _write_archive(folder, [path for part in packed for path in part.rglob("*")])
        for part in packed:
            shutil.rmtree(part, ignore_errors=True)
        for stray in strays_of(folder.archive):
            stray.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(folder.archive, error) from error


def _write_archive(folder: RoundDir, paths: Sequence[Path]) -> None:
    """Write an archive, but never in the place of another: a driver that was replaced while it packed finds the files
    gone, as its successor has them all in its own."""
    aside = aside_of(folder.archive)
    try:
        _zip(folder, paths, aside)
        link_once(aside, folder.archive)
    except FileNotFoundError:
        if not folder.archive.exists():  # else the successor has also tidied up
            raise
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(folder.path)  # before what it holds is removed


def _zip(folder: RoundDir, paths: Sequence[Path], target: Path) -> None:
    with open(target, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for path in sorted(paths):
                if path.is_file() and not path.name.startswith("."):
                    with suppress(FileNotFoundError):  # of a job that has its results and tidies up
                        archive.write(path, path.relative_to(folder.path))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error) as error:
        raise RunFolderError(
            f"{path}: damaged: {error}; take it from a backup, or delete it to have its candidates evaluated again"
        ) from None


def _result_files(folder: RoundDir, skip: Collection[str]) -> Iterator[tuple[str, bytes, Path | None]]:
    """Yield (name, content, path unless packed)."""
    if folder.archive.is_file():
        with _opened(folder.archive) as archive:
            for name in sorted(archive.namelist()):
                if name.startswith("results/") and Path(name).name not in skip:
                    yield Path(name).name, archive.read(name), None
        return
    if not folder.results.is_dir():
        return
    # A fresh listing each time: NFS caches failed look-ups of single names, not the listing.
    for name in sorted(set(os.listdir(folder.results)).difference(skip)):
        if name.endswith(".json") and not name.startswith("."):
            path = folder.results / name
            try:
                yield name, _read(path), path
            except OSError as error:  # a stale handle, a server that does not answer: it is there, and will be read
                log.warning("%s: %s; trying again", path, error.strerror)
            except EnvelopeError as error:
                _quarantine(folder, path, str(error))


def _read(path: Path) -> bytes:
    """Return the content of a result's file, without waiting for a FIFO or filling the memory.

    Raises:
        OSError: the file system refused.
        EnvelopeError: it is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise EnvelopeError("it is no regular file")
        if status.st_size > _MAX_BYTES:
            raise EnvelopeError(f"it has {status.st_size} bytes, a result has at most {_MAX_BYTES}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _check_origin(name: str, result: Result, sources: Mapping[str, str]) -> None:
    if name != f"{result.candidate_id}.{result.attempt}.json":
        raise EnvelopeError(f"it holds the result of {result.candidate_id}, attempt {result.attempt}")
    if result.candidate_id not in sources:
        raise EnvelopeError("no such candidate was handed out in this round")
    digest = hashlib.sha256(sources[result.candidate_id].encode()).hexdigest()
    if result.source_sha256 and result.source_sha256 != digest:
        raise EnvelopeError("it was measured on another source than this candidate's")


def _check_outcome(result: Result, metric: str) -> None:
    if result.status is Status.PENDING or result.status.is_refused:
        raise EnvelopeError(f"{result.status} is no outcome of an evaluation")
    if result.status is not Status.TRAINED:
        if result.fitness is not None:
            raise EnvelopeError(f"{result.status} has no fitness, and this has {result.fitness}")
        return
    missing = [name for name in ("fitness", "error", "num_params") if getattr(result, name) is None]
    missing += [f"metrics[{metric!r}]"] if metric not in result.metrics else []
    if missing:
        raise EnvelopeError(f"a trained candidate needs {', '.join(missing)}")


def check_numbers(result: Result, largest_error: float | None = None) -> None:
    """Check that each number of a result is one that can be: finite, and in its range.

    Raises:
        EnvelopeError: one is not; it says which.
    """
    for name, value, low, high in _ranges(result, largest_error):
        plain = getattr(value, "item", lambda value=value: value)()  # numpy's float32 compares with no greater number
        if plain is not None and not low <= plain <= high:
            raise EnvelopeError(f"{name} is {value}; it must be {_right(low, high)}")


def _right(low: float, high: float) -> str:
    if low < 0:
        return "finite"
    return f"finite, and {low:g} or more" if high >= _MAX_INTEGER else f"from {low:g} to {high:g}"


def _ranges(result: Result, largest_error: float | None) -> Iterator[tuple[str, float | None, float, float]]:
    """Yield (name, value, least, greatest) of each number in a result."""
    yield "attempt", result.attempt, 1, _MAX_INTEGER
    yield "num_params", result.num_params, 1 if result.status is Status.TRAINED else 0, _MAX_INTEGER
    yield "error", result.error, 0, _MAX_FLOAT if largest_error is None else largest_error
    yield "fitness", result.fitness, -_MAX_FLOAT, _MAX_FLOAT
    for name, value in result.metrics.items():
        yield f"metrics[{name!r}]", value, -_MAX_FLOAT, _MAX_FLOAT
    for name, value in result.seconds.items():
        yield f"seconds[{name!r}]", value, 0, _MAX_FLOAT


def _quarantine(folder: RoundDir, path: Path, reason: str) -> None:
    log.warning("%s: %s; moved to quarantine", path, reason)
    target = folder.quarantine / path.name
    while target.exists():
        target = target.with_name(f"{target.name}+")
    write_atomic(target.with_name(f"{target.name}.reason"), f"{reason}\n")
    try:
        path.replace(target)
    except OSError as error:
        raise storage_error(target, error) from error
