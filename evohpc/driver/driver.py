"""A round as named steps. The only module that sees the store, the LM job and the job runner together.

    propose   parents and tuning data -> rounds/NNN/request.json
    generate  the LM job: request.json -> completions.jsonl
    screen    completions -> candidates
    evaluate  candidates -> results; with `lm.overlap`, while others of the round are still drawn (overlap.py)
    close     results -> survivors

Each step is idempotent and reads what it needs from disk, so a search that was killed anywhere and started again ends
in the same table as one that never was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from threading import Event

from evohpc import envelopes
from evohpc.config.lm import read_deepspeed_config
from evohpc.driver import portions, results, seeds
from evohpc.driver.at_work import AtWork
from evohpc.driver.clock import Clock
from evohpc.driver.evaluating import Evaluating
from evohpc.driver.intake import Intake
from evohpc.driver.lease import Lease
from evohpc.driver.overlap import Overlap
from evohpc.driver.patience import Patience
from evohpc.driver.progress import Progress, Step
from evohpc.driver.stopper import BudgetSpent, Stopper
from evohpc.errors import RunFolderError, StorageError
from evohpc.evolution.population import Budget
from evohpc.evolution.request import request
from evohpc.evolution.stopping import EarlyEnd
from evohpc.files import write_once
from evohpc.jobs.base import JobRunner
from evohpc.jobs.shared import SharedRunner
from evohpc.lm_job import base as lm_job
from evohpc.lm_job.phase import phase
from evohpc.messages import SEED_ROUND, Candidate, LMRequest
from evohpc.run_folder import read_request

log = logging.getLogger(__name__)

FASTEST_POLL_S, SLOWEST_POLL_S = 0.05, 1.0
"""Seconds between looks at the disk; grows while nothing changes. A scheduler is asked more rarely, by its runner."""
SNAPSHOT_EVERY_S = 15.0


class Stopped(Exception):
    """The driver was asked to stop, and did so between two steps or polls; the run goes on when started again."""


@dataclass
class Driver:
    """Drives one run from wherever it is to its end.

    It closes nothing of what it is given: whoever made the parts does (`Search`).
    """

    intake: Intake
    lease: Lease
    lm: lm_job.LMJob
    runner: InitVar[JobRunner]
    grace_s: float = 0.0
    patience_s: float = 0.0
    """Seconds that a file system may cost by refusing, without the search moving on, before that ends the driver. Worth
    an hour where nobody looks on."""
    overlaps: bool = False
    """Whether `drive` has children evaluated while others of their round are still drawn."""
    observe: Callable[[Progress], None] = lambda progress: None
    wait: Callable[[float], bool] = Event().wait
    """Waits that many seconds, or less if the driver is asked to stop; returns whether it is."""
    _next_snapshot: float = field(default=0.0, init=False)
    _patience: Patience = field(default_factory=lambda: Patience(0.0), init=False)
    _drawn: tuple[int, int] = field(default=(SEED_ROUND, 0), init=False)
    """The last round that was generated, and how many of its completions were seen."""

    stopper: Stopper = field(init=False)
    at_work: AtWork = field(init=False)

    def __post_init__(self, runner: JobRunner) -> None:
        intake = self.intake
        self.stopper = Stopper(intake.run, intake.store, intake.config.search, Clock(intake.run.clock))
        grace_s, note_progress = lambda: self.grace_s, lambda: self._patience.note_progress()
        self.at_work = AtWork(intake, self.stopper, SharedRunner(runner), self.lease.epoch, grace_s, note_progress)

    @property
    def budget(self) -> Budget:
        """T, m and n of this search."""
        return Budget.of(self.intake.config.search)

    def drive(self) -> None:
        """Run all rounds.

        Raises:
            Stopped: `wait` returned True.
            EvohpcError: the site or the config is at fault; nothing is lost.
        """
        patience = self._patience = Patience(self.patience_s)
        while True:
            try:
                self._go_through_rounds()
                return
            except (StorageError, OSError) as error:  # each step can be done again: nothing but time is lost
                patience.outlast(error, self._wait)

    def _go_through_rounds(self) -> None:
        self.stopper.begin()
        self.at_work.begin()
        try:
            for round in range(SEED_ROUND, self.budget.rounds):
                if not self.intake.store.is_closed(round):
                    self.open_round(round, self.at_work.of(round) if self.overlaps else None)
                    self._evaluate(round)
                    self.close_round(round)
        except BudgetSpent as spent:
            self._end_early(self._after_the_late(spent).early_end)
            return
        self._report(self.budget.rounds - 1, "done", 1, 1)
        self.snapshot()

    def _end_early(self, early_end: EarlyEnd) -> None:
        self.snapshot()  # at first: a driver that was replaced learns it here, and ends nothing of its successor's
        self.lm.release()
        self.stopper.end(early_end)
        self._report(early_end.round, "stopped", 1, 1)

    def _after_the_late(self, spent: BudgetSpent) -> BudgetSpent:
        """Wait for what a budget has paid for, in rounds that have closed; return why the search ends after it."""
        try:
            while self.at_work.late and not spent.is_at_once:
                self._pause(FASTEST_POLL_S if self.at_work.step_late() else SLOWEST_POLL_S)
        except BudgetSpent as sooner:
            return sooner
        return spent

    def next_candidates(self) -> list[Candidate]:
        """Go on to the next candidates that wait for an evaluation, and return them; empty when the search is over."""
        self.lease.beat()
        self.stopper.begin()
        self.at_work.begin()
        try:
            for round in range(SEED_ROUND, self.budget.rounds):
                if self.intake.store.is_closed(round):
                    continue
                self.open_round(round)
                self.at_work.waits(round)
                if not self.at_work.may_close(round):
                    return self.at_work.waiting(*self.at_work.late, round)
                self.close_round(round)
        except BudgetSpent as spent:
            if self.at_work.late and not spent.is_at_once:
                return self.at_work.waiting(*self.at_work.late)
            self.stopper.end(spent.early_end)
        self.snapshot()
        return []

    def open_round(self, round: int, meanwhile: Evaluating | None = None) -> None:
        """Propose, generate (which may take hours in a queue) and screen: then the round's candidates are in the store.

        Args:
            meanwhile: has candidates evaluated as they come in.

        Raises:
            Stopped: asked to stop while it waited.
            LMError: the LM job failed.
            RunFolderError: the round's request is damaged, or of another run.
        """
        is_begun = bool(self.intake.store.counts(round))
        if not is_begun:
            self.stopper.check_before(round)
        if not is_begun or portions.are_left(self.intake.run.round(round)):  # else all were entered in one transaction
            self._admit(round, meanwhile)
            self._patience.note_progress()
        if round == self.budget.rounds - 1:
            self.lm.release()

    def _admit(self, round: int, meanwhile: Evaluating | None) -> None:
        if round == SEED_ROUND:
            self.intake.admit_seeds()
            return
        lm_request = self._propose(round)
        self._generate(lm_request, None if meanwhile is None else Overlap(lm_request, meanwhile))
        self._report(round, "screen", 0, 1)
        folder = self.intake.run.round(round)
        self.intake.admit_children(lm_request, portions.settle(folder, lm_request))
        portions.remove(folder)

    def close_round(self, round: int) -> None:
        """Pack the round's files and select the survivors.

        Raises:
            TaskError: no seed could be trained, so there is nothing to evolve.
        """
        self._report(round, "close", 0, 1)
        if round == SEED_ROUND and self.budget.rounds:
            seeds.check(self.intake.store)
        if not self.intake.store.pending(round):
            # In this order: what was not packed when a driver was killed is packed by the next one.
            results.pack(self.intake.run.round(round))
        self.intake.close(round)
        self.at_work.note_closed(round)
        self._patience.note_progress()
        self.snapshot_if_due()

    def snapshot_if_due(self) -> None:
        """Give readers a fresh copy now and then: a copy takes time in proportion to the database, so the larger it is,
        the more rarely it is made."""
        if time.monotonic() >= self._next_snapshot:
            self.snapshot()

    def snapshot(self) -> None:
        """Give readers a fresh copy of the database."""
        started = time.monotonic()
        self.intake.store.snapshot(self.intake.run.snapshot)
        now = time.monotonic()
        self._next_snapshot = now + max(SNAPSHOT_EVERY_S, 20 * (now - started))

    def _propose(self, round: int) -> LMRequest:
        self._report(round, "propose", 0, 1)
        intake = self.intake
        folder = intake.run.round(round)
        if not folder.request.exists():
            lm_request = request(
                intake.config,
                intake.task,
                run_id=intake.run_id,
                round=round,
                parents=intake.parents(round),
                failed=intake.failed(round),
                tuning_examples=intake.tuning_examples(round),
                adapter=intake.last_adapter(round),
                deepspeed_config=read_deepspeed_config(intake.config.lm.deepspeed),
            )
            write_once(folder.request, envelopes.encode(lm_request))  # a successor's is being answered already
        lm_request = read_request(folder)
        if lm_request.run_id != intake.run_id:
            raise RunFolderError(
                f"{folder.request} belongs to run {lm_request.run_id!r}, not {intake.run_id!r}; remove its folder"
            )
        return lm_request

    def _generate(self, lm_request: LMRequest, overlap: Overlap | None) -> None:
        round = lm_request.round
        folder = self.intake.run.round(round)
        self.lm.start(folder)
        while not self.lm.poll():
            now = phase(folder)
            has_drawn = now.step == "generate" and (round, now.done) > self._drawn
            if has_drawn:
                self._drawn = round, now.done
            self.at_work.step_late()
            if (overlap is not None and overlap.step(now.done)) or has_drawn:
                self._patience.note_progress()
            held = [self.lm.held, *self.at_work.held]
            self._report(round, now.step, now.done, now.total, tuple(filter(None, held)))
            self.stopper.check_at_work(round)
            self._pause(SLOWEST_POLL_S)

    def _evaluate(self, round: int) -> None:
        delay = FASTEST_POLL_S
        if self.at_work.waits(round):
            seeds.check_task(self.intake.store, round)
        while not self.at_work.may_close(round):
            has_arrived = self.at_work.step(round)
            self._report_evaluation(round)
            delay = FASTEST_POLL_S if has_arrived else min(1.5 * delay, SLOWEST_POLL_S)
            self._pause(delay)

    def _pause(self, seconds: float) -> None:
        self.lease.beat()
        self.snapshot_if_due()
        self._patience.note_well()
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        if self.wait(seconds):
            raise Stopped

    def _report_evaluation(self, round: int) -> None:
        total, pending = sum(self.intake.store.counts(round).values()), len(self.intake.store.pending(round))
        self._report(round, "evaluate", total - pending, total, self.at_work.held)

    def _report(self, round: int, step: Step, done: int, total: int, held: tuple[str, ...] = ()) -> None:
        counts, best = self.intake.store.counts(round), self.intake.fittest()
        self.observe(Progress(round, self.budget.rounds, step, done, total, counts, best, held, self.at_work.late))
