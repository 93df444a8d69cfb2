"""Whom a verification trains again: the fittest that a search has so far, or those that it has begun with."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing

from evohpc.errors import RunFolderError
from evohpc.evolution import population
from evohpc.run_folder import RunDir
from evohpc.search import creation
from evohpc.search.search import Search
from evohpc.search.verified_table import Finalist
from evohpc.store.store import Store


def finalists(
    search: Search, count: int, error_below: float | None, begun: RunDir | None = None
) -> tuple[Finalist, ...]:
    """Return the fittest candidates that a search has so far.

    Args:
        error_below: only those with a smaller error; None for search.error_threshold.
        begun: the first seed of a verification without a plan. If it is there, the plan's writer was killed, and the
            search may have found fitter ones since: as many that are good enough are taken from it.

    Raises:
        RunFolderError: it has none.
    """
    below = search.config.search.error_threshold if error_below is None else error_below
    found = _fittest(search, count, below)
    if not found:
        raise RunFolderError(f"{search.folder.path} has no candidate with an error below {below:g} to verify")
    if begun is None or not creation.exists(begun):
        return found
    earlier = _fittest(search, count, below, {path.stem for path in begun.seeds.glob("*.py")})
    return earlier if len(earlier) == len(found) else found


def _fittest(search: Search, count: int, below: float, among: Collection[str] | None = None) -> tuple[Finalist, ...]:
    chosen = search.config.search.model_copy(update={"error_threshold": below})
    with closing(Store.snapshot_reader(search.folder.snapshot)) as store:
        scores = (score for score in store.scores() if among is None or score.id in among)
        best = population.best(scores, count, chosen)
        results = [entry.result for entry in store.with_ids(score.id for score in best)]
    sizes = [0 if result is None or result.num_params is None else result.num_params for result in results]
    return tuple(Finalist(score.id, size, score.error, score.fitness) for score, size in zip(best, sizes, strict=True))
