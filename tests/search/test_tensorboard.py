"""Event files, read back by TensorBoard itself."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.searching import go_on, wish

from evohpc.messages import Status
from evohpc.report.reader import Reading
from evohpc.store.rows import Entry
from evohpc.store.store import Store

CHILDREN = 16
"""Of the search: two rounds of eight."""


def told(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return by tag the steps and values that TensorBoard shows of a run."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={accumulator.SCALARS: 0}).Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture
def over(finished_run: Path, tmp_path: Path) -> Path:
    """A search that is over, and whose driver has not told its trackers yet."""
    pytest.importorskip("tensorboard")
    return wish(finished_run, tmp_path, "tensorboard")


def test_a_search_is_there_child_by_child(over: Path) -> None:
    go_on(over)
    shown = told(over)
    with Reading(over) as reading:
        entries = list(reading.store.every())
    children = [entry for entry in entries if entry.candidate.round >= 0]
    assert len(children) == CHILDREN
    fitness = {number: entry.fitness for number, entry in enumerate(children, 1) if entry.fitness is not None}
    assert dict(shown["child/fitness"]) == pytest.approx(fitness)
    passing = [entry.fitness for entry in entries if entry.error is not None and entry.error < 0.5]
    last, best = shown["best/fitness"][-1]
    assert last == CHILDREN
    assert best == pytest.approx(max(f for f in passing if f is not None))
    assert [value for _, value in shown["best/fitness"]] == sorted(value for _, value in shown["best/fitness"])
    assert shown["best/num_params"][0][0] == 0
    for number, (step, share) in enumerate(shown[f"outcome/{Status.TRAINED}"]):
        trained = [entry for entry in children[8 * number : 8 * number + 8] if entry.fitness is not None]
        assert step == 8 * number + 8
        assert share == pytest.approx(len(trained) / 8)


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_going_on_doubles_no_step(lost: int, over: Path) -> None:
    go_on(over)
    before, files = told(over), sorted((over / "tensorboard").iterdir())
    assert len(files) == 3
    for path in files[3 - lost :]:  # killed before it was written
        path.unlink()
    go_on(over)
    assert sorted((over / "tensorboard").iterdir()) == files
    assert told(over) == before
    assert all(len({step for step, _ in scalars}) == len(scalars) for scalars in before.values())


def test_nothing_is_told_to_one_that_nobody_wished_for(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    go_on(tmp_path / "run")
    assert not (tmp_path / "run/tensorboard").exists()


def test_earlier_rounds_are_read_once(over: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int | None] = []
    every = Store.every

    def counted(store: Store, round: int | None = None, statuses: Sequence[Status] = ()) -> Iterator[Entry]:
        read.append(round)
        return every(store, round, statuses)

    monkeypatch.setattr(Store, "every", counted)
    go_on(over)
    assert sorted(read, key=str) == [-1, -1, 0, 0, 1]  # told, and once more for what is best before the next


def test_without_the_package_a_search_goes_on(over: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    go_on(over)
    (warning,) = [record.getMessage() for record in caplog.records if "trackers" in record.getMessage()]
    assert "pip install 'evohpc[tensorboard]'" in warning


def test_a_file_that_cannot_be_written_is_a_warning(over: Path, caplog: Any) -> None:
    (over / "tensorboard").write_text("in the way")
    go_on(over)
    assert len([record for record in caplog.records if "trackers" in record.getMessage()]) == 1
