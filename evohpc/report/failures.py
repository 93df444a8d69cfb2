"""Why candidates brought nothing: by reason, with an example of each, and what to try where nothing was trained."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from evohpc.messages import SEED_ROUND, Status
from evohpc.store.rows import Entry
from evohpc.store.store import Store

_NO_FAILURE = (Status.TRAINED, Status.DROPPED, Status.PENDING)
_LONGEST = 100
"""Characters of an example's reason."""

_PROGRAMS = "a larger language model, or seeds with lazy modules (nn.LazyLinear)"
_TO_TRY = {
    Status.SYNTAX: "a larger language model, lm.retry_unparsable: true, or lower search.temperatures",
    Status.SCREENED: "the section screening, or more in the task's interface.allowed_imports",
    Status.DUPLICATE: "higher search.temperatures, or more seeds",
    Status.BUILD_ERROR: _PROGRAMS,
    Status.SHAPE_ERROR: _PROGRAMS,
    Status.TIMEOUT: "a larger evaluation.time_limit_s, or a cheaper recipe (task_options)",
    Status.OUT_OF_MEMORY: "a larger evaluation.memory_mb",
    Status.DISK_LIMIT: "a larger evaluation.disk_mb, or fewer checkpoints",
}
"""Where most candidates ended, and nothing was trained."""


def reasons(store: Store) -> list[tuple[Status, int, Entry]]:
    """Return (outcome, number of candidates, the first of them) of those not trained, the most frequent first."""
    counts = Counter({Status(status): 0 for status in Status})
    for by_status in store.counts_by_round().values():
        counts.update(by_status)
    found = []
    for status, count in counts.most_common():
        if count and status not in _NO_FAILURE:
            found.append((status, count, next(iter(store.every(statuses=[status])))))
    return found


def lines(store: Store, run: Path) -> Iterator[str]:
    """Yield what to print at the end of a search."""
    found = reasons(store)
    if found:
        yield "not trained, with an example of each reason:"
    for status, count, example in found:
        detail = example.candidate.detail
        short = detail if len(detail) <= _LONGEST else f"{detail[: _LONGEST - 3]}..."
        yield f"  {count:5} {status:18} {example.id}: {short}"
    if found and not _trained_children(store):
        status, _, example = found[0]
        more = _TO_TRY.get(status)
        look = f"evohpc show {shlex.quote(str(run))} {shlex.quote(example.id)}"
        what = "seed" if all(round == SEED_ROUND for round in store.counts_by_round()) else "child"
        yield f"no {what} was trained; look at one: {look}" + (f"; try {more}" if more else "")


def _trained_children(store: Store) -> int:
    by_round = store.counts_by_round()
    children = {round: counts for round, counts in by_round.items() if round != SEED_ROUND} or by_round
    return sum(counts.get(Status.TRAINED, 0) for counts in children.values())
