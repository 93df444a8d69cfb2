from pathlib import Path

import pytest

from evohpc.errors import RunFolderError
from evohpc.messages import Status
from evohpc.slurm import arrays
from evohpc.slurm.arrays import Array


def test_a_split_stays_as_the_first_driver_made_it(tmp_path: Path) -> None:
    first = arrays.split(tmp_path / "job", "job", 10, 4)
    assert [(array.name, array.first, array.size) for array in first] == [
        ("job.0", 0, 4),
        ("job.1", 4, 4),
        ("job.2", 8, 2),
    ]
    assert arrays.split(tmp_path / "job", "job", 10, 3) == first


@pytest.mark.parametrize("text", ["", "[[0, 4], [4", "7", "[1, 2]", "[" * 3000, "\0\0"])
def test_a_damaged_split_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    arrays.split(tmp_path / "job", "job", 10, 4)
    (tmp_path / "job/plan.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"plan.json: damaged: .*; when squeue shows no job called job, delete"):
        arrays.split(tmp_path / "job", "job", 10, 4)


def test_a_job_that_vanishes_without_a_word_has_ended_after_a_while(tmp_path: Path) -> None:
    array = Array("r-000-00", tmp_path, 0, 2)
    array.accept("9")
    array.record_queue([], now=0.0, settle_s=60.0)
    array.record_history([])
    assert not array.is_over
    array.record_queue([], now=61.0, settle_s=60.0)
    assert array.is_over
    assert {report.fault for report in array.reports} == {Status.LOST}
