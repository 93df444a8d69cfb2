"""A search as an object: create or open it, run it, or evaluate its candidates yourself.

    with Search.create("runs/first", load_config("configs/quickstart.yaml")) as search:
        for entry in search.run():
            print(entry.candidate.id, entry.result.fitness)

Only `run`, `ask` and `tell` make this process the driver of the run; reading needs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from evohpc import envelopes
from evohpc.config.search import Config, load_resolved
from evohpc.config.site import Site, load_site
from evohpc.driver import stopper
from evohpc.driver.driver import Driver, Stopped
from evohpc.driver.progress import Progress
from evohpc.driver.results import check_numbers, unseal_result
from evohpc.errors import ConfigError, EnvelopeError, LeaseError
from evohpc.evolution import population
from evohpc.evolution.stopping import EarlyEnd
from evohpc.files import write_once
from evohpc.messages import Candidate, Result, Status
from evohpc.run_folder import RunDir
from evohpc.search import creation, driving, tensorboard
from evohpc.search.scalars import Scalars
from evohpc.search.tensorboard import TensorBoard
from evohpc.search.tracking import Tracked, Tracker
from evohpc.search.weights_and_biases import WeightsAndBiases
from evohpc.store.rows import Entry
from evohpc.store.store import Store


@dataclass(frozen=True)
class _Driving:
    """What a process holds while it drives."""

    driver: Driver
    resources: ExitStack
    """Closes it all: the only place that does."""


class Search:
    """One search, in its run folder. A context manager; leaving it lets the next driver start at once."""

    def __init__(self, run: Path | str) -> None:
        """Open a run folder; the same as `Search.open`."""
        self.folder = RunDir(Path(run))
        self.run_id = creation.run_id(self.folder)
        self.config = load_resolved(self.folder.config)
        self.site = load_site(self.folder.site) if self.folder.site.is_file() else None
        self._driving: _Driving | None = None

    @classmethod
    def create(cls, run: Path | str, config: Config, *, site: Site | None = None) -> Self:
        """Make a run folder, or open the one that an earlier call with the same config made.

        Args:
            site: run evaluations (and, if it says so, the LM) as Slurm jobs of this site.

        Raises:
            RunFolderError: the folder holds something else, or another search.
            ConfigError, TaskError, LMError: what the config names is missing or unusable; the folder can be used again.
        """
        folder = RunDir(Path(run))
        if creation.exists(folder):
            creation.reconfigure(folder, config, site)
        else:
            creation.create(folder, config, site)
        return cls(run)

    @classmethod
    def open(cls, run: Path | str) -> Self:
        """Open a run folder that exists.

        Raises:
            RunFolderError: this is none.
        """
        return cls(run)

    def run(
        self,
        *,
        observe: Callable[[Progress], None] = lambda progress: None,
        stop: Event | None = None,
        waiting: Callable[[str], None] = lambda message: None,
    ) -> list[Entry]:
        """Drive the search from wherever it is to its end; return its ten best candidates, the fittest first.

        Its end is that of its last round, or where a budget of `search.stop` is spent: then `early_end` says which.

        Args:
            observe: called at every change.
            stop: set it, e.g. in a signal handler, to stop between two steps.
            waiting: told when another driver may still hold the run, which takes up to two minutes to find out.

        Raises:
            Stopped: `stop` was set; run it again to go on.
            LeaseError: a living driver holds the run.
            EvohpcError: the site or the config is at fault; nothing is lost.
        """
        stop = stop or Event()
        driver = driving.patiently(partial(self._drive, waiting, stop), stop)
        driver.observe = noted = driving.Noted(self.folder.progress, self._tracked(observe, driver))
        driver.wait = partial(driving.wait_for, stop)
        try:
            driver.drive()
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, Stopped | LeaseError):
                noted.failed(error)
            self.close()  # the next call begins anew, from what is on disk
            raise
        if self.early_end is not None:
            self._end_what_is_at_work()
        return self.best()

    def _tracked(self, observe: Callable[[Progress], None], driver: Driver) -> Callable[[Progress], None]:
        """Return an observer that tells the config's trackers, too."""
        if not self.config.trackers:
            return observe
        scalars = Scalars(driver.intake.store, self.config.search)
        make: dict[str, Callable[[], Tracker]] = {
            "tensorboard": lambda: TensorBoard(self.folder.path / tensorboard.FOLDER, scalars),
            "wandb": lambda: WeightsAndBiases(self.folder, self.config, scalars),
        }
        return Tracked(observe, {name: make[name] for name in self.config.trackers})

    def ask(self) -> list[Candidate]:
        """Return the candidates that await an evaluation: those of the open round without a final result.

        For who evaluates elsewhere: write `candidate.source` to a file, measure it, and `tell`. When no candidate of
        a round is left, `ask` closes the round, opens the next one, and returns its candidates.

        Returns:
            Candidates in order of id, each with the status PENDING; empty when the search is over. Two calls without
            a `tell` in between return the same.

        Raises:
            LeaseError: a living driver holds the run, or one has taken it over since the last call.
            TaskError: no seed could be trained.
            LMError: the language model could not generate the round.
            StorageError: the file system refused a write; nothing is lost.
        """
        with self._as_driver() as driver:
            return driver.next_candidates()

    def tell(self, result: Result) -> None:
        """Enter the outcome of a candidate that `ask` returned; of two for the same attempt the first one counts.

        A machine fault (`Status.is_machine_fault`) makes `ask` return the candidate again, up to evaluation.retries
        times; `result.attempt` is 1 at first, and one more each time.

        Raises:
            ConfigError: no such candidate awaits a result, the attempt is not the one that is due, or the result
                cannot be true (see `evohpc.driver.results.unseal_result`): nothing was entered.
            LeaseError: a living driver holds the run, or one has taken it over since the last call.
            StorageError: the file system refused a write; nothing was entered.
        """
        with self._as_driver() as driver:
            entry = driver.intake.store.entry(result.candidate_id)
            if entry is None or entry.candidate.status is not Status.PENDING:
                raise ConfigError(
                    f"{result.candidate_id}: no such candidate waits for a result; `ask` returns those that do"
                )
            self._enter(driver, entry.candidate, result)

    @property
    def early_end(self) -> EarlyEnd | None:
        """Why the search has ended before its last round; None if it has not."""
        return stopper.early_end(self.folder)

    def best(self, count: int = 10) -> list[Entry]:
        """Return the fittest candidates of the whole search so far, seeds included.

        Only such whose error is below search.error_threshold: GetTop(G, p) of Algorithm 1. A network that has hardly
        any parameters and learns nothing may be fitter still.

        Args:
            count: how many at most.

        Returns:
            Candidates with their results, the fittest first, those of equal fitness in order of id.

        Raises:
            RunFolderError: the search has not begun, or its database is damaged.
        """
        if self._driving is not None:
            return self._driving.driver.intake.best(count)
        store = Store.snapshot_reader(self.folder.snapshot)
        try:
            return store.with_ids(row.id for row in population.best(store.scores(), count, self.config.search))
        finally:
            store.close()

    def cancel_jobs(self) -> None:
        """End the LM jobs and job arrays of this run, whoever submitted them. Their candidates get a new attempt.

        Raises:
            EvaluationError: the scheduler does not answer.
        """
        runner = driving.job_runner(self.folder, self.config, self.site)
        driving.lm_job(self.folder, self.config, self.site).cancel()
        runner.cancel([path.stem for path in sorted(self.folder.path.glob("rounds/*/jobs/*.json"))])

    def close(self) -> None:
        """Stop driving, if this process does. Local evaluations end; a scheduler's jobs go on."""
        held, self._driving = self._driving, None
        if held is not None:
            held.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def snapshot(self) -> None:
        """Let readers, `evohpc status` for one, see all that was told until now; `close` does so, too.

        Raises:
            LeaseError: another driver holds the run.
            StorageError: the disk is full.
        """
        with self._as_driver() as driver:
            driver.snapshot()

    def _drive(self, waiting: Callable[[str], None] = lambda message: None, stop: Event | None = None) -> Driver:
        if self._driving is None:
            with ExitStack() as resources:
                driver = driving.become_driver(
                    self.folder,
                    self.run_id,
                    resources,
                    config=self.config,
                    site=self.site,
                    waiting=waiting,
                    stop=stop or Event(),
                )
                self._driving = _Driving(driver, resources.pop_all())
        return self._driving.driver

    @contextmanager
    def _as_driver(self) -> Iterator[Driver]:
        """Drive for one call; who was replaced begins anew at the next one."""
        for key in ("rungs", "repeats"):
            if getattr(self.config.evaluation, key):
                raise ConfigError(
                    f"evaluation.{key} is set, of which `ask` and `tell` know nothing: leave it away, or `run`"
                )
        try:
            yield self._drive()
        except LeaseError:
            self.close()
            raise

    def _end_what_is_at_work(self) -> None:
        """End evaluations and the language model where a budget has ended the search in the midst of a round."""
        if self.site is not None:
            self.cancel_jobs()
        self.close()

    def _enter(self, driver: Driver, candidate: Candidate, result: Result) -> None:
        due = len(driver.intake.store.results(candidate.id)) + 1
        if result.attempt != due:
            raise ConfigError(f"{candidate.id}: attempt {result.attempt} was told, attempt {due} is due")
        path = self.folder.round(candidate.round).result(candidate.id, due)
        sources = {candidate.id: candidate.source}
        try:
            check_numbers(result)  # before the envelope, which says of NaN only that it refuses it
            data = envelopes.seal(self.run_id, driver.lease.epoch, result)
            unseal_result(path.name, data, self.run_id, sources, driver.intake.task)
        except (EnvelopeError, ValueError, TypeError) as error:  # the latter two: JSON cannot say it
            raise ConfigError(f"{candidate.id}: {error}") from None
        with driver.intake.store.write():  # of a driver that was replaced nothing is entered
            write_once(path, data)
            driver.intake.collect(candidate.round)
