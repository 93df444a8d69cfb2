"""What Slurm's words for the state of a job mean to a search.

One table for all states and flags of slurmctld, squeue and sacct (https://slurm.schedmd.com/job_state_codes.html). A
word that is not in it is from a newer Slurm: wait, and say so.
"""

from __future__ import annotations

import logging
import re
from functools import cache

from evohpc.messages import Status, TaskReport, TaskState

log = logging.getLogger(__name__)

_WAITING = {"PENDING", "CONFIGURING", "EXPEDITING", "POWER_UP_NODE", "REQUEUED", "REQUEUE_FED", "UPDATE_DB"}
_RUNNING = {"RUNNING", "COMPLETING", "RESIZING", "REVOKED", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"}
"""REVOKED: another cluster of the federation runs it (squeue(1)), for as long as this one remembers it."""
_HELD = {"REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_ENDED = {
    "COMPLETED": (Status.LOST, "its job completed without a result"),
    "FAILED": (Status.LOST, "its job failed"),
    "CANCELLED": (Status.LOST, "its job was cancelled"),
    "TIMEOUT": (Status.LOST, "its job ran into the job's time limit"),
    "DEADLINE": (Status.LOST, "its job ran into its deadline"),
    "OUT_OF_MEMORY": (Status.LOST, "its job ran over the job's memory"),
    "NODE_FAIL": (Status.NODE_FAIL, "its node failed"),
    "BOOT_FAIL": (Status.NODE_FAIL, "its node did not boot"),
    "LAUNCH_FAILED": (Status.NODE_FAIL, "its job could not be launched"),
    "RECONFIG_FAIL": (Status.NODE_FAIL, "its node could not be configured"),
    "PREEMPTED": (Status.PREEMPTED, "its job was preempted"),
}

_ENDED_BY_SOMEBODY = {"CANCELLED", "DEADLINE", "PREEMPTED"}
"""Ends that say nothing of the node."""

_NEVER_STARTS = {
    "AccountNotAllowed",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidBBSpec",
    "InvalidQOS",
    "MaxMemPerLimit",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
    "QOSUnknown",
    "QOSUsageThreshold",
    "ReservationDeleted",
    "ReservationInvalid",
}
"""Reasons of pending jobs that no waiting removes (slurm.schedmd.com/job_reason_codes.html)."""
_NEVER_STARTS_WORDS = re.compile("held|^JobHold|Per(?:Job|Node)|^QOSMin", re.IGNORECASE)
"""In more of them: what a person holds, or Slurm after too many failed launches, and what one job asks for against a
limit that counts only that job."""


def report(state: str, reason: str = "", node: str = "") -> TaskReport:
    """Return what a task's state means.

    Args:
        state: as squeue's %T or sacct's State prints it, e.g. 'RUNNING' or 'CANCELLED by 1000'.
        reason: as squeue's %r prints it; of a pending task.
        node: as squeue's %N or sacct's NodeList prints it.
    """
    word = state.split()[0].rstrip("+") if state.split() else ""
    if word in _ENDED:
        fault, meaning = _ENDED[word]
        host = "" if word in _ENDED_BY_SOMEBODY or " " in node else node  # sacct: "None assigned"
        return TaskReport(TaskState.ENDED, fault, f"{meaning} (Slurm: {word})", host)
    if word in _HELD or (word in _WAITING and _is_stuck(reason)):
        return TaskReport(TaskState.HELD, reason=f"Slurm holds it: {reason or word}")
    if word in _RUNNING:
        return TaskReport(TaskState.RUNNING)
    if word not in _WAITING:
        _warn(word)
    return TaskReport(TaskState.WAITING, reason="" if reason == "None" else reason)


def _is_stuck(reason: str) -> bool:
    return reason in _NEVER_STARTS or bool(_NEVER_STARTS_WORDS.search(reason))


@cache
def _warn(word: str) -> None:
    log.warning("Slurm says the state %r, which this evohpc does not know; waiting", word)
