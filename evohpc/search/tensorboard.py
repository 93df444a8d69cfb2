"""Event files of TensorBoard: one a round, written whole, with the same steps and values however often it is written.

So a search that was killed and goes on leaves no step twice. TensorBoard reads the files of a run
in the order of their names.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from evohpc.config.search import SearchConfig
from evohpc.errors import ConfigError
from evohpc.evolution import population
from evohpc.files import write_atomic
from evohpc.messages import SEED_ROUND
from evohpc.store.rows import Entry
from evohpc.store.store import Store

FOLDER = "tensorboard"
"""In the run folder."""

Scalar = tuple[int, str, float]
"""A step, a tag and the value there."""


class TensorBoard:
    """Writes the rounds of a search as event files."""

    def __init__(self, folder: Path, store: Store, search: SearchConfig) -> None:
        """Look whether it can be done.

        Raises:
            ConfigError: the package tensorboard is not installed here.
        """
        try:
            import tensorboard.summary.writer.record_writer  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"tensorboard is not there ({error}): pip install 'evohpc[tensorboard]'") from None
        self._folder, self._store, self._search = folder, store, search

    def path(self, round: int) -> Path:
        """Return the file of a round."""
        return self._folder / f"events.out.tfevents.{round - SEED_ROUND:010d}.evohpc"

    def has(self, round: int) -> bool:
        """Say whether a round has its file."""
        return self.path(round).exists()

    def tell(self, round: int) -> None:
        """Write the file of a round.

        Raises:
            StorageError: the file system refused.
        """
        before = [entry for earlier in range(SEED_ROUND, round) for entry in self._passed(earlier)]
        write_atomic(self.path(round), _encoded(self._scalars(round, before), _finished(self._entries(round))))

    def _entries(self, round: int) -> list[Entry]:
        return list(self._store.every(round))

    def _passed(self, round: int) -> list[Entry]:
        """Return the fittest of a round, if it is fit enough to be selected."""
        return population.evaluated(self._entries(round), self._search)[:1]

    def _scalars(self, round: int, before: Sequence[Entry]) -> Iterator[Scalar]:
        """Yield a round: by the number of its last child, and by the numbers of its trained children."""
        entries = self._entries(round)
        first = max(0, round) * population.Budget.of(self._search).per_round
        best = population.by_fitness(before)[:1]
        for number, entry in enumerate(entries, first + 1):
            step = 0 if round == SEED_ROUND else number
            if entry.fitness is not None and round != SEED_ROUND:
                yield step, "child/fitness", entry.fitness
            if population.passes(entry, self._search) and population.by_fitness([*best, entry])[0] is entry:
                best = [entry]
                if round != SEED_ROUND:
                    yield from _best(step, entry)
        last = 0 if round == SEED_ROUND else first + len(entries)
        if best:
            yield from _best(last, best[0])
        if round != SEED_ROUND:
            counts = Counter(entry.candidate.status for entry in entries)
            yield from ((last, f"outcome/{status}", counts[status] / len(entries)) for status in sorted(counts))


def _best(step: int, entry: Entry) -> Iterator[Scalar]:
    for name in ("fitness", "error", "num_params"):
        yield step, f"best/{name}", getattr(entry.result, name)


def _finished(entries: Sequence[Entry]) -> float:
    """Return when the last evaluation of a round was over, in seconds since 1970; now, if there was none."""
    times = [entry.result.finished_at for entry in entries if entry.result and entry.result.finished_at]
    return datetime.fromisoformat(max(times)).timestamp() if times else time.time()


def _encoded(scalars: Iterator[Scalar], at: float) -> bytes:
    """Return an event file."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = io.BytesIO()
    writer = RecordWriter(file)
    writer.write(Event(wall_time=at, file_version="brain.Event:2").SerializeToString())
    for step, tag, value in dict.fromkeys(scalars):
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.write(Event(wall_time=at, step=step, summary=summary).SerializeToString())
    return file.getvalue()
