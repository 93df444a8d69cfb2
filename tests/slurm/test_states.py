"""Every word that Slurm has for the state of a job."""

from __future__ import annotations

import logging

import pytest

from evohpc.messages import Status, TaskReport, TaskState
from evohpc.slurm import states

BASE = (
    "PENDING RUNNING SUSPENDED COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY"
)
FLAGS = (
    "COMPLETING CONFIGURING EXPEDITING LAUNCH_FAILED POWER_UP_NODE RECONFIG_FAIL REQUEUED REQUEUE_FED REQUEUE_HOLD "
    "RESIZING RESV_DEL_HOLD REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED UPDATE_DB"
)
ALIVE = "PENDING RUNNING SUSPENDED STOPPED CONFIGURING COMPLETING RESIZING REQUEUED REVOKED SIGNALING STAGE_OUT"


@pytest.mark.parametrize("word", (BASE + " " + FLAGS).split())
def test_each_documented_state_is_known(word: str, caplog: pytest.LogCaptureFixture) -> None:
    states.report(word)
    assert not caplog.records


@pytest.mark.parametrize("word", ALIVE.split())
def test_what_may_still_produce_a_result_is_not_over(word: str) -> None:
    assert states.report(word).state in (TaskState.WAITING, TaskState.RUNNING)


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("NODE_FAIL", Status.NODE_FAIL),
        ("BOOT_FAIL", Status.NODE_FAIL),
        ("LAUNCH_FAILED", Status.NODE_FAIL),
        ("PREEMPTED", Status.PREEMPTED),
        ("CANCELLED by 1000", Status.LOST),
        ("COMPLETED", Status.LOST),
        ("OUT_OF_MEMORY", Status.LOST),
    ],
)
def test_an_end_without_a_result_is_a_machine_fault(word: str, fault: Status) -> None:
    report = states.report(word)
    assert (report.state, report.fault) == (TaskState.ENDED, fault)
    assert fault.is_machine_fault


@pytest.mark.parametrize(
    ("word", "host"),
    [
        ("NODE_FAIL", "n3"),
        ("FAILED", "n3"),
        ("TIMEOUT", "n3"),
        ("CANCELLED by 1000", ""),
        ("PREEMPTED", ""),
        ("RUNNING", ""),
    ],
)
def test_a_node_is_named_where_the_end_may_be_its_doing(word: str, host: str) -> None:
    assert states.report(word, node="n3").host == host
    assert states.report(word, node="None assigned").host == ""


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("PENDING", "JobHeldUser"),
        ("PENDING", "launch failure limit exceeded requeued held"),
        ("PENDING", "DependencyNeverSatisfied"),
        ("REQUEUE_HOLD", "None"),
        ("PENDING", "AssocMaxWallDurationPerJobLimit"),
        ("PENDING", "QOSMaxWallDurationPerJobLimit"),
        ("PENDING", "QOSMinGRES"),
        ("PENDING", "QOSMaxMemoryPerJob"),
        ("PENDING", "AssocMaxCpuPerJobLimit"),
        ("PENDING", "MaxMemPerLimit"),
        ("PENDING", "JobHoldMaxRequeue"),
        ("PENDING", "QOSMaxCpuPerNode"),
        ("PENDING", "QOSMaxGRESPerNode"),
        ("PENDING", "AssocMaxMemPerNode"),
        ("PENDING", "ReservationInvalid"),
        ("PENDING", "InvalidBBSpec"),
        ("PENDING", "ReservationDeleted"),
        ("PENDING", "QOSUnknown"),
    ],
)
def test_what_waits_for_a_person_is_held_and_says_why(word: str, reason: str) -> None:
    assert states.report(word, reason) == TaskReport(TaskState.HELD, reason=f"Slurm holds it: {reason}")


@pytest.mark.parametrize(
    "reason",
    ["QOSMaxJobsPerUserLimit", "QOSMaxMemoryPerUser", "AssocGrpMemLimit", "AssocMaxJobsLimit", "Priority", "Resources"],
)
def test_a_limit_that_passes_is_no_hold(reason: str) -> None:
    assert states.report("PENDING", reason).state is TaskState.WAITING


@pytest.mark.parametrize("word", ["HIBERNATING", ""])  # each is said once in the life of a process
def test_an_unknown_word_waits_and_warns_once(word: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert states.report(word) == states.report(word) == TaskReport(TaskState.WAITING)
    assert [record.message for record in caplog.records] == [
        f"Slurm says the state {word!r}, which this evohpc does not know; waiting"
    ]
