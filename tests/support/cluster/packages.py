"""Debian packages that the cluster tests need: installed where this machine allows it, a reason to skip where not."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

SLURM = ("slurmctld", "slurmd", "slurm-client", "munge")
ACCOUNTING = ("slurmdbd", "mariadb-server-core", "mariadb-client-core")
IMAGES = ("squashfs-tools", "squashfuse", "fuse-overlayfs", "fuse3", "libseccomp2", "libsqlite3-0")


class Unavailable(Exception):
    """This machine cannot run such a test; the text says why."""


@cache
def require(packages: tuple[str, ...]) -> None:
    """Install what is missing.

    Raises:
        Unavailable: not Debian, not root, or the packages cannot be had.
    """
    if shutil.which("dpkg-query") is None:
        raise Unavailable("the cluster tests install Debian packages, and this is no Debian")
    missing = [name for name in packages if not _installed(name)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise Unavailable(f"not root, and these packages are missing: {' '.join(missing)}")
    _apt("update", "-qq")
    _apt("install", "-y", "-qq", "--no-install-recommends", *missing)


def _installed(name: str) -> bool:
    query = ["dpkg-query", "-W", "-f=${db:Status-Status}", name]
    return subprocess.run(query, capture_output=True, text=True).stdout == "installed"


def _apt(*arguments: str) -> None:
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=3", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"{' '.join(arguments)}: {done.stderr.strip().rpartition(chr(10))[2]}")
