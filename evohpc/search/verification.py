"""The finalists of a search, trained again with fresh seeds and at full fidelity.

VERIFIED/              RUN/verified, unless another folder is named
  plan.json            whom, and with how many seeds
  seed-0/, seed-1/, ...

Each seed's folder is a run without rounds whose seed programs are the finalists. So a verification has the jobs, the
sandbox, the retries and the exactly-once results of a search, and with each seed data and validation samples that no
finalist was selected on.
"""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

import yaml

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.search import Config, load_config
from evohpc.config.site import Site
from evohpc.driver.driver import Stopped
from evohpc.driver.progress import Progress
from evohpc.errors import ConfigError, EnvelopeError, RunFolderError
from evohpc.files import check_free, write_atomic, write_once
from evohpc.messages import SEED_ROUND
from evohpc.run_folder import RunDir
from evohpc.search import creation
from evohpc.search.finalists import finalists
from evohpc.search.search import Search
from evohpc.search.verified_table import Finalist, Row, table
from evohpc.store.rows import Entry
from evohpc.store.store import Store

log = logging.getLogger(__name__)

FOLDER = "verified"
"""In the run folder of the search."""
PLAN = "plan.json"
FIRST_SEED = 10_000
"""`search.seed` of the first training of each finalist; searches have small ones."""
SEEDS = 5
"""Trainings of each finalist, unless told otherwise."""
SETTABLE = ("task_options", "evaluation", "screening")
"""Sections of the config that a verification may change."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom to verify, and how."""

    best: int = 3
    """The fittest so many."""
    error_below: float | None = None
    """Of those with a smaller error in the search; None for search.error_threshold."""
    overrides: tuple[str, ...] = ()
    """Changes of the search's config, e.g. 'task_options.steps=8000'."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`plan.json`."""

    run_id: str
    """Of the search."""
    asked: Asked
    finalists: tuple[Finalist, ...]
    seeds: int


class Verification:
    """A verification, in its folder: driven as a search is, and a context manager too."""

    def __init__(self, search: Search, folder: Path, plan: Plan, site: Site | None) -> None:
        """Take a verification that exists; `create` makes one."""
        self.folder, self.plan = folder, plan
        self._verified, self._site = search, site

    @classmethod
    def create(
        cls,
        run: Path,
        asked: Asked | None = None,
        *,
        seeds: int | None = None,
        folder: Path | None = None,
        site: Site | None = None,
    ) -> Self:
        """Make the folder of a verification, or open the one that an earlier call with the same request made.

        Args:
            run: the search, finished or not.
            asked: None goes on with what the folder holds.
            seeds: trainings of each finalist; a verification that exists may get more.
            folder: None for RUN/verified.
            site: run the trainings as Slurm jobs of this site; None where its seeds or else the search ran.

        Raises:
            RunFolderError: no candidate is good enough yet, or the folder holds something else.
            ConfigError, TaskError: what is changed in the config is wrong; the folder can be used again.
        """
        search, folder = Search.open(run), folder or run / FOLDER
        begun = (path for path in sorted(folder.glob("seed-*")) if creation.exists(RunDir(path)))
        site = site or next((Search.open(path).site for path in begun), None) or search.site
        if not (folder / PLAN).exists():
            _begin(search, folder, Plan(search.run_id, asked or Asked(), (), seeds or SEEDS), site)
        plan = read_plan(folder)
        _check_same(plan, search.run_id, asked, folder)
        if seeds is not None and seeds > plan.seeds:
            plan = replace(plan, seeds=seeds)
            write_atomic(folder / PLAN, envelopes.encode(plan) + "\n")
        _tell_of_fitter(search, plan)
        return cls(search, folder, plan, site)

    def run(
        self,
        *,
        observe: Callable[[Progress], None] = lambda progress: None,
        stop: Event | None = None,
        waiting: Callable[[str], None] = lambda message: None,
    ) -> list[Row]:
        """Train what is not trained yet, one seed after the other; return the table. Arguments as of `Search.run`.

        On a site the job arrays of all seeds are submitted before the first is waited for.

        Raises:
            Stopped, LeaseError, EvohpcError: see `Search.run`.
        """
        stop = stop or Event()
        left = [seed for seed in range(self.plan.seeds) if not _read(self.folder, seed)[0]]
        for seed in left if self._may_queue_all else ():
            _hand_out(self.search(seed), stop, waiting)
        for seed in left:
            waiting(f"seed {seed} (of 0-{self.plan.seeds - 1})")
            if stop.is_set():
                raise Stopped
            with self.search(seed) as search:
                search.run(observe=observe, stop=stop, waiting=waiting)
        return read_table(self.folder)

    def search(self, seed: int) -> Search:
        """Open the run of a seed; make it, if it is not there. It trains nothing."""
        path = _seed_folder(self.folder, seed).path
        if not creation.exists(RunDir(path)):
            return _create_seed(self._verified, self.folder, self.plan, seed, self._site)
        there = Search.open(path)
        return there if there.site == self._site else Search.create(path, there.config, site=self._site)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Between two calls nothing is held."""

    @property
    def _may_queue_all(self) -> bool:
        if self._site is None:
            return False
        limit = self._site.scheduler.max_queued
        return limit is None or self.plan.seeds * len(self.plan.finalists) <= limit


def read_plan(folder: Path) -> Plan:
    """Return what a verification is to do.

    Raises:
        RunFolderError: this is none.
    """
    path = folder / PLAN
    try:
        return envelopes.decode(path.read_bytes(), Plan)
    except FileNotFoundError:
        raise RunFolderError(f"{folder} is no verification (it has no {PLAN}); start one: evohpc verify RUN") from None
    except EnvelopeError as error:
        raise RunFolderError(f"{path}: {error}; take another folder: --to FOLDER") from None


def read_table(folder: Path) -> list[Row]:
    """Return the table of the trainings that are over.

    Raises:
        RunFolderError: this is no verification.
    """
    plan = read_plan(folder)
    return table(plan.finalists, [_read(folder, seed)[1] for seed in range(plan.seeds)])


def _begin(search: Search, folder: Path, plan: Plan, site: Site | None) -> None:
    """Make the run of the first seed, which finds what is wrong with the request; then let the plan stand."""
    first = _seed_folder(folder, 0)
    plan = replace(plan, finalists=finalists(search, plan.asked.best, plan.asked.error_below, first))
    check_free(folder, first.path.name)
    _create_seed(search, folder, plan, 0, site)
    write_once(folder / PLAN, envelopes.encode(plan) + "\n")


def _create_seed(search: Search, folder: Path, plan: Plan, seed: int, site: Site | None) -> Search:
    with closing(Store.snapshot_reader(search.folder.snapshot)) as store:
        entries = store.with_ids(finalist.id for finalist in plan.finalists)
    with tempfile.TemporaryDirectory(prefix="evohpc-verify-") as aside:
        config = _config(search.config, entries, plan.asked.overrides, seed, Path(aside))
        return Search.create(_seed_folder(folder, seed).path, config, site=site)


def _config(config: Config, entries: Iterable[Entry], overrides: Sequence[str], seed: int, aside: Path) -> Config:
    """Return the config of a search with the finalists as its seed programs, and with no rounds."""
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] not in SETTABLE:
            raise ConfigError(f"--set {override}: a verification can change {', '.join(SETTABLE)}, and nothing else")
    programs = aside / "seeds"
    programs.mkdir()
    for entry in entries:
        (programs / f"{entry.id}.py").write_text(entry.candidate.source, encoding="utf-8")
    document = config.model_dump(mode="json", exclude={"tuning"})
    document |= {"seeds": str(programs), "lm": {"engine": "scripted"}}
    # Without the search's budgets: the first finalist would reach its target.
    document["search"] |= {"rounds": 0, "seed": FIRST_SEED + seed, "stop": {}}
    # A recipe of more steps takes longer, and a program that has been trained once is no endless loop.
    enough = max(config.evaluation.time_limit_s, EvaluationConfig().time_limit_s)
    document["evaluation"]["time_limit_s"] = enough
    path = aside / "config.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_config(path, overrides)


def _hand_out(search: Search, stop: Event, waiting: Callable[[str], None]) -> None:
    """Submit the job arrays of a search and wait for none: they outlive their driver."""
    is_submitted = Event()

    def observe(progress: Progress) -> None:
        if progress.step == "evaluate" or stop.is_set():
            is_submitted.set()

    with suppress(Stopped), search:
        search.run(observe=observe, stop=is_submitted, waiting=waiting)


def _read(folder: Path, seed: int) -> tuple[bool, dict[str, Entry]]:
    """Return whether a seed is over, and its entries by finalist; none where it has not begun."""
    path = _seed_folder(folder, seed).snapshot
    if not path.exists():
        return False, {}
    with closing(Store.snapshot_reader(path)) as store:
        entries = {entry.id.removeprefix("seed-"): entry for entry in store.entries(SEED_ROUND)}
        return store.is_closed(SEED_ROUND), entries


def _check_same(plan: Plan, run_id: str, asked: Asked | None, folder: Path) -> None:
    if plan.run_id != run_id:
        raise RunFolderError(f"{folder} verifies the run {plan.run_id}, not {run_id}; take another folder: --to FOLDER")
    if asked is not None and asked != plan.asked:
        raise RunFolderError(
            f"{folder} holds another verification, of {', '.join(one.id for one in plan.finalists)}: it was asked for "
            f"with {_in_words(plan.asked)}; take another folder (--to FOLDER), or leave these options away to go on "
            "with that one"
        )


def _in_words(asked: Asked) -> str:
    below = "" if asked.error_below is None else f" --max-error {asked.error_below:g}"
    return f"--best {asked.best}{below}" + "".join(f" --set {shlex.quote(text)}" for text in asked.overrides)


def _tell_of_fitter(search: Search, plan: Plan) -> None:
    """Tell that the search has found better ones since the plan was made."""
    known = {finalist.id for finalist in plan.finalists}
    fittest = finalists(search, plan.asked.best, plan.asked.error_below)
    if found := [finalist.id for finalist in fittest if finalist.id not in known]:
        log.warning("%s found fitter ones since: %s; --to FOLDER verifies these", search.run_id, ", ".join(found))


def _seed_folder(folder: Path, seed: int) -> RunDir:
    return RunDir(folder / f"seed-{seed}")
