"""Why a search ended before its last round, for people. Pure."""

from __future__ import annotations

from evohpc.messages import SEED_ROUND, Ending
from evohpc.report.tables import number

_TARGET = "target_fitness"
_WHAT = {
    "rounds_without_improvement": "rounds without improvement",
    "evaluations": "evaluations",
    "compute_hours": "compute hours",
    "wall_hours": "wall-clock hours",
}


def in_words(ending: Ending) -> str:
    """Return e.g. '150 of 150 evaluations, in round 3 (search.stop.evaluations)'."""
    where = "with the seeds" if ending.round == SEED_ROUND else f"in round {ending.round}"
    if ending.key == _TARGET:
        what = f"fitness {number(ending.reached)}, the target was {number(ending.limit)}"
    else:
        what = f"{ending.reached:.6g} of {ending.limit:.6g} {_WHAT.get(ending.key, ending.key)}"
    return f"{what}, {where} (search.stop.{ending.key})"


def raised(ending: Ending) -> str:
    """Return a setting with which the search goes on, e.g. 'search.stop.evaluations=300'; a target is dropped."""
    if ending.key == _TARGET:
        return f"search.stop.{ending.key}=null"
    value = 2 * max(ending.limit, ending.reached)
    return f"search.stop.{ending.key}={int(value) if value.is_integer() else f'{value:.6g}'}"
