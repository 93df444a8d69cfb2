"""Children are evaluated while others of their round are still drawn (`lm.overlap`).

Completions are admitted in the order of the request, as far as none is missing: so a duplicate is one of the same
program as ever, and candidates, survivors and prompts are those of a round that was drawn first and evaluated then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from evohpc.driver import portions
from evohpc.driver.evaluating import Evaluating
from evohpc.lm import completions_file
from evohpc.messages import Completion, LMRequest
from evohpc.run_folder import RoundDir

MOST_PORTIONS = 16
"""Of a round. With fewer, more is left to be evaluated when the last completion is drawn; each costs an sbatch."""


@dataclass
class Overlap:
    """Admits the children of one round in portions, and has them evaluated."""

    request: LMRequest
    evaluating: Evaluating
    _admitted: int = field(default=0, init=False)
    """Completions."""
    _drawn: int = field(default=-1, init=False)
    """How many completions there were when they were read last; -1 before."""
    _fresh: Sequence[Completion] = field(default=(), init=False)
    """What may be admitted next."""

    @property
    def held(self) -> tuple[str, ...]:
        """See `Evaluating.held`."""
        return self.evaluating.held

    def step(self, drawn: int) -> bool:
        """Do what can be done now; return whether a result has arrived.

        Args:
            drawn: how many completions of the round there are.

        Raises:
            As `portions.read`, `portions.add` and `Evaluating.step`.
        """
        if self._drawn < 0:
            self._admit(portions.read(self._folder, self.request))
        if drawn > self._drawn:
            self._drawn = drawn
            self._fresh = completions_file.read_prefix(self._folder.completions, self.request)[self._admitted :]
        if self._is_due:
            portions.add(self._folder, self.request, self.evaluating.epoch, self._admitted, self._fresh)
            self._admit(self._fresh)
            self._fresh = ()
        return self._admitted > 0 and self.evaluating.step(is_whole=False)

    @property
    def _folder(self) -> RoundDir:
        return self.evaluating.intake.run.round(self.request.round)

    @property
    def _is_due(self) -> bool:
        """Whether what was drawn is worth an array. Where others wait for a place, as many as they are is."""
        smallest = -(-len(completions_file.keys(self.request)) // MOST_PORTIONS)
        return len(self._fresh) >= max(smallest, self.evaluating.dispatch.waiting)

    def _admit(self, completions: Sequence[Completion]) -> None:
        self.evaluating.intake.admit_children(self.request, completions)
        self._admitted += len(completions)
