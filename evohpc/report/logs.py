"""What candidates printed: the logs of a run folder, of open rounds and of packed ones."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from evohpc.run_folder import RoundDir, RunDir
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
        found = _Logs(run.round(entry.candidate.round), archives).read(entry)
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
            logs = rounds.setdefault(entry.candidate.round, _Logs(run.round(entry.candidate.round), archives))
            if text := logs.end(entry):
                found[place] = text
                left -= len(text)
    return found


class _Logs:
    """The logs of one round."""

    def __init__(self, round: RoundDir, archives: ExitStack) -> None:
        self._round, self._archive = round, None
        with suppress(OSError, zipfile.BadZipFile):
            self._archive = archives.enter_context(zipfile.ZipFile(round.archive))

    def end(self, entry: Entry) -> str:
        """Return the end of the log of the attempt that counts; '' if there is none."""
        return self.read(entry).text[-TAIL:]

    def read(self, entry: Entry) -> Log:
        """Return the log of the attempt that counts; its text is '' if there is none."""
        assert entry.result is not None
        path = self._round.log(entry.id, entry.result.attempt)
        data, place = b"", str(path)
        with suppress(OSError, ValueError):  # an id that is no file's name
            data = path.read_bytes()
        if not data and self._archive is not None:
            with suppress(KeyError, OSError, zipfile.BadZipFile, RuntimeError):
                data = self._archive.read(f"logs/{path.name}")
                place = f"{self._round.archive}, logs/{path.name}"
        return Log(place, data.decode("utf-8", "replace").strip())
