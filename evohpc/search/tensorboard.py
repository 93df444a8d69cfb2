"""Event files of TensorBoard: one a round, written whole, with the same steps and values however often it is written.

So a search that was killed and goes on leaves no step twice. TensorBoard reads the files of a run
in the order of their names.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from evohpc.errors import ConfigError
from evohpc.files import write_atomic
from evohpc.messages import SEED_ROUND
from evohpc.search.scalars import Scalars, Told

FOLDER = "tensorboard"
"""In the run folder."""


class TensorBoard:
    """Writes the rounds of a search as event files."""

    def __init__(self, folder: Path, scalars: Scalars) -> None:
        """Look whether it can be done.

        Raises:
            ConfigError: the package tensorboard is not installed here.
        """
        try:
            import tensorboard.summary.writer.record_writer  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"tensorboard is not there ({error}): pip install 'evohpc[tensorboard]'") from None
        self._folder, self._scalars = folder, scalars

    def path(self, round: int) -> Path:
        """Return the file of a round."""
        return self._folder / f"events.out.tfevents.{round - SEED_ROUND:010d}.evohpc"

    def has(self, round: int) -> bool:
        """Say whether a round has its file."""
        return self.path(round).exists()

    def tell(self, rounds: Sequence[int]) -> None:
        """Write the file of each round.

        Raises:
            StorageError: the file system refused.
        """
        for round in rounds:
            write_atomic(self.path(round), _encoded(self._scalars.of(round)))


def _encoded(told: Told) -> bytes:
    """Return an event file."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = io.BytesIO()
    writer = RecordWriter(file)
    writer.write(Event(wall_time=told.finished_at, file_version="brain.Event:2").SerializeToString())
    for step, tag, value in told.scalars:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.write(Event(wall_time=told.finished_at, step=step, summary=summary).SerializeToString())
    return file.getvalue()
