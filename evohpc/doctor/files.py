"""Whether a folder can hold a run: its file system, its space, its clock, and by trying what a search does there."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from evohpc.doctor import mounts
from evohpc.doctor.base import Finding, attempt, fault, ok, warning
from evohpc.errors import StorageError
from evohpc.files import write_atomic, write_once
from evohpc.linux import python

NEEDED_MB = 64
"""A file of this size must fit; a round's files seldom need more."""
_NEEDED_INODES = 10_000
_MAX_SKEW_S = 5.0
_SLOW_FSYNC_S = 0.2
_TRIES = 20
_TIMEOUT_S = 120.0
_LOCKER = "import fcntl, sys\nwith open(sys.argv[1], 'r+') as f: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"


def examine_files(
    folder: Path, on_cluster: bool, clock: Callable[[], float] = time.time, mountinfo: str | None = None
) -> Iterator[Finding]:
    """Look at the folder that holds, or will hold, a run.

    Args:
        on_cluster: jobs on other nodes must see it.
        mountinfo: instead of this host's /proc/self/mountinfo.
    """
    return attempt("run folder", f"looking at {folder}", lambda: _examined(folder, on_cluster, clock, mountinfo))


def _examined(folder: Path, on_cluster: bool, clock: Callable[[], float], mountinfo: str | None) -> Iterator[Finding]:
    if folder.is_file():
        yield _no_folder(folder)
        return
    asked, folder = folder, _existing(folder.resolve())
    yield from _elsewhere(asked, folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fault("run folder", f"{folder} is not writable", "choose a folder of yours")
        return
    yield from attempt("file system", "reading the mounts", lambda: _file_system(folder, on_cluster, mountinfo))
    yield from attempt("space", f"writing {NEEDED_MB} MB to {folder}", lambda: _space(folder))
    yield from attempt("clock", f"making a file in {folder}", lambda: _skew(folder, clock))
    if "scratch" in str(folder).lower():
        yield warning("purge", f"{folder} looks like scratch", "many sites delete old files there: copy results away")


def probe_files(folder: Path) -> Iterator[Finding]:
    """Try what a search asks of a file system, for `evohpc doctor fs PATH`. Leaves nothing behind."""
    return attempt("run folder", f"trying {folder}", lambda: _probed(folder))


def _no_folder(file: Path) -> Finding:
    return fault("run folder", f"{file} is a file", "name a folder")


def _probed(folder: Path) -> Iterator[Finding]:
    if folder.is_file():
        yield _no_folder(folder)
        return
    asked, folder = folder, _existing(folder.resolve())
    yield from _elsewhere(asked, folder)
    place = folder / f".evohpc-doctor-{secrets.token_hex(4)}"
    try:
        write_atomic(place / "file", "x")
    except StorageError as error:
        yield fault("writing", str(error), "choose a folder of yours")
        return
    try:
        yield from attempt("locks", "locking a file from two processes", lambda: _locks(place / "file"))
        yield from attempt("links", "linking a file twice", lambda: _single_winner(place / "once"))
        yield from attempt("visibility", "renaming a file in another process", lambda: _visibility(place))
        yield from attempt("fsync", "writing small files", lambda: _fsync(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _file_system(folder: Path, on_cluster: bool, mountinfo: str | None) -> Finding:
    text = mountinfo
    if text is None:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return mounts.judge(mounts.mount_of(folder, text), on_cluster)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _elsewhere(asked: Path, looked_at: Path) -> Iterator[Finding]:
    if looked_at != asked.resolve():
        yield ok("run folder", f"there is no folder {asked} yet; {looked_at}, in which it would be, is looked at")


def _space(folder: Path) -> Finding:
    status, path = os.statvfs(folder), folder / f".evohpc-doctor-{secrets.token_hex(4)}"
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, NEEDED_MB << 20)
    except OSError as error:
        why = "your quota is used up" if error.errno == errno.EDQUOT else os.strerror(error.errno or 0).lower()
        return fault("space", f"{NEEDED_MB} MB do not fit into {folder}: {why}", "free some space; see `quota`")
    finally:
        path.unlink(missing_ok=True)
    if status.f_files > 0 and status.f_favail < _NEEDED_INODES:
        return fault("space", f"only {status.f_favail} more files fit into {folder}", "remove some; see `quota`")
    return ok("space", f"{status.f_bavail * status.f_frsize / 1e9:.0f} GB free")


def _skew(folder: Path, clock: Callable[[], float]) -> Finding:
    path = folder / f".evohpc-doctor-{secrets.token_hex(4)}"
    path.touch()
    skew = path.stat().st_mtime - clock()
    path.unlink()
    if abs(skew) > _MAX_SKEW_S:
        return warning(
            "clock", f"the file server is {skew:+.0f} s off this host", "times in logs will not fit together"
        )
    return ok("clock", "this host and the file server agree")


def _locks(file: Path) -> Finding:
    with file.open("r+") as held:
        try:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return fault(
                "locks", f"fcntl locks do not work: {error.strerror}", "choose another file system for the run"
            )
        other = subprocess.run([*python(), "-c", _LOCKER, str(file)], capture_output=True, timeout=_TIMEOUT_S)
    if other.returncode == 0:
        return fault("locks", "two processes got the same lock", "choose another file system for the run")
    return ok("locks", "exclude other processes of this host")


def _single_winner(path: Path) -> Finding:
    if write_once(path, "first") and not write_once(path, "second") and path.read_text() == "first":
        return ok("links", "a file is created once only")
    return fault("links", "link(2) replaced an existing file", "choose another file system for the run")


def _visibility(folder: Path) -> Finding:
    """Have another process rename a file into place, and see how long a listing does without it."""
    code = "import os, sys; open(sys.argv[1], 'w').close(); os.rename(sys.argv[1], sys.argv[2])"
    subprocess.run([*python(), "-c", code, folder / "aside", folder / "seen"], check=True, timeout=_TIMEOUT_S)
    started = time.monotonic()
    while "seen" not in os.listdir(folder):
        if time.monotonic() - started > 60:
            return fault(
                "visibility", "a renamed file stays unseen for a minute", "ask the site; results would be lost"
            )
        time.sleep(0.05)
    waited = time.monotonic() - started
    if waited > 1:
        return warning(
            "visibility", f"files are seen after {waited:.0f} s", "set scheduler.grace_s to three times that"
        )
    return ok("visibility", "renamed files are seen at once (from this host)")


def _fsync(folder: Path) -> Finding:
    seconds = []
    for number in range(_TRIES):
        started = time.perf_counter()
        write_atomic(folder / f"sync-{number}", "x" * 4096)
        seconds.append(time.perf_counter() - started)
    slow = sorted(seconds)[int(0.95 * _TRIES) - 1]
    if slow > _SLOW_FSYNC_S:
        return warning(
            "fsync", f"a small file takes {slow:.2f} s", "use more candidates_per_task, so that files come rarer"
        )
    return ok("fsync", f"a small file takes {1000 * slow:.1f} ms (95 %)")
