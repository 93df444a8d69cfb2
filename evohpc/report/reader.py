"""Reads one run: its snapshot, and the last progress of its driver. Writes nothing and locks nothing."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evohpc import envelopes
from evohpc.config.search import load_resolved
from evohpc.config.site import load_site
from evohpc.driver import clock, lease, stopper
from evohpc.errors import EnvelopeError, LeaseError, RunFolderError, StorageError
from evohpc.evaluation.curve import Curve
from evohpc.evolution import population
from evohpc.evolution.population import Budget
from evohpc.evolution.stopping import EarlyEnd
from evohpc.lm_job import times
from evohpc.messages import SEED_ROUND, Candidate, Status
from evohpc.report import lateness, tables
from evohpc.report.curves import curve_of
from evohpc.report.documents import LastProgress, Spent, head
from evohpc.report.early_end import in_words, raised
from evohpc.report.kinship import Family
from evohpc.report.logs import Log, log_of
from evohpc.report.selection import Selections
from evohpc.report.similar import similar
from evohpc.report.text import in_hours
from evohpc.run_folder import RunDir, read_request
from evohpc.search import cost, creation, driver_job
from evohpc.search.cost import Cost
from evohpc.store.rows import Entry, FaultyNode
from evohpc.store.store import Store
from evohpc.tasks.data import interface

BEST = "best"
"""In place of a candidate's id: the fittest. No candidate is called so."""


def has_begun(run: Path) -> bool:
    """Say whether there is a snapshot to read.

    Raises:
        RunFolderError: this is no run folder.
    """
    creation.run_id(RunDir(run))
    return RunDir(run).snapshot.exists()


class Reading:
    """One run folder, opened for reading."""

    def __init__(self, run: Path) -> None:
        """Open it.

        Raises:
            RunFolderError: it is no run folder, or its search has not begun.
        """
        self._run = RunDir(run)
        self.run_id = creation.run_id(self._run)
        self.config = load_resolved(self._run.config)
        if not self._run.snapshot.exists():
            advice = driver_job.how_to_begin(self._run, self.run_id)
            raise RunFolderError(f"{run}: its search has not begun; {advice}")
        self.store = Store.snapshot_reader(self._run.snapshot)
        self.task = interface(self._run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.close()

    @property
    def is_done(self) -> bool:
        """All rounds are closed."""
        return self.store.is_closed(Budget.of(self.config.search).rounds - 1)

    @property
    def is_over(self) -> bool:
        """No driver is to go on with it: all rounds are closed, or a budget is spent."""
        return self.is_done or self.early_end is not None

    @property
    def early_end(self) -> EarlyEnd | None:
        """Why it ended before its last round; None if it did not, or goes on."""
        return stopper.early_end(self._run)

    @property
    def error_below(self) -> float:
        """What the error of a candidate must be below to count among the best: alpha of Algorithm 3."""
        return self.config.search.error_threshold

    def best(
        self,
        count: int,
        round: int | None = None,
        statuses: Collection[Status] = (),
        among: Collection[str] | None = None,
    ) -> list[Entry]:
        """Return the fittest candidates, all or those of one round, of some statuses or of these; see `Search.best`."""
        if statuses and Status.TRAINED not in statuses:  # no other has a fitness
            return []
        of_these = (score for score in self.store.scores(round) if among is None or score.id in among)
        scores = population.best(of_these, count, self.config.search)
        return self.store.with_ids(score.id for score in scores)

    def not_counted(self) -> str:
        """Return a sentence on those that are fitter than the best but do not count: their error is too high."""
        above = takewhile(lambda score: not population.passes(score, self.config.search), self.store.scores())
        return tables.not_counted(list(above), self.error_below, is_any_counted=bool(self.best(1)))

    def candidate(self, name: str) -> Entry:
        """Return a candidate by its id; `BEST` is the fittest.

        Raises:
            RunFolderError: there is none.
        """
        command = f"evohpc list {shlex.quote(str(self._run.path))}"
        if name == BEST:
            if best := self.best(1):
                return best[0]
            none = f"nothing was trained with an error below {self.error_below:g} (search.error_threshold) yet"
            raise RunFolderError(f"{self._run.path}: {none}; see: {command}")
        if (entry := self.store.entry(name)) is not None:
            return entry
        raise RunFolderError(f"{self._run.path} has no candidate {name!r}; {similar(name, self.store)}see: {command}")

    def log(self, entry: Entry) -> Log | None:
        """Return the end of what a candidate printed; None if it printed nothing, or its log is gone."""
        return log_of(self._run, entry)

    def curve(self, entry: Entry) -> Curve:
        """Return how a candidate's error fell while it was trained; empty where that is not known."""
        return curve_of(self._run, self.run_id, entry)

    def selections(self) -> Selections:
        """Return who descends from whom, and who was selected."""
        survivors: dict[int, list[str]] = {row["round"]: [] for row in self.store.rows("closed_rounds")}
        for row in self.store.rows("survivors"):
            survivors[row["round"]].append(row["candidate_id"])
        late = {round: self.store.late(round) for round in survivors}
        return Selections(Family(self.store.kin()), survivors, self.config.search, late)

    @property
    def late(self) -> int:
        """How many candidates of closed rounds have no outcome yet (`search.close_at`)."""
        return sum(len(self.store.pending(round)) for round in self.store.rounds_with_late())

    @cached_property
    def late_until(self) -> dict[str, int]:
        """Of each candidate that was late, the first round that could know its outcome."""
        return lateness.late_until(self.store)

    @property
    def late_entered(self) -> int:
        """How many of them have entered the pool of a later round."""
        return lateness.entered(self.store, self.late_until, self.config.search)

    def prompt(self, candidate: Candidate) -> str | None:
        """Return the text that the language model completed; None for a seed, or where it cannot be read."""
        if candidate.round == SEED_ROUND:
            return None
        try:
            prompts = read_request(self._run.round(candidate.round)).prompts
        except RunFolderError:
            return None
        return next((prompt.text for prompt in prompts if prompt.index == candidate.prompt), None)

    def faulty_nodes(self) -> list[FaultyNode]:
        """Return the nodes that new job arrays are kept away from, as far as Slurm can: machine faults were repeated
        there. Without a site profile there are none."""
        after = load_site(self._run.site).evaluation.exclude_after if self._run.site.exists() else 0
        return self.store.faulty_nodes(after) if after else []

    def headlines(self) -> Iterator[tuple[str, str]]:
        """Yield (name, value) lines for people."""
        last = self._last_progress()
        yield "run", f"{self.run_id}: {self.config.search.variant} on {self.config.task}"
        yield "driver", self._driver() or ("none; the search is over" if self.is_over else f"none{self._last_end()}")
        if self.early_end is not None:
            yield "stopped", in_words(self.early_end)
        yield from lateness.lines(self.late_until, self.late, self.late_entered)
        if last is not None:
            where = "seeds" if last.round < 0 else f"round {last.round} (of 0-{last.rounds - 1})"
            count = f" {last.done}/{last.total}" if last.total > 1 else ""
            yield "last seen", f"{last.at}: {where}, {last.step}{count}"
            for reason in last.held:
                yield "held", reason
            if last.failure:
                yield (
                    "failed",
                    last.failure + (f"; see {printed}" if (printed := self._run.driver_log).exists() else ""),
                )
        for node in self.faulty_nodes():
            faults = f"its last {node.faults} attempts were the machine's fault (until {node.last})"
            yield "node", f"{node.name}: {faults}; new arrays exclude it"
        spent = self.spent()
        evaluating, drawing, driven = map(in_hours, (spent.evaluation_hours, spent.lm_hours, spent.driver_hours))
        gpus = f", {spent.gpu_hours:.3g} GPU-hours" if spent.gpu_hours else ""
        yield "spent", f"{evaluating} evaluating, {drawing} of the language model, driven for {driven}{gpus}"
        if stages := {**spent.evaluation_stages, **spent.lm_stages}:
            yield "by stage", ", ".join(f"{name} {in_hours(hours)}" for name, hours in stages.items())
        if (whole := self.evaluation_hours()) is not None and not self.is_over:
            yield "estimate", f"{in_hours(whole)} evaluating in all, at most {in_hours(self.cost.evaluation_hours)}"

    @property
    def cost(self) -> Cost:
        """What the search costs at most."""
        site = load_site(self._run.site) if self._run.site.exists() else None
        return cost.bound(self.config, sum(self.store.counts(SEED_ROUND).values()), site)

    def evaluation_hours(self) -> float | None:
        """Return about how many wall hours all evaluations of the search take; None before one is over."""
        budget = Budget.of(self.config.search)
        seeds, children = (sum(self.store.counts(round).values()) for round in (SEED_ROUND, None))
        seconds, evaluated = self.store.evaluation_seconds()
        left = budget.rounds * budget.per_round - children
        return cost.estimate(self.cost, seconds, evaluated, seeds + children, left)

    def spent(self) -> Spent:
        """Return what the search has taken so far."""
        drawing: Counter[str] = Counter()
        for round in range((self.store.last_round() or 0) + 1):
            drawing.update(times.seconds(self._run.round(round)))
        evaluating = self.store.evaluation_seconds()[0] / 3600
        had = replace(self.cost, evaluation_hours=evaluating, lm_hours=drawing.total() / 3600)
        return Spent(
            evaluation_hours=evaluating,
            lm_hours=had.lm_hours,
            driver_hours=clock.seconds(self._run.clock) / 3600,
            cpu_hours=had.cpu_hours,
            gpu_hours=had.gpu_hours,
            evaluation_stages={stage: seconds / 3600 for stage, seconds in self.store.stage_seconds().items()},
            lm_stages={doing: seconds / 3600 for doing, seconds in drawing.items()},
        )

    def status(self) -> dict[str, Any]:
        """Return the same, and more, as plain values for `--json`."""
        last = self._last_progress()
        return {
            **head("status", self.run_id),
            "run_id": self.run_id,
            "task": str(self.config.task),
            "variant": self.config.search.variant,
            "is_done": self.is_done,
            "stopped": None if self.early_end is None else asdict(self.early_end),
            "driver": self._driver(),
            "progress": None if last is None else asdict(last),
            "spent": asdict(self.spent()),
            "cost": {"evaluation_hours": self.evaluation_hours(), "at_most": asdict(self.cost)},
            "faulty_nodes": [node._asdict() for node in self.faulty_nodes()],
            "late": self.late,
            "were_late": len(self.late_until),
            "late_entered": self.late_entered,
            "counts": {str(status): count for status, count in self.store.counts().items()},
            "best": [tables.document(entry) for entry in self.best(1)],
        }

    def advice(self) -> str:
        """Return the next useful command."""
        path = shlex.quote(str(self._run.path))
        if self._driver():
            return f"evohpc list {path} --best 20"
        if not self.is_done:
            more = "" if self.early_end is None else f" --set {raised(self.early_end)}"
            return f"evohpc {'submit' if self._run.site.exists() else 'run'} {path}{more}"
        best = self.best(1)
        return f"evohpc show {path} {shlex.quote(best[0].candidate.id)}" if best else f"evohpc list {path}"

    def _driver(self) -> str:
        """Return who holds the lease; '' if nobody does, as far as this host can tell."""
        try:
            current = lease.holder(self._run)
        except (LeaseError, StorageError) as error:
            return str(error)
        if current is None or lease.is_alive_here(current) is False:
            return ""
        return str(current)

    def _last_end(self) -> str:
        """Return of a driver that is gone how it ended, where it did not say so."""
        gone = lease.holder(self._run)
        return "" if gone is None else f"; the last one, {gone}, ended without a word (killed, or out of memory)"

    def _last_progress(self) -> LastProgress | None:
        try:
            return envelopes.decode(self._run.progress.read_bytes(), LastProgress)
        except (OSError, EnvelopeError):
            return None
