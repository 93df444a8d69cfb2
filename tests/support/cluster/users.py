"""A user without privileges, for what nobody does as root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.cluster.packages import Unavailable

_NAME = f"evohpc-test-{os.getpid()}"  # sessions may run side by side


@dataclass(frozen=True)
class User:
    """Someone who types commands, and the folder that is theirs."""

    name: str
    home: Path

    def type(self, line: str) -> str:
        """Return what a command line prints that this user types in their folder; commands in its `bin` come first."""
        drop = ["setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--clear-groups"]
        shell = [*drop, "bash", "-euo", "pipefail", "-c", line]
        own = {"HOME": str(self.home), "USER": self.name, "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            shell, cwd=self.home, env={**os.environ, **own}, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout


@contextmanager
def made() -> Iterator[User]:
    """Have a user for a while.

    Raises:
        Unavailable: this machine makes no users.
    """
    if shutil.which("useradd") is None or os.geteuid() != 0:
        raise Unavailable("not root, or no useradd")
    with contextlib.suppress(KeyError):  # left behind by a session that was killed, of the same number
        pwd.getpwnam(_NAME)
        subprocess.run(["userdel", _NAME], check=True, capture_output=True)
    subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", _NAME], check=True)
    home = Path(tempfile.mkdtemp(prefix=f"{_NAME}-"))
    home.chmod(0o755)
    shutil.chown(home, _NAME, _NAME)
    try:
        yield User(_NAME, home)
    finally:
        shutil.rmtree(home)
        subprocess.run(["userdel", _NAME], check=True, capture_output=True)
