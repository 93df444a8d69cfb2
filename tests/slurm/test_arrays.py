from pathlib import Path

import pytest

from evohpc.errors import RunFolderError
from evohpc.files import write_atomic
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
    assert arrays.split(tmp_path / "job", "job", 10, 4) == arrays.split(tmp_path / "job", "job", 10, 5) == first


def test_arrays_that_are_too_large_by_now_are_split_again_unless_slurm_may_know_them(tmp_path: Path) -> None:
    first, _, third = arrays.split(tmp_path / "job", "job", 30, 10)
    write_atomic(first.folder / "array.sh", "")
    arrays.claim_for_nobody(third.folder)
    again = arrays.split(tmp_path / "job", "job", 30, 4)
    assert [(array.name, array.first, array.size) for array in again] == [
        ("job.0", 0, 10),
        ("job.1", 10, 4),
        ("job.3", 14, 4),
        ("job.4", 18, 2),
        ("job.2", 20, 10),
    ]
    assert arrays.split(tmp_path / "job", "job", 30, 4) == again
    assert {array.folder.name for array in again} == {"0", "1", "2", "3", "4"}


def test_a_job_of_one_array_that_was_refused_becomes_several(tmp_path: Path) -> None:
    (whole,) = arrays.split(tmp_path / "job", "job", 5, 10)
    write_atomic(whole.folder / "array.sh", "")
    whole.forget()
    assert [array.name for array in arrays.split(tmp_path / "job", "job", 5, 3)] == ["job.0", "job.1"]


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
