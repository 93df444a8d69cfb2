"""Shows the progress of a search: a live line on a terminal, one line for each change in the log of a job."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column

from evohpc.driver.progress import Progress as SearchProgress
from evohpc.messages import SEED_ROUND
from evohpc.report import tables

LOG_EVERY_S = 60.0
"""Seconds between two lines of a job's log while a step goes on."""

_ACTIVITY = {
    "propose": "writing prompts",
    "load": "language model: waiting and loading",
    "tune": "language model: tuning",
    "generate": "language model: drawing children",
    "screen": "screening",
    "evaluate": "training candidates",
    "close": "selecting survivors",
    "done": "done",
    "stopped": "stopped: a budget is spent",
}


@dataclass
class Forecast:
    """How long a search will still take, from the rounds that this process has seen from beginning to end."""

    _round: int | None = None
    _since: float = 0.0
    _whole: bool = False
    _took: list[float] = field(default_factory=list)

    def left(self, progress: SearchProgress, now: float) -> float | None:
        """Return the seconds left, or None before the first whole round of children is over."""
        if progress.round != self._round:
            if self._whole:
                self._took.append(now - self._since)
            # The first round that this process sees may have begun in an earlier one; that of the seeds is no measure.
            self._whole = self._round is not None and progress.round != SEED_ROUND
            self._round, self._since = progress.round, now
        if not self._took:
            return None
        mean = sum(self._took) / len(self._took)
        later = mean * (progress.rounds - progress.round - 1)
        rest = mean - (now - self._since)
        if rest < 0 and not later:  # it takes longer than the others did; nobody knows how much
            return None
        return later + max(0.0, rest)


class Display:
    """Shows the progress of a search on stderr. A context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._forecast = Forecast()
        self._live = _bars(self._console) if self._console.is_terminal else None
        self._task = None if self._live is None else self._live.add_task("starting", total=None, left="", summary="")
        self._last_line: tuple[int, str] | None = None
        self._next_line = 0.0

    def __enter__(self) -> Self:
        handler = RichHandler(console=self._console, show_path=False, show_time=False)
        logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, message: str) -> None:
        """Print a line for people."""
        self._console.print(message, markup=False, soft_wrap=True)

    def observe(self, progress: SearchProgress) -> None:
        """Show how far the search is."""
        now = time.monotonic()
        left = self._forecast.left(progress, now)
        if self._live is not None and self._task is not None:
            total = None if progress.total <= 1 else progress.total
            text = f"{_round_name(progress)}  {_ACTIVITY[progress.step]}"
            self._live.update(
                self._task,
                description=text,
                completed=progress.done,
                total=total,
                left="" if left is None or is_over(progress) else f"{duration(left)} left",
                summary=_summary(progress),
            )
        elif (progress.round, progress.step) != self._last_line or now >= self._next_line:
            self._last_line, self._next_line = (progress.round, progress.step), now + LOG_EVERY_S
            self.note(line(progress, left))


def line(progress: SearchProgress, left: float | None) -> str:
    """Return one line of a job's log."""
    count = f" {progress.done}/{progress.total}" if progress.total > 1 else ""
    activity = f"{_round_name(progress)}: {_ACTIVITY[progress.step]}{count}"
    time_left = "" if left is None or is_over(progress) else f"{duration(left)} left"
    rest = ", ".join(filter(None, (_summary(progress), time_left)))
    return "; ".join(filter(None, (f"{time.strftime('%H:%M:%S')} {activity}", rest)))


def is_over(progress: SearchProgress) -> bool:
    """Say whether nothing more is to be done."""
    return progress.step in ("done", "stopped")


def duration(seconds: float) -> str:
    """Return a duration for people, e.g. 'about 2 h 05 min'."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60:02d} min"


_BAR_FROM = 120
"""Columns of a terminal, below which a bar takes the room of what it says less well."""


def _bars(console: Console) -> Progress:
    """Return the live line: what matters most first, and the end is cut where the terminal is narrow."""
    whole, cut = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return Progress(
        SpinnerColumn(),
        MofNCompleteColumn(table_column=whole),
        *([BarColumn(bar_width=20)] if console.width >= _BAR_FROM else []),
        TextColumn("{task.fields[left]}", markup=False, table_column=whole),
        TextColumn("{task.description}", markup=False, table_column=whole),
        TextColumn("{task.fields[summary]}", markup=False, table_column=cut),
        console=console,
        refresh_per_second=4,
        expand=True,
    )


def _round_name(progress: SearchProgress) -> str:
    return "seeds" if progress.round == SEED_ROUND else f"round {progress.round} (of 0-{progress.rounds - 1})"


def _summary(progress: SearchProgress) -> str:
    parts = [f"{n} {name}" for name, n in tables.outcomes(progress.counts).items() if n]
    best = progress.best
    if best is not None and best.fitness is not None:
        parts.append(f"best {tables.number(best.fitness)} ({best.candidate.id})")
    if progress.held:
        parts.append(f"held: {'; '.join(progress.held)}")
    return ", ".join(parts)
