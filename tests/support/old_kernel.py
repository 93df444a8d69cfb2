"""A kernel without Landlock, as programs see it that are started here: its system calls are unknown to them."""

from __future__ import annotations

import sys
from pathlib import Path

from support.paths import ROOT

_SCRIPT = """#!{python} -P
import errno, os, sys
sys.path.insert(0, {root!r})
from evohpc.sandbox import seccomp
from evohpc.sandbox.seccomp import Instruction as I
LOAD, EQUAL, RETURN, NUMBER, ALLOW, ERRNO = 0x20, 0x15, 0x06, 0, 0x7FFF0000, 0x00050000
unknown = [i for n in (444, 445, 446) for i in (I(EQUAL, 0, 1, n), I(RETURN, 0, 0, ERRNO | errno.ENOSYS))]
seccomp.build = lambda *_: [I(LOAD, 0, 0, NUMBER), *unknown, I(RETURN, 0, 0, ALLOW)]
seccomp.restrict()
os.execv({program!r}, [{program!r}, *sys.argv[1:]])
"""


def without_landlock(folder: Path, program: str) -> Path:
    """Return a command that runs a program on such a kernel, made in a folder."""
    path = folder / Path(program).name
    path.write_text(_SCRIPT.format(python=sys.executable, root=str(ROOT), program=program))
    path.chmod(0o755)
    return path
