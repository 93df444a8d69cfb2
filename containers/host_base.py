#!/usr/bin/env python3
"""Make a base folder for `build.sh` out of this machine's own files: for sites that can reach no registry.

    containers/host_base.py FOLDER

It holds the Python that runs this script (standard library, no packages), a shell, coreutils and the libraries that
they load: nothing is downloaded, and the image's C library is the host's.
"""

from __future__ import annotations

import compileall
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

TOOLS = (
    "bash sh basename cat chmod cp cut date dirname echo env expr false find getopt grep gzip head hostname id "
    "ldconfig ln ls mkdir mktemp mv nproc printf pwd readlink rm rmdir sed seq sleep sort stat tail tar tee test "
    "timeout touch tr true uname wc xargs"
)
LIBRARIES = (
    "libstdc++.so.6 libgcc_s.so.1 libgomp.so.1 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libutil.so.1 "
    "libnss_files.so.2 libnss_dns.so.2 libresolv.so.2"
)
FOLDERS = (
    "dev",
    "etc",
    "home",
    "in",
    "mnt",
    "model",
    "opt/evohpc",
    "out",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "var/tmp",
)
LEFT_OUT = (
    *("site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "ensurepip", "__pycache__"),
    *("config-*", "*.a", "EXTERNALLY-MANAGED"),
)


def main() -> None:
    """Make the folder that the command line names."""
    root = Path(sys.argv[1])
    if root.exists():
        sys.exit(f"{root} is there already; remove it, or name another folder")
    lay_out(root)
    copy_python(root)
    for tool in TOOLS.split():
        if found := shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin"):
            copy(Path(found), root / "usr/bin" / tool)
    copy_libraries(root)
    (root / "etc/ld.so.conf").write_text("/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n/usr/lib64\n")
    subprocess.run(["/sbin/ldconfig", "-r", root], check=True)
    # The image is read-only when it runs; without this each start of Python would compile its library anew.
    compileall.compile_dir(root / "usr/local" / sys.platlibdir, quiet=2, workers=0, stripdir=str(root), prependdir="/")


def lay_out(root: Path) -> None:
    """Make the folders and the few files that a root needs."""
    for name in ("usr/bin", "usr/lib", "usr/lib64", "usr/local", *FOLDERS):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "sbin").symlink_to("usr/bin")
    (root / "tmp").chmod(0o1777)
    etc = {
        "passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "group": "root:x:0:\n",
        "hosts": "127.0.0.1 localhost\n",
        "resolv.conf": "",
    }
    etc |= {"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n", "localtime": ""}
    for name, text in etc.items():
        (root / "etc" / name).write_text(text)


def copy_python(root: Path) -> None:
    """Copy the interpreter and its standard library to /usr/local."""
    prefix, name = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    target, stdlib = root / "usr/local", Path(sys.platlibdir) / name
    shutil.copytree(prefix / stdlib, target / stdlib, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (target / "lib" / name / "site-packages").mkdir(parents=True)
    for library in prefix.glob("lib/libpython*.so*"):
        shutil.copy2(library, target / "lib")
    (target / "bin").mkdir()
    shutil.copy2((prefix / "bin" / name).resolve(), target / "bin" / name)
    for link in ("python3", "python"):
        (target / "bin" / link).symlink_to(name)


def copy_libraries(root: Path) -> None:
    """Copy the shared libraries that anything in the folder loads, and those that packages usually want."""
    programs = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and is_elf(path)]
    for library in {*loaded(programs), *known()}:
        inside = str(library).removeprefix("/usr").lstrip("/")
        copy(library, root / "usr" / inside)


def loaded(programs: Iterable[Path]) -> Iterator[Path]:
    """What the dynamic linker loads for these files of the host, the linker itself included."""
    shown = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True).stdout
    for path in re.findall(r"(?:=> |^\t)(/\S+) \(0x", shown, re.MULTILINE):
        if Path(path).exists():
            yield Path(path)


def known() -> Iterator[Path]:
    """Where the host has the libraries that packages usually want."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    paths = dict(reversed(re.findall(r"^\t(\S+) \(libc6,x86-64.*\) => (\S+)$", listed, re.MULTILINE)))
    return (Path(paths[name]) for name in LIBRARIES.split() if name in paths)


def is_elf(path: Path) -> bool:
    """Say whether a file is a program or shared library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def copy(source: Path, target: Path) -> None:
    """Copy what a path leads to, unless it is there."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source.resolve(), target)


if __name__ == "__main__":
    main()
