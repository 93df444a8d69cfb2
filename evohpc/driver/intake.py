"""What the files of a run mean, written into the store: the only way rows come into being.

The driver and `rebuild` both go through here, so a rebuilt database equals the one that grew with the search. Every
verb is idempotent: it reads what it needs from disk and adds what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from evohpc import envelopes
from evohpc.config.search import Config
from evohpc.driver import results, rungs
from evohpc.driver.rungs import Rungs
from evohpc.errors import EnvelopeError, RunFolderError
from evohpc.evolution import population, repairs, screening
from evohpc.evolution.prompts import Example
from evohpc.files import write_atomic
from evohpc.messages import SEED_ROUND, Candidate, Completion, LMRequest, Result, Status, TaskInterface
from evohpc.run_folder import RunDir
from evohpc.store.rows import Entry
from evohpc.store.store import Store


@dataclass
class Intake:
    """The store of one run, and the rules by which its files become rows."""

    run: RunDir
    run_id: str
    config: Config
    task: TaskInterface
    store: Store
    _round: int | None = field(default=None, init=False)
    _sources: dict[str, str] = field(default_factory=dict, init=False)
    _seen: set[str] = field(default_factory=set, init=False)
    _in_front: list[str] | None = field(default=None, init=False)
    """Ids of the fittest when it was last asked for, and of what was trained since; None before it was."""

    def admit_seeds(self) -> None:
        """Enter the seed programs as candidates."""
        sources = {path.stem: path.read_text(encoding="utf-8") for path in self.run.seeds.glob("*.py")}
        self._admit(SEED_ROUND, screening.seeds(sources, self.task, self.config.screening))

    def admit_children(self, request: LMRequest, completions: Sequence[Completion]) -> None:
        """Enter completions of a round, none left out before any of them, as candidates, refused ones included."""
        self._admit(request.round, screening.children(request, completions, self.task, self.config.screening))

    def collect(self, round: int) -> list[Result]:
        """Enter the results of a round that have arrived since the last call; return them."""
        if round != self._round:
            admitted = [e.candidate for e in self.store.entries(round) if not e.candidate.status.is_refused]
            self._sources = {candidate.id: candidate.source for candidate in admitted}
            self._round, self._seen = round, set()
        folder = self.run.round(round)
        found = dict(results.read_results(folder, self.run_id, self._sources, self.task, self._seen))
        fresh = list(found.values())
        if fresh:
            with self.store.write():
                self.store.add_results(fresh)
                self._conclude(round)
        self._seen.update(found)
        return fresh

    def give_up(self, round: int, retries: int) -> None:
        """Let the last machine fault of each candidate that has used up its attempts be its outcome."""
        attempted = self.store.attempts(round).values()
        self.store.conclude([results[-1] for results in attempted if rungs.is_given_up(results, retries)])

    def rungs(self, round: int, epoch: int) -> Rungs:
        """Return the rungs of a round, for the driver of that epoch."""
        return Rungs(self.run.round(round), self.run_id, epoch, rungs.of_round(self.config.evaluation, round))

    def restore_sources(self, round: int) -> None:
        """Write the source files of waiting candidates again that someone removed or altered."""
        for entry in self.store.entries(round, Status.PENDING):
            path = self.run.round(round).candidate(entry.candidate.id)
            if not path.is_file() or path.read_bytes() != entry.candidate.source.encode():
                write_atomic(path, entry.candidate.source)

    def close(self, round: int) -> None:
        """Select the survivors of a round, once, and close it. What survivors.json says is never computed again.

        Raises:
            RunFolderError: it cannot be read.
        """
        path = self.run.round(round).survivors
        if not path.exists():
            write_atomic(path, json.dumps(self._select(round), indent=1) + "\n")
        try:
            survivors = envelopes.decode(path.read_bytes(), list[str])
            if unknown := [name for name in survivors if self.store.entry(name) is None]:
                raise EnvelopeError(f"no candidate is called {unknown[0]!r}")
        except EnvelopeError as error:
            raise RunFolderError(f"{path}: {error}; delete it to have the survivors selected again") from None
        self.store.close_round(round, survivors, population.leaving(round, survivors, self.config.search))

    def parents(self, round: int) -> list[Example]:
        """Return P of a round: the survivors of the one before."""
        return [self._example(entry) for entry in self.store.survivors(round - 1)]

    def failed(self, round: int) -> list[Candidate]:
        """Return who of the round before raised an error, which prompts of a round may ask to be repaired."""
        return [entry.candidate for entry in self.store.every(round - 1, repairs.ERRORS)]

    def tuning_examples(self, round: int) -> list[Example]:
        """Return what the soft prompt of a round is tuned on: C_EVALED \\ P of the round before, the fittest first."""
        children = self.store.entries(round - 1, Status.TRAINED)
        parents = {entry.id for entry in self.store.survivors(round - 1)}
        examples = population.tuning_examples(round - 1, children, parents, self.config.search)
        return [self._example(entry) for entry in examples]

    def last_adapter(self, round: int) -> str | None:
        """Return the folder of the adapter that a round goes on from, relative to the run folder."""
        tuned = [earlier for earlier in range(round) if self.run.round(earlier).adapter.is_dir()]
        last = population.adapter_to_continue(round, tuned)
        return None if last is None else str(self.run.round(last).adapter.relative_to(self.run.path))

    def best(self, count: int = 1) -> list[Entry]:
        """Return the fittest candidates of the whole search so far, seeds included."""
        return self.store.with_ids(row.id for row in population.best(self.store.scores(), count, self.config.search))

    def fittest(self) -> Entry | None:
        """Return the fittest of `best`. It is asked for at each poll, and many that are fitter may have too large an
        error: so only what was trained since the last time is compared with it."""
        if self._in_front is None:
            first = self.best()
        else:
            ranked = population.by_fitness(self.store.with_ids(dict.fromkeys(self._in_front)))
            first = population.best(ranked, 1, self.config.search)
        self._in_front = [entry.id for entry in first]
        return next(iter(first), None)

    def _admit(self, round: int, candidates: Iterable[Candidate]) -> None:
        rows = self._mark_duplicates(list(candidates))
        folder = self.run.round(round)
        if not folder.archive.exists():
            for candidate in rows:
                path = folder.candidate(candidate.id)
                if candidate.status is Status.PENDING and not path.exists():
                    write_atomic(path, candidate.source)
        self.store.add_candidates(rows)
        if round == self._round:
            self._sources |= {candidate.id: candidate.source for candidate in rows if not candidate.status.is_refused}

    def _mark_duplicates(self, candidates: list[Candidate]) -> list[Candidate]:
        first = self.store.known_hashes([c.code_hash for c in candidates if c.code_hash])
        marked = []
        for candidate in candidates:
            if candidate.code_hash:
                original = first.setdefault(candidate.code_hash, candidate.id)
                if original != candidate.id:
                    candidate = replace(candidate, status=Status.DUPLICATE, detail=f"same program as {original}")
            marked.append(candidate)
        return marked

    def _conclude(self, round: int) -> None:
        config = self.config.evaluation
        course = rungs.of_round(config, round)
        attempted = self.store.attempts(round).values()
        final = [results[-1] for results in attempted if rungs.is_final(results, course, config.retries)]
        self.store.conclude(final)
        if self._in_front is not None:
            self._in_front += [r.candidate_id for r in final if r.fitness is not None]
        self.store.add_to_pool(round, population.added_to_pool(round, final, self.config.search))

    def _select(self, round: int) -> list[str]:
        """Return P after a round."""
        search, store = self.config.search, self.store
        if round == SEED_ROUND:
            return [entry.id for entry in population.initial_parents(store.entries(SEED_ROUND))]
        pool = store.pool(round if search.pool == "last_round" else None)
        return population.select(round, pool, [entry.id for entry in store.survivors(round - 1)], search)

    def _example(self, entry: Entry) -> Example:
        candidate, result = entry.candidate, entry.result
        assert result is not None, "only trained candidates are examples"
        assert result.num_params is not None, "ingest refuses a trained result without a size"
        return Example(candidate.id, candidate.source, result.num_params, result.metrics[self.task.metric])
