"""What candidates printed: the logs of a run folder, of open rounds and of packed ones."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from evohpc.report.round_files import RoundFiles
from evohpc.run_folder import RunDir
from evohpc.store.rows import Entry

TAIL = 2000
"""Characters of a log that a report shows: its end is what says why."""
MOST = 6_000_000
"""Characters of all logs in one report; compressed they are about a tenth."""


@dataclass(frozen=True, slots=True)
class Log:
    """The end of what a candidate printed; evaluation.log_kb of it was kept."""

    place: str
    """Its file; of a packed round, the archive and the name in it."""
    text: str


def log_of(run: RunDir, entry: Entry) -> Log | None:
    """Return the log of the attempt that counts; None if it printed nothing, or its log is gone."""
    if entry.result is None:
        return None
    with ExitStack() as archives:
        found = _Logs(run.round(entry.candidate.round), archives).log(entry)
        return found if found.text else None


def tails(run: RunDir, entries: Iterable[Entry]) -> dict[int, str]:
    """Return the end of the log of each candidate that printed anything, by its place among the entries.

    Failures come first where all would be too much, then the fittest.
    """
    evaluated = [(place, entry) for place, entry in enumerate(entries) if entry.result is not None]
    evaluated.sort(key=lambda item: (item[1].fitness is not None, -(item[1].fitness or 0.0)))
    found: dict[int, str] = {}
    left = MOST
    with ExitStack() as archives:
        rounds: dict[int, _Logs] = {}
        for place, entry in evaluated:
            if left <= 0:
                break
            number = entry.candidate.round
            if number not in rounds:
                rounds[number] = _Logs(run.round(number), archives)
            if text := rounds[number].end(entry):
                found[place] = text
                left -= len(text)
    return found


class _Logs(RoundFiles):
    """The logs of one round."""

    def end(self, entry: Entry) -> str:
        """Return the end of the log of the attempt that counts; '' if there is none."""
        return self.log(entry).text[-TAIL:]

    def log(self, entry: Entry) -> Log:
        """Return the log of the attempt that counts; its text is '' if there is none."""
        assert entry.result is not None
        data, place = self.read(self.round.log(entry.id, entry.result.attempt))
        return Log(place, data.decode("utf-8", "replace").strip())
