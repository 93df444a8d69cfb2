import importlib
from pathlib import Path

import pytest

from evohpc.report.module_name import module_name


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("r003p07s012", "r003p07s012"),
        ("seed-v1_standard", "seed_v1_standard"),
        ("my net.v2", "my_net_v2"),
        ("2conv", "_2conv"),
        ("class", "_class"),
        ("größe", "gr__e"),
        ("", "_"),
    ],
)
def test_python_can_import_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, id: str, name: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{module_name(id)}.py").write_text("said = 1\n")
    assert module_name(id) == name
    assert importlib.import_module(name).said == 1
