"""Cores and GPUs are dealt out evenly, and each worker is told its own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from evohpc.jobs.shares import Share, deal

CUDA, ROCR, HIP = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"


def test_without_gpus_there_are_cores_to_deal() -> None:
    assert deal({CUDA: ""}, {9, 1, 2, 3, 8}, 2) == [Share(cores=(1, 2)), Share(cores=(3, 8))]


@pytest.mark.parametrize("cores", [(), (0, 1, 2)])
def test_where_cores_are_fewer_than_workers_none_is_anyone_s_own(cores: tuple[int, ...]) -> None:
    assert deal({}, cores, 4) == [Share()] * 4


def test_each_worker_has_a_gpu() -> None:
    shares = deal({CUDA: "2,3,MIG-1,7"}, (), 4)
    assert [share.environment for share in shares] == [{CUDA: name} for name in ("2", "3", "MIG-1", "7")]
    assert {share.gpu for share in shares} == {1.0}


@pytest.mark.parametrize(("gpus", "share"), [("0", 1 / 6), ("0,1", 1 / 3), ("0,1,2,3", 1 / 2), ("0,1,2,3,4,5,6", 1.0)])
def test_those_that_meet_on_a_gpu_have_equal_shares_of_its_memory(gpus: str, share: float) -> None:
    """Six workers: on four GPUs two of them have two workers, and all have the share of those, for one rule for all."""
    assert [each.gpu for each in deal({CUDA: gpus}, (), 6)] == [share] * 6


@pytest.mark.parametrize(
    ("environment", "dealt"),
    [
        ({ROCR: "0,1"}, [{ROCR: "0"}, {ROCR: "1"}]),
        ({HIP: "0,1", CUDA: ""}, [{HIP: "0"}, {HIP: "1"}]),
        # Slurm without AutoDetect sets both; on AMD's, CUDA_VISIBLE_DEVICES counts what ROCR_VISIBLE_DEVICES leaves.
        ({ROCR: "0,1", CUDA: "0,1"}, [{CUDA: "0"}, {CUDA: "1"}]),
    ],
)
def test_of_two_variables_that_choose_one_after_the_other_the_last_is_dealt(
    environment: Mapping[str, str], dealt: list[Mapping[str, str]]
) -> None:
    assert [share.environment for share in deal(environment, (), 2)] == dealt
