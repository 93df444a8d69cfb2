"""What the files of a run mean, written into the store: the only way rows come into being.

The driver and `rebuild` both go through here, so a rebuilt database equals the one that grew with the search. Every
verb is idempotent: it reads what it needs from disk and adds what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evohpc import envelopes
from evohpc.config.search import Config
from evohpc.driver import results, rungs
from evohpc.driver.rungs import Rungs
from evohpc.errors import EnvelopeError, RunFolderError
from evohpc.evolution import neutral_code, population, repairs, screening
from evohpc.evolution.prompts import Example
from evohpc.files import write_atomic, write_once
from evohpc.messages import SEED_ROUND, Candidate, Completion, LMRequest, Result, Status, TaskInterface
from evohpc.run_folder import RunDir
from evohpc.store.rows import Entry
from evohpc.store.store import Store


@dataclass
class _Collected:
    """What is known of the results of one round."""

    sources: dict[str, str]
    """Of its candidates that are evaluated, by id."""
    seen: set[str] = field(default_factory=set)
    """Names of the files that were read."""


@dataclass
class Intake:
    """The store of one run, and the rules by which its files become rows."""

    run: RunDir
    run_id: str
    config: Config
    task: TaskInterface
    store: Store
    _collected: dict[int, _Collected] = field(default_factory=dict, init=False)
    _in_front: list[str] | None = field(default=None, init=False)
    """Ids of the fittest when it was last asked for, and of what was trained since; None before it was."""

    def admit_seeds(self) -> None:
        """Enter the seed programs as candidates."""
        sources = {path.stem: path.read_text(encoding="utf-8") for path in self.run.seeds.glob("*.py")}
        self._admit(SEED_ROUND, screening.seeds(sources, self.task, self.config.screening, self._digest))

    def admit_children(self, request: LMRequest, completions: Sequence[Completion]) -> None:
        """Enter completions of a round, none left out before any of them, as candidates, refused ones included."""
        children = screening.children(request, completions, self.task, self.config.screening, self._digest)
        self._admit(request.round, children)

    def collect(self, round: int) -> list[Result]:
        """Enter the results of a round that have arrived since the last call; return them."""
        if round not in self._collected:
            self._collected = {open: known for open, known in self._collected.items() if self.store.pending(open)}
            self._collected[round] = _Collected(_sources(entry.candidate for entry in self.store.entries(round)))
        known = self._collected[round]
        folder = self.run.round(round)
        found = dict(results.read_results(folder, self.run_id, known.sources, self.task, known.seen))
        fresh = list(found.values())
        if fresh:
            with self.store.write():
                self.store.add_results(fresh)
                self._conclude(round)
        known.seen.update(found)
        return fresh

    def give_up(self, round: int, retries: int, spared: Collection[str] = ()) -> None:
        """Let the last machine fault of each candidate that has used up its attempts be its outcome."""
        attempted = [results for id, results in self.store.attempts(round).items() if id not in spared]
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

    def may_close(self, round: int) -> bool:
        """Say whether enough outcomes of a round are known for it to close; of one that once closed, whether all are
        that were known then.

        Raises:
            RunFolderError: what it closed without cannot be read.
        """
        folder, pending = self.run.round(round), self.store.pending(round)
        if folder.late.exists() or folder.survivors.exists():
            return set(pending) <= set(self.late(round))
        evaluated = sum(n for status, n in self.store.counts(round).items() if not status.is_refused)
        return population.may_close(round, evaluated - len(pending), evaluated, self.config.search)

    def close(self, round: int) -> None:
        """Select the survivors of a round, once, and close it. What late.json and survivors.json say is never computed
        again, and the first is there before the second: so whoever goes on from here, or makes the database anew,
        selects from the same pool and tunes on the same children, whatever has come in since.

        Raises:
            RunFolderError: one of them cannot be read.
        """
        path, late = self.run.round(round).survivors, self.late(round)
        if not path.exists():
            # Once: a driver that stood still until its successor had closed the round selects from what that one left.
            write_once(path, json.dumps(self._select(round, late), indent=1) + "\n")
        survivors = self._names(path, "delete it to have the survivors selected again")
        self.store.close_round(round, survivors, population.leaving(round, survivors, self.config.search), late)

    def late(self, round: int) -> list[str]:
        """Return the candidates, of this round or an earlier one, that a round closes without.

        Raises:
            RunFolderError: it once closed, and the record of them cannot be read.
        """
        folder = self.run.round(round)
        if not folder.late.exists() and not folder.survivors.exists():
            rounds = {*self.store.rounds_with_late(), round}
            if pending := [id for open in sorted(rounds) for id in self.store.pending(open)]:
                write_once(folder.late, json.dumps(pending, indent=1) + "\n")
        return self._names(folder.late, "take it from a backup") if folder.late.exists() else []

    def _names(self, path: Path, remedy: str) -> list[str]:
        try:
            names = envelopes.decode(path.read_bytes(), list[str])
            if unknown := [name for name in names if self.store.entry(name) is None]:
                raise EnvelopeError(f"no candidate is called {unknown[0]!r}")
        except EnvelopeError as error:
            raise RunFolderError(f"{path}: {error}; {remedy}") from None
        return names

    def parents(self, round: int) -> list[Example]:
        """Return P of a round: the survivors of the one before."""
        return [self._example(entry) for entry in self.store.survivors(round - 1)]

    def failed(self, round: int) -> list[Candidate]:
        """Return who of the round before raised an error, which prompts of a round may ask to be repaired."""
        return [entry.candidate for entry in self._known_with(round - 1, repairs.ERRORS)]

    def tuning_examples(self, round: int) -> list[Example]:
        """Return what the soft prompt of a round is tuned on: C_EVALED \\ P of the round before, the fittest first."""
        children = self._known_with(round - 1, [Status.TRAINED])
        parents = {entry.id for entry in self.store.survivors(round - 1)}
        examples = population.tuning_examples(round - 1, children, parents, self.config.search)
        return [self._example(entry) for entry in examples]

    def _known_with(self, round: int, statuses: Sequence[Status]) -> list[Entry]:
        """Return whose outcome, one of these, was first known when a round closed, in order of id: candidates of the
        round but for the late, and those of earlier ones that were late until then."""
        waited_for = self.store.with_ids(self.store.late(round - 1))
        came = [entry for entry in waited_for if entry.candidate.status in statuses]
        return population.in_time([*came, *self.store.every(round, statuses)], self.store.late(round))

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
        if round in self._collected:
            self._collected[round].sources |= _sources(rows)

    @property
    def _digest(self) -> screening.Digest:
        return neutral_code.DIGESTS[self.config.search.duplicates]

    def _mark_duplicates(self, candidates: list[Candidate]) -> list[Candidate]:
        first = self.store.known_hashes([c.code_hash for c in candidates if c.code_hash])
        fresh: dict[str, str] = {}
        marked = []
        for candidate in candidates:
            fresh[candidate.id] = candidate.source
            original = first.setdefault(candidate.code_hash, candidate.id) if candidate.code_hash else candidate.id
            if original != candidate.id:
                how = f"same program as {original}"
                if self.config.search.duplicates == "same_computation":
                    source = fresh.get(original) or self.store.with_ids([original])[0].candidate.source
                    how = neutral_code.likeness(candidate.source, source, original)
                candidate = replace(candidate, status=Status.DUPLICATE, detail=how)
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

    def _select(self, round: int, late: Collection[str]) -> list[str]:
        """Return P after a round."""
        search, store = self.config.search, self.store
        if round == SEED_ROUND:
            return [entry.id for entry in population.initial_parents(store.entries(SEED_ROUND))]
        came_since = set(late)  # before a kill, maybe
        pool = (id for id in store.pool(round if search.pool == "last_round" else None) if id not in came_since)
        return population.select(round, pool, [entry.id for entry in store.survivors(round - 1)], search)

    def _example(self, entry: Entry) -> Example:
        candidate, result = entry.candidate, entry.result
        assert result is not None, "only trained candidates are examples"
        assert result.num_params is not None, "ingest refuses a trained result without a size"
        return Example(candidate.id, candidate.source, result.num_params, result.metrics[self.task.metric])


def _sources(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Return the programs of those that are evaluated."""
    return {candidate.id: candidate.source for candidate in candidates if not candidate.status.is_refused}
