"""The tasks under examples/, checked and searched as a user would."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import call
from support.paths import ROOT

from evohpc.config.search import load_config
from evohpc.messages import SEED_ROUND, Status
from evohpc.report.reader import Reading
from evohpc.search.search import Search
from evohpc.tasks.base import load_task

CONFIGS = sorted((ROOT / "examples").glob("*/config.yaml"))
pytestmark = pytest.mark.usefixtures("unsynced")


def name(path: Path) -> str:
    return path.parent.name


def test_there_are_examples_of_three_kinds() -> None:
    assert [name(path) for path in CONFIGS] == ["characters", "regression", "segmentation"]
    page = (ROOT / "examples" / "README.md").read_text()
    assert not [path for path in CONFIGS if f"[{name(path)}]({name(path)}/" not in page]


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_an_example_is_a_task_that_loads(path: Path) -> None:
    config = load_config(path)
    task = load_task(config.task, config.task_options)
    assert task.prepare(0).labels
    assert len(list(config.seeds.glob("*.py"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_an_example_has_no_fault(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "check-task", path, "--seconds", "250", "--set", "evaluation.time_limit_s=250")
    assert code == 0, out
    assert out.count("parameters, fitness") == 2, out
    assert "warning" not in out


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_an_example_is_searched(path: Path, tmp_path: Path) -> None:
    config = load_config(path, ["search.rounds=1", "search.prompts_per_round=3", "evaluation.time_limit_s=250"])
    with Search.create(tmp_path / "run", config) as search:
        search.run()
    with Reading(tmp_path / "run") as reading:
        children = reading.store.counts(0)
        seeds = reading.store.counts(SEED_ROUND)
    assert seeds == {Status.TRAINED: 2}
    assert children.get(Status.TRAINED, 0) >= 1, children
