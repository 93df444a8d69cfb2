"""Files that a candidate left, read as what they are."""

from __future__ import annotations

import json
import os
import socket
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from evohpc.sandbox import outputs
from evohpc.sandbox.outputs import Budget, Untrusted

LIMIT = 1 << 20


def header(document: object, data: bytes = b"") -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + data


def f32(start: int, end: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def test_reads_what_safetensors_wrote(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7), "c": np.zeros((0, 4), np.float16)}
    save_file(arrays, tmp_path / "x.safetensors")
    read = outputs.read_arrays(tmp_path / "x.safetensors", Budget(LIMIT, 100))
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04" + bytes(100),
        b"\x80\x04" + bytes(100),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        header(b"[" * 100_000),
        header(b"\xff\xfe"),
        header([1, 2]),
        header({"a": 1}),
        header({"a": f32(0, 4, [1])}),
        header({"a": f32(0, 8, [1])}, bytes(8)),
        header({"a": f32(0, 4, [-1])}, bytes(4)),
        header({"a": f32(0, 4, [1.0])}, bytes(4)),  # type: ignore[list-item]
        header({"a": f32(0, 4, [True])}, bytes(4)),
        header({"a": f32(0, 4, [2**62, 2**62])}, bytes(4)),
        *(header({"a": f32(0, 0, shape)}) for shape in ([0, 2**40], [2**63, 0], [0, 10**30], [2**40, 0, 2**40])),
        header({"a": f32(0, 4, [1]), "b": f32(0, 4, [1])}, bytes(4)),
        header({"a": f32(0, 4, [1]), "b": f32(8, 12, [1])}, bytes(12)),
        header({"a": f32(0, 4, [1])}, bytes(5)),
        header({"a": {**f32(0, 4, [1]), "dtype": "PICKLE"}}, bytes(4)),
        header(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}', bytes(4)),
    ],
)
def test_refuses_what_is_no_safetensors_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Untrusted):
        outputs.read_arrays(tmp_path / "x", Budget(LIMIT, 100))


def test_a_large_claim_allocates_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(header({"a": f32(0, 2**50, [2**48])}))
    with pytest.raises(Untrusted, match=f"speaks of {2**50} bytes, there are 0"):
        outputs.read_arrays(tmp_path / "x", Budget(LIMIT, 100))


def empty_arrays(count: int) -> bytes:
    """The largest header of a size, as arrays without numbers need few bytes of it."""
    entries = {f"{number:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(count)}
    return header(json.dumps(entries, separators=(",", ":")).encode())


def test_a_header_is_small_or_not_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(empty_arrays(20_000))
    with pytest.raises(Untrusted, match=r"header of \d+ bytes"):
        outputs.read_arrays(tmp_path / "x", Budget(1 << 30, 1 << 30))


def test_many_files_are_bounded_together(tmp_path: Path) -> None:
    budget = Budget(1 << 20, 1000)
    (tmp_path / "x").write_bytes(empty_arrays(270))
    for _ in range(3):
        outputs.read_arrays(tmp_path / "x", budget)
    with pytest.raises(Untrusted, match="x: more has been left than is read"):
        outputs.read_arrays(tmp_path / "x", budget)
    save_file({"a": np.zeros(1000)}, tmp_path / "y")
    budget = Budget(10_000, 10)
    outputs.read_arrays(tmp_path / "y", budget)
    with pytest.raises(Untrusted, match=r"y has 80\d\d bytes, at most \d+ are allowed"):
        outputs.read_arrays(tmp_path / "y", budget)


def test_the_most_that_fits_takes_little_memory(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(100)]
    for path in paths:
        path.write_bytes(empty_arrays(100))
    budget = Budget(1 << 30, 10_000)
    tracemalloc.start()
    kept = [outputs.read_arrays(path, budget) for path in paths]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(map(len, kept)) == 10_000
    assert most < 10 << 20


def test_numbers_are_in_memory_once(tmp_path: Path) -> None:
    save_file({name: np.zeros(1 << 20) for name in "abc"}, tmp_path / "x")
    tracemalloc.start()
    outputs.read_arrays(tmp_path / "x", Budget(1 << 30, 10))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1.3 * (3 << 23)


def test_a_copy_has_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(3 << 20) + b"end")
    (tmp_path / "x").chmod(0o400)
    outputs.copy_file(tmp_path / "x", tmp_path / "y", 4 << 20)
    assert (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()
    assert (tmp_path / "y").stat().st_mode & 0o600 == 0o600
    with pytest.raises(Untrusted, match="at most 5 are allowed"):
        outputs.copy_file(tmp_path / "x", tmp_path / "z", 5)
    assert not (tmp_path / "z").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(tmp_path: Path, value: float) -> None:
    save_file({"a": np.array([1.0, value])}, tmp_path / "x")
    with pytest.raises(FloatingPointError, match="'a' is not finite"):
        outputs.read_arrays(tmp_path / "x", Budget(LIMIT, 100))


def test_follows_no_link_and_waits_for_no_fifo(tmp_path: Path) -> None:
    save_file({"a": np.zeros(1)}, tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("link", "fifo", "socket", "missing", "."):
            with pytest.raises(Untrusted):
                outputs.read_bytes(tmp_path / name, LIMIT)
    os.link(tmp_path / "real", tmp_path / "hard")
    with pytest.raises(Untrusted, match="one name"):
        outputs.read_bytes(tmp_path / "real", LIMIT)


def test_refuses_a_large_file_unread(tmp_path: Path) -> None:
    with open(tmp_path / "x", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Untrusted, match=f"at most {LIMIT} are allowed"):
        outputs.read_bytes(tmp_path / "x", LIMIT)


def test_lists_plain_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    with pytest.raises(Untrusted):
        outputs.list_files(folder, 10)
    folder.mkdir()
    for name in ("b", "a"):
        (folder / name).touch()
    assert [path.name for path in outputs.list_files(folder, 2)] == ["a", "b"]
    with pytest.raises(Untrusted, match="more than 1"):
        outputs.list_files(folder, 1)
    (folder / "link").symlink_to("a")
    with pytest.raises(Untrusted, match="'link' is no regular file"):
        outputs.list_files(folder, 10)
    (tmp_path / "elsewhere").symlink_to(folder)
    with pytest.raises(Untrusted, match="is no folder"):
        outputs.list_files(tmp_path / "elsewhere", 10)


VALID = save({"weight": np.arange(12, dtype=np.float32).reshape(3, 4), "n": np.array(3)})


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_damage_is_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    damaged = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    try:
        arrays = outputs.read_arrays(path, Budget(LIMIT, 100))
    except (Untrusted, FloatingPointError):
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(VALID)
