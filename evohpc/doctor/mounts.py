"""Which file system a path is on, and whether a run folder belongs there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from evohpc.doctor.base import Finding, fault, ok, warning

_CHECK = "file system"
_VOLATILE = {"tmpfs", "ramfs", "overlay", "squashfs"}
_ONE_HOST = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs"}
_SHARED = {"gpfs", "beegfs", "ceph", "panfs", "wekafs", "afs"}


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    point: str
    kind: str
    """e.g. 'nfs4', 'lustre', 'ext4', 'fuse.sshfs'."""
    options: frozenset[str]


def mount_of(path: Path, mountinfo: str) -> Mount:
    """Return the mount that holds a path, from the text of /proc/self/mountinfo (proc(5)); one of kind 'unknown' if no
    line tells of it. Lines of another form are passed over."""
    mounts = [mount for line in mountinfo.split("\n") if (mount := _parse(line)) is not None]
    holding = [mount for mount in mounts if path.is_relative_to(mount.point)]
    # The last of equals: it was mounted over the others.
    return max(reversed(holding), key=lambda mount: len(mount.point), default=Mount("/", "unknown", frozenset()))


def judge(mount: Mount, on_cluster: bool) -> Finding:
    """Say whether a run folder belongs on a mount. The ledger never uses SQLite's WAL, which no network mount bears.

    Args:
        on_cluster: jobs on other nodes must see it.
    """
    kind, found = mount.kind, f"{mount.point} is {mount.kind}"
    if kind in _VOLATILE:
        return fault(_CHECK, found, "a run folder there is gone with the machine; put it on a disk")
    if "ro" in mount.options:
        return fault(_CHECK, f"{found}, read-only", "put the run folder where you can write")
    if kind in _ONE_HOST:
        return _one_host(found) if on_cluster else ok(_CHECK, found)
    if kind in {"nfs", "nfs4", "nfs3"} and any(o in mount.options for o in ("local_lock=all", "local_lock=posix")):
        return warning(
            _CHECK, f"{found} with local locks", "look at the run (status, report) on the driver's node only"
        )
    if kind == "nfs" and {"nolock"} & mount.options:
        return warning(_CHECK, f"{found} without locks", "look at the run (status, report) on the driver's node only")
    if kind == "lustre" and "flock" not in mount.options:
        how = "locks of one node only" if "localflock" in mount.options else "no locks"
        return warning(_CHECK, f"{found} with {how}", "ask for the mount option `flock`, or run the driver elsewhere")
    if kind in _SHARED or kind in {"nfs", "nfs4", "nfs3", "lustre"}:
        return ok(_CHECK, found)
    if kind.startswith("fuse") or kind in {"cifs", "smb3", "9p"}:
        return fault(_CHECK, found, "its locks are not to be trusted; put the run folder on the cluster's file system")
    return warning(_CHECK, found, "evohpc does not know it; `evohpc doctor fs PATH` tries what a search needs")


def _one_host(found: str) -> Finding:
    return warning(_CHECK, f"{found}, a disk of one machine", "the cluster's nodes must see the run folder, too")


def _parse(line: str) -> Mount | None:
    before, _, after = line.partition(" - ")
    fields, last = before.split(" "), after.split(" ")  # at each space: a mount without a source has two in a row
    if len(fields) < 6 or len(last) < 2 or not fields[4].startswith("/") or not last[0]:
        return None
    kind, options = last[0], last[2] if len(last) > 2 else ""
    every = {*fields[5].split(","), *options.split(",")} - {"rw", ""}
    return Mount(_unescape(fields[4]), kind, frozenset(every))


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
