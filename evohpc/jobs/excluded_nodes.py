"""Which nodes a job array is kept away from, because attempts fail there again and again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from evohpc.config.site import JobSection
from evohpc.errors import EvaluationError
from evohpc.slurm import nodes
from evohpc.slurm.commands import NoAnswer

log = logging.getLogger(__name__)

_LARGEST_SHARE = 0.5
"""Of the nodes that a job may get. Where more of them fail, the fault is hardly the nodes'."""


def with_those_of_the_site(excluded: Sequence[str], jobs: JobSection) -> str:
    """Return these nodes and those that the site itself excludes, as Slurm writes a list of nodes."""
    return ",".join([*([str(jobs.options["exclude"])] if "exclude" in jobs.options else []), *excluded])


def excluded_nodes(faulty: Sequence[str], jobs: JobSection) -> tuple[str, ...]:
    """Return those of the faulty nodes, the first ones first, that the jobs of a section can be kept away from.

    Names that Slurm does not know would have it refuse the job: a result may have been made elsewhere than on this
    cluster. A site's own list of nodes in a file cannot be added to, and nor can one node be excluded on each of
    several clusters.
    """
    if not faulty or len(jobs.clusters) > 1 or "/" in str(jobs.options.get("exclude", "")):
        return ()
    try:
        known = nodes.names(jobs.partition or str(jobs.options.get("partition", "")), jobs.clusters[0])
    except (NoAnswer, EvaluationError) as error:
        log.warning("Slurm does not name its nodes (%s); none is excluded this time", error)
        return ()
    return tuple([node for node in faulty if node in known][: int(_LARGEST_SHARE * len(known))])
