from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import evohpc


def test_at_most_eleven_names_and_all_of_them_are_there() -> None:
    assert len(evohpc.__all__) <= 11
    for name in evohpc.__all__:
        assert getattr(evohpc, name).__name__ == name
        assert getattr(evohpc, name).__doc__
    assert dir(evohpc) == sorted(evohpc.__all__)


def test_the_version_is_that_of_the_package() -> None:
    assert evohpc.__version__ == metadata.version("evohpc")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Serch'"):
        _ = evohpc.Serch


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, evohpc; print([m for m in sys.modules if m.startswith('evohpc.') or m == 'torch'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
