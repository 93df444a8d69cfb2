"""The arrays of a run, read from file systems of all kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import safetensors.numpy
from safetensors.numpy import save_file

from evohpc.tasks.data import read_arrays

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "x": np.arange(6, dtype=np.float32).reshape(2, 3),
    "none": np.zeros((0, 2), dtype=np.int64),
}


def no_mapping() -> OSError:
    """What safetensors raises where a file cannot be mapped, as those of /proc cannot."""
    with pytest.raises(OSError, match=r"os error 19") as raised:
        safetensors.numpy.load_file("/proc/self/mountinfo")
    return raised.value


@pytest.mark.parametrize("maps", [True, False])
def test_arrays_are_read_where_no_file_can_be_mapped_too(
    tmp_path: Path, maps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(ARRAYS, tmp_path / "data")
    error = no_mapping()

    def refuse(path: Path) -> NoReturn:
        raise error

    if not maps:
        monkeypatch.setattr(safetensors.numpy, "load_file", refuse)
    found = read_arrays(tmp_path / "data")
    assert found.keys() == ARRAYS.keys()
    assert all(np.array_equal(found[name], ARRAYS[name]) and found[name].flags.writeable for name in ARRAYS)


def test_a_file_that_is_not_there_is_no_file_that_cannot_be_mapped(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none")
