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
from evohpc.tasks.program import is_program

CONFIGS = sorted((ROOT / "examples").glob("*/config.yaml"))
OF_PROGRAMS = ["bin_packing", "openevolve", "quadrature"]
pytestmark = pytest.mark.usefixtures("unsynced")


def name(path: Path) -> str:
    return path.parent.name


def test_there_are_examples_of_networks_and_of_programs() -> None:
    names = ["bin_packing", "characters", "openevolve", "quadrature", "regression", "segmentation"]
    assert [name(path) for path in CONFIGS] == names
    page = (ROOT / "examples" / "README.md").read_text()
    assert not [path for path in CONFIGS if f"[{name(path)}]({name(path)}/" not in page]


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_an_example_is_a_task_that_loads(path: Path) -> None:
    config = load_config(path)
    task = load_task(config.task, config.task_options)
    assert task.prepare(0).inputs
    assert len(list(config.seeds.glob("*.py"))) == 2


def test_half_of_the_examples_are_of_programs() -> None:
    configs = {name(path): load_config(path) for path in CONFIGS}
    tasks = {example: load_task(config.task, config.task_options) for example, config in configs.items()}
    assert [example for example, task in tasks.items() if is_program(task)] == OF_PROGRAMS


@pytest.mark.parametrize(
    "example", [name if name == "quadrature" else pytest.param(name, marks=pytest.mark.slow) for name in OF_PROGRAMS]
)
def test_an_example_of_programs_is_searched_in_seconds(example: str, tmp_path: Path) -> None:
    few = ["search.rounds=1", "search.prompts_per_round=2", "evaluation.workers=1"]
    config = load_config(ROOT / "examples" / example / "config.yaml", few)
    with Search.create(tmp_path / "run", config) as search:
        search.run()
        (best,) = search.best(1)
    with Reading(tmp_path / "run") as reading:
        children, seeds = reading.store.counts(0), reading.store.counts(SEED_ROUND)
    assert seeds == {Status.TRAINED: 2}
    assert children.get(Status.TRAINED, 0) >= 1, children
    assert not [status for status in children if status.is_machine_fault or status is Status.TASK_ERROR], children
    assert best.fitness is not None
    assert best.fitness <= 0


@pytest.mark.slow
def test_the_example_whose_score_can_be_forged_is_told_from_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "check-task", ROOT / "examples/openevolve/config.yaml")
    assert code == 0, out
    assert "warning  score: there are no labels, so a candidate's score is what its own process says" in out
    page = (ROOT / "examples/openevolve/adapter.py").read_text()
    assert "Such a score can be forged." in page


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in CONFIGS if name(path) != "openevolve"], ids=name)
def test_an_example_has_no_fault(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "check-task", path, "--seconds", "250", "--set", "evaluation.time_limit_s=250")
    assert code == 0, out
    assert out.count(", fitness ") == 2, out
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
