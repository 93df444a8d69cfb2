"""Modules out of a stage's reach. What that holds against candidates is in test_hostile.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evohpc.sandbox import confine, hiding, landlock

PACKAGE = Path(confine.__file__).parent.parent
NAME = "evohpc.tasks.mnist1d_data"
FILE = PACKAGE / "tasks/mnist1d_data.py"


@pytest.fixture(autouse=True)
def _not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)


@pytest.mark.parametrize("root", [PACKAGE, PACKAGE.parent, Path("/")], ids=["checkout", "site-packages", "all"])
def test_no_rule_covers_what_is_hidden(root: Path) -> None:
    hidden = hiding.places([NAME], [PACKAGE.parent])
    rules = list(hiding.rules(root, hidden))
    readable = [path.resolve() for path, rights in rules if rights != landlock.LIST]
    assert FILE in hidden
    assert not [path for path in readable if any(place.is_relative_to(path) for place in hidden)]
    assert PACKAGE / "tasks/mnist1d.py" in readable
    assert (root, landlock.LIST) in rules


def test_what_is_not_near_is_one_rule() -> None:
    assert list(hiding.rules(Path("/usr/lib"), frozenset({FILE}))) == [(Path("/usr/lib"), landlock.READ)]
    assert list(hiding.rules(FILE, frozenset({FILE}))) == []
    assert list(hiding.rules(FILE, frozenset({FILE.parent}))) == []


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/secret.py").touch()
    (tmp_path / "inside/other.py").touch()
    (tmp_path / "inside/back").symlink_to(tmp_path)
    rules = list(hiding.rules(tmp_path, {tmp_path / "inside/secret.py"}))
    assert [path for path, rights in rules if rights == landlock.READ] == [tmp_path / "inside/other.py"]


def test_every_copy_and_form_of_a_module_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "answers/__pycache__").mkdir(parents=True)
        for name in ("right.py", "right.so", "righteous.py", "__pycache__/right.cpython-311.pyc"):
            (tmp_path / folder / "answers" / name).touch()
    monkeypatch.syspath_prepend(tmp_path / "one")
    found = hiding.places(["answers.right"], [tmp_path / "two"])
    names = ("right.py", "right.so", "__pycache__/right.cpython-311.pyc")
    assert found == {tmp_path / folder / "answers" / name for folder in ("one", "two") for name in names}
    assert {tmp_path / "one/answers", tmp_path / "two/answers"} <= hiding.places(["answers"], [tmp_path / "two"])
    assert hiding.places(["nothing.of.that.name"], []) == frozenset()


def test_what_is_imported_cannot_be_hidden_any_more() -> None:
    with pytest.raises(RuntimeError, match=r"evohpc\.sandbox\.hiding is to be hidden, and was imported before"):
        hiding.places(["evohpc.sandbox.hiding"], [])
