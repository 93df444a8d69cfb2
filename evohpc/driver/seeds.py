"""Whether the seeds of a search leave anything to evolve, and what to mend if they do not."""

from __future__ import annotations

import logging

from evohpc.errors import TaskError
from evohpc.messages import SEED_ROUND, Status
from evohpc.store.store import Store

log = logging.getLogger(__name__)


def check_task(store: Store, round: int) -> None:
    """Stop where the task's own code failed on a seed: it would on children, too. What fails on a child ends it alone.

    Raises:
        TaskError: it did.
    """
    faults = store.entries(SEED_ROUND, Status.TASK_ERROR) if round == SEED_ROUND else []
    if faults:
        raise TaskError(
            f"{faults[0].candidate.detail}; the task itself is at fault, on {faults[0].id}: mend it, try `evohpc "
            "check-task CONFIG`, and take a new folder"
        )


def check(store: Store) -> None:
    """See that a seed was trained, and say which were not.

    Raises:
        TaskError: none was, so there is nothing to evolve.
    """
    check_task(store, SEED_ROUND)
    seeds = store.entries(SEED_ROUND)
    failed = [entry.candidate for entry in seeds if entry.candidate.status is not Status.TRAINED]
    reasons = [f"{seed.id}: {seed.status}: {seed.detail}" for seed in failed]
    if len(failed) == len(seeds):
        why = "; ".join(reasons) or "there are none"
        raise TaskError(
            f"no seed program could be trained, so there is nothing to evolve ({why}); mend the seeds, the task or "
            "the config, try `evohpc evaluate FILE --config CONFIG`, and take a new folder; after machine faults: "
            "`evohpc retry`"
        )
    for reason in reasons:
        log.warning("%s; it will be no parent", reason)
