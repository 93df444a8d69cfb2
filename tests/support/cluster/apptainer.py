"""A real Apptainer in a private folder, from Debian's package.

Debian has it in `sid` only, built against a newer C library. All that it needs of that are two symbols that C23 renamed
(`__isoc23_strtol` and `__isoc23_strtoul`); pointed back at the old names, the programs run on Debian 12.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from support.cluster import packages
from support.cluster.packages import Unavailable

_PREFIX = Path("/var/tmp/evohpc-test-apptainer")
_NEWEST = (2, 36)


@cache
def install() -> Path:
    """Return the `apptainer` command; installs it on first use.

    Raises:
        Unavailable: this machine cannot have it.
    """
    command = _PREFIX / "bin" / "apptainer"
    if command.exists():
        return command
    packages.require(packages.IMAGES)
    with tempfile.TemporaryDirectory(prefix="evohpc-apptainer-", dir=_PREFIX.parent) as folder:
        tree = Path(folder) / "prefix"
        _unpack(_download(Path(folder)), tree)
        try:
            tree.rename(_PREFIX)
        except OSError:  # a session beside this one was faster
            if not command.exists():
                raise
    return command


def builder(folder: Path) -> Path:
    """Return a command that can build images here. Root lacks a capability that Apptainer wants for %post, but has it
    in a user namespace of its own, which has no network."""
    command = folder / "apptainer"
    command.write_text(f'#!/bin/sh\nexec unshare --user --map-root-user --net --mount {install()} "$@"\n')
    command.chmod(0o755)
    return command


def _download(folder: Path) -> Path:
    """Fetch the package through an apt of its own, so that this machine's sources stay as they are."""
    for name in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "etc" / "sources.list").write_text(f"deb [signed-by={keys}] {_mirror()} sid main\n")
    settings = {
        "Dir::Etc": folder / "etc",
        "Dir::Etc::sourcelist": "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::parts": folder / "etc/apt.conf.d",
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]
    for verb in (["update"], ["download", "apptainer"]):
        done = subprocess.run(["apt-get", "-qq", *options, *verb], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"apptainer cannot be downloaded: {done.stderr.strip().rpartition(chr(10))[2]}")
    return next(folder.glob("apptainer_*.deb"))


def _mirror() -> str:
    """Return where this machine gets its own Debian packages from."""
    for file in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"):
        text = Path(file).read_text() if Path(file).exists() else ""
        if found := re.search(r"^(?:URIs:\s*|deb\s+(?:\[.*\]\s+)?)(\S+://\S+)", text, re.MULTILINE):
            return found[1]
    raise Unavailable("no Debian mirror is configured here")


def _unpack(package: Path, prefix: Path) -> None:
    unpacked = package.parent / "unpacked"
    subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True)
    (prefix / "var/lib/apptainer/mnt/session").mkdir(parents=True)
    (unpacked / "usr/bin").rename(prefix / "bin")
    (unpacked / "usr/lib").rename(prefix / "lib")
    (unpacked / "etc").rename(prefix / "etc")
    # The starter lies under PREFIX/lib and takes that for its prefix.
    for name in ("etc", "var"):
        (prefix / "lib" / name).symlink_to(f"../{name}")
    for program in (prefix / "bin/apptainer", *prefix.glob("lib/*/apptainer/bin/starter")):
        _use_old_names(program)
    conf = prefix / "etc/apptainer/apptainer.conf"
    text = conf.read_text().replace("systemd cgroups = yes", "systemd cgroups = no")
    # Root in a container of this machine lacks a capability that "full" asks for.
    conf.write_text(re.sub(r"^root default capabilities = .*$", "root default capabilities = no", text, flags=re.M))


def _use_old_names(program: Path) -> None:
    """Rewrite the dynamic symbols of an ELF64 file in place (the layout is in elf(5))."""
    data = bytearray(program.read_bytes())
    sections = _sections(data)
    strings = sections[".dynstr"][0]
    new = {}
    for index, offset, version in _needed_versions(data, sections, strings):
        if tuple(map(int, re.findall(r"\d+", version))) > _NEWEST and version.startswith("GLIBC_2."):
            new[index] = offset
        elif version == "GLIBC_2.2.5":
            oldest = struct.unpack_from("<I", data, offset + 8)[0]
    start, size = sections[".dynsym"]
    for number in range(size // 24):
        version = struct.unpack_from("<H", data, sections[".gnu.version"][0] + 2 * number)[0] & 0x7FFF
        if version in new:
            (name,) = struct.unpack_from("<I", data, start + 24 * number)
            text = _string(data, strings + name)
            if not text.startswith("__isoc23_"):
                raise Unavailable(f"{program.name} needs {text} of a newer C library")
            struct.pack_into("<I", data, start + 24 * number, name + len("__isoc23_"))
    for offset in new.values():
        struct.pack_into("<I", data, offset, _hash("GLIBC_2.2.5"))
        struct.pack_into("<I", data, offset + 8, oldest)
    program.write_bytes(data)


def _sections(data: bytearray) -> dict[str, tuple[int, int]]:
    """Name -> offset and size."""
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry, count, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, table + number * entry) for number in range(count)]
    return {_string(data, headers[names][4] + header[0]): (header[4], header[5]) for header in headers}


def _needed_versions(data: bytearray, sections: dict[str, tuple[int, int]], strings: int) -> list[tuple[int, int, str]]:
    """Index, offset of the entry, and name, of each version that the file needs of a library."""
    found, need = [], sections[".gnu.version_r"][0]
    while True:
        _, count, _, first, following = struct.unpack_from("<HHIII", data, need)
        entry = need + first
        for _ in range(count):
            _, _, index, name, step = struct.unpack_from("<IHHII", data, entry)
            found.append((index, entry, _string(data, strings + name)))
            entry += step
        if not following:
            return found
        need += following


def _string(data: bytearray, offset: int) -> str:
    return data[offset : data.index(0, offset)].decode()


def _hash(name: str) -> int:
    """The System V ABI's hash of a symbol name."""
    value = 0
    for character in name.encode():
        value = (value << 4) + character
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value
