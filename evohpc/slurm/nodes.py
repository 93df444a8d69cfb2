"""The nodes that jobs may get, and those that jobs in the queue are kept away from."""

from __future__ import annotations

import re

from evohpc.slurm import commands
from evohpc.slurm.commands import NoAnswer
from evohpc.slurm.rows import fields

_HARMLESS = re.compile(
    r"(?:\S+: )?(?:job is no longer pending execution|invalid job id specified|no error)(?: for job \S+)?",
    re.IGNORECASE,
)
"""What scontrol says of tasks that do not wait any more, and beside that of those that do and that it has changed."""


def names(partitions: str = "", cluster: str = "") -> set[str]:
    """Return the names of the nodes that a job may get.

    Args:
        partitions: as --partition of sbatch has them; '' is the default partition.

    Raises:
        NoAnswer: Slurm does not answer.
    """
    shown = commands.ask(["sinfo", "--all", "--noheader", "--Node", "--format=%N|%P", *commands.on(cluster)])
    wanted = set(partitions.split(","))
    rows = fields(shown, 2)
    return {node for node, name in rows if (name.rstrip("*") in wanted if partitions else name.endswith("*"))}


def are_enough(script: str) -> bool:
    """Return whether there are nodes on which a job with this script can run. Without any it would be held for good,
    once it is in the queue (BadConstraints).

    Raises:
        NoAnswer: Slurm does not answer.
    """
    return "node configuration" not in commands.test(script).stderr.lower()


def exclude(job_id: str, nodes: str, cluster: str = "") -> None:
    """Keep what of a job array waits in the queue away from these nodes, and from no others.

    Args:
        nodes: as Slurm writes a list of nodes; '' are none.

    Raises:
        NoAnswer: Slurm does not answer, or a site does not let its users do so.
    """
    change = ["update", f"JobId={job_id}", f"ExcNodeList={nodes}"]
    try:
        commands.ask(["scontrol", *commands.on(cluster), *change])
    except NoAnswer as error:
        if _HARMLESS.sub("", str(error)).strip():
            raise
