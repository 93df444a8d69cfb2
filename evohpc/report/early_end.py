"""Why a search ended before its last round, for people. Pure."""

from __future__ import annotations

from evohpc.evolution.stopping import EarlyEnd
from evohpc.messages import SEED_ROUND
from evohpc.report.tables import number

_TARGET = "target_fitness"
_WHAT = {
    "rounds_without_improvement": "rounds without improvement",
    "evaluations": "evaluations",
    "compute_hours": "compute hours",
    "wall_hours": "wall-clock hours",
}


def in_words(early_end: EarlyEnd) -> str:
    """Return e.g. '150 of 150 evaluations, in round 3 (search.stop.evaluations)'."""
    where = "with the seeds" if early_end.round == SEED_ROUND else f"in round {early_end.round}"
    if early_end.key == _TARGET:
        what = f"fitness {number(early_end.reached)}, the target was {number(early_end.limit)}"
    else:
        what = f"{early_end.reached:.6g} of {early_end.limit:.6g} {_WHAT.get(early_end.key, early_end.key)}"
    return f"{what}, {where} (search.stop.{early_end.key})"


def raised(early_end: EarlyEnd) -> str:
    """Return a setting with which the search goes on, e.g. 'search.stop.evaluations=300'; a target is dropped."""
    if early_end.key == _TARGET:
        return f"search.stop.{early_end.key}=null"
    value = 2 * max(early_end.limit, early_end.reached)
    return f"search.stop.{early_end.key}={int(value) if value.is_integer() else f'{value:.6g}'}"
