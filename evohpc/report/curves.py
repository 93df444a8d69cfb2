"""How the errors of networks fell while they were trained, from the result files of a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from evohpc import envelopes
from evohpc.errors import EnvelopeError
from evohpc.evaluation.curve import Curve, Measured, least, thinned
from evohpc.messages import Status
from evohpc.report.round_files import RoundFiles
from evohpc.run_folder import RunDir
from evohpc.store.rows import Entry

MOST = 400_000
"""Points of all curves in one report; compressed they are a megabyte."""
_LEAST, _DIGITS = 12, 4
"""Points that each curve keeps at least, and their digits: what can be seen of them."""


def curve_of(run: RunDir, run_id: str, entry: Entry) -> Curve:
    """Return how a candidate's error fell in its last training that tells; empty if none does."""
    with ExitStack() as archives:
        return _Results(run, run_id, entry.candidate.round, archives).curve(entry)


def curves(run: RunDir, run_id: str, entries: Iterable[Entry]) -> Iterator[tuple[int, Curve]]:
    """Yield the curve of each candidate that has one, with its place among the entries."""
    with ExitStack() as archives:
        rounds: dict[int, _Results] = {}
        for place, entry in enumerate(entries):
            if entry.candidate.status not in (Status.TRAINED, Status.DROPPED):
                continue
            number = entry.candidate.round
            if number not in rounds:
                rounds[number] = _Results(run, run_id, number, archives)
            if found := rounds[number].curve(entry):
                yield place, found


def in_words(curve: Curve) -> str:
    """Return a curve for people: 'error 0.91 at step 0, least 0.058 at 2,900, 0.061 at 3,000'; '' for none."""
    if not curve:
        return ""
    (first, begun), (best, error), (last, ended) = curve[0], least(curve), curve[-1]
    return f"error {begun:.4g} at step {first:,g}, least {error:.4g} at {best:,g}, {ended:.4g} at {last:,g}"


def packed(found: Mapping[int, Curve]) -> dict[str, Any]:
    """Return curves for a page: errors by place, and the steps that many of them share once."""
    most = max(_LEAST, MOST // max(1, len(found)))
    steps: dict[tuple[float, ...], int] = {}
    errors = {}
    for place, curve in found.items():
        shown = thinned(curve, most)
        number = steps.setdefault(tuple(step for step, _ in shown), len(steps))
        errors[place] = [number, *(float(f"{error:.{_DIGITS}g}") for _, error in shown)]
    return {"steps": list(steps), "errors": errors, "floor": floor(found)}


def floor(found: Mapping[int, Curve]) -> float:
    """Return where an error of 0, which a log axis does not have, is drawn: at half the smallest other one."""
    return min((e for curve in found.values() for _, e in curve if e > 0), default=1.0) / 2


class _Results(RoundFiles):
    """The results of one round of a run."""

    def __init__(self, run: RunDir, run_id: str, number: int, archives: ExitStack) -> None:
        super().__init__(run.round(number), archives)
        self._run_id = run_id

    def curve(self, entry: Entry) -> Curve:
        """Return the curve of the last attempt that has one: a mean of several trainings, say, has none."""
        last = entry.result.attempt if entry.result else 0
        found = (self._attempt(entry.id, number) for number in range(last, 0, -1))
        return next((curve for curve in found if curve), ())

    def _attempt(self, id: str, number: int) -> Curve:
        data, _ = self.read(self.round.result(id, number))
        try:
            return envelopes.unseal(data, self._run_id, Measured).curve
        except EnvelopeError:
            return ()
