"""What the files of a run mean, written into the store: the only way rows come into being.

The driver and `rebuild` both go through here, so a rebuilt database equals the one that grew with the search. Every
verb is idempotent: it reads what it needs from disk and adds what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evohpc import envelopes
from evohpc.config.search import Config
from evohpc.driver import results
from evohpc.errors import EnvelopeError, RunFolderError
from evohpc.evolution import population, screening
from evohpc.evolution.prompts import Example
from evohpc.files import write_atomic
from evohpc.messages import SEED_ROUND, Candidate, Completion, LMRequest, Result, Status, TaskInterface
from evohpc.run_folder import RunDir
from evohpc.store.store import Entry, Store


@dataclass
class Ledger:
    """The store of one run, and the rules by which its files become rows."""

    run: RunDir
    run_id: str
    config: Config
    task: TaskInterface
    store: Store
    _round: int | None = field(default=None, init=False)
    _sources: Mapping[str, str] = field(default_factory=dict, init=False)
    _seen: set[str] = field(default_factory=set, init=False)

    def admit_seeds(self) -> None:
        """Enter the seed programs as candidates."""
        sources = {path.stem: path.read_text(encoding="utf-8") for path in self.run.seeds.glob("*.py")}
        self._admit(SEED_ROUND, screening.seeds(sources, self.task, self.config.screening))

    def admit_children(self, request: LMRequest, completions: Sequence[Completion]) -> None:
        """Enter the completions of a round as candidates, refused ones included."""
        self._admit(request.round, screening.children(request, completions, self.task, self.config.screening))

    def collect(self, round: int) -> list[Result]:
        """Enter the results of a round that have arrived since the last call; return them."""
        if round != self._round:
            admitted = [e.candidate for e in self.store.entries(round) if not e.candidate.status.is_refused]
            self._sources = {candidate.id: candidate.source for candidate in admitted}
            self._round, self._seen = round, set()
        folder, metric = self.run.round(round), self.task.metric
        found = dict(results.read_results(folder, self.run_id, self._sources, metric, self._seen))
        fresh = list(found.values())
        if fresh:
            with self.store.write():
                self.store.add_results(fresh)
                self._conclude(round, fresh)
        self._seen.update(found)
        return fresh

    def give_up(self, round: int, retries: int) -> None:
        """Let the last machine fault of each candidate that has used up its attempts be its outcome."""
        last = [results[-1] for results in self.store.attempts(round).values()]
        self.store.conclude([result for result in last if result.attempt > retries])

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
        retire = self.config.search.retire_parents and round != SEED_ROUND
        self.store.close_round(round, survivors, retire=retire)

    def parents(self, round: int) -> list[Example]:
        """Return P of a round: the survivors of the one before."""
        return [self._example(entry) for entry in self.store.survivors(round - 1)]

    def taught(self, round: int) -> list[Example]:
        """Return what the soft prompt of a round is tuned on: C_EVALED \\ P of the round before, the fittest first."""
        if round - 1 == SEED_ROUND:
            return []
        selected = {entry.candidate.id for entry in self.store.survivors(round - 1)}
        everyone = self.config.search.tuning_data == "all_evaluated"
        scored = [e for e in self.store.entries(round - 1, Status.TRAINED) if self._passes(e.result)]
        scored.sort(key=lambda e: (-_fitness(e), e.candidate.id))
        return [self._example(e) for e in scored if everyone or e.candidate.id not in selected]

    def _admit(self, round: int, candidates: Iterable[Candidate]) -> None:
        rows = self._mark_duplicates(list(candidates))
        folder = self.run.round(round)
        if not folder.archive.exists():
            for candidate in rows:
                path = folder.candidate(candidate.id)
                if candidate.status is Status.PENDING and not path.exists():
                    write_atomic(path, candidate.source)
        self.store.add_candidates(rows)

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

    def _conclude(self, round: int, results: Sequence[Result]) -> None:
        last = {r.candidate_id: r for r in sorted(results, key=lambda r: r.attempt)}
        final = [r for r in last.values() if self._is_final(r)]
        self.store.conclude(final)
        if round == SEED_ROUND and not self.config.search.seeds_in_pool:
            return
        self.store.add_to_pool(round, [r for r in final if self._passes(r)])

    def _is_final(self, result: Result) -> bool:
        return not result.status.is_machine_fault or result.attempt > self.config.evaluation.retries

    def _passes(self, result: Result | None) -> bool:
        """Algorithm 3: `if c.error < alpha`."""
        return result is not None and result.error is not None and result.error < self.config.search.error_threshold

    def _select(self, round: int) -> list[str]:
        search, store = self.config.search, self.store
        if round == SEED_ROUND:
            trained = store.entries(SEED_ROUND, Status.TRAINED)
            return [e.candidate.id for e in sorted(trained, key=lambda e: (-_fitness(e), e.candidate.id))]
        rounds = round if search.pool == "last_round" else None
        if search.variant == "random_parents":
            pool = store.pool(rounds)
            selected = [pool[rank] for rank in population.random_ranks(search, round, len(pool))]
        else:
            selected = store.pool_best(search.survivors, rounds)
        # The paper does not say what to do when nothing is left to select: evohpc goes on with the last parents.
        return selected or [entry.candidate.id for entry in store.survivors(round - 1)]

    def _example(self, entry: Entry) -> Example:
        candidate, result = entry.candidate, entry.result
        assert result is not None, "only trained candidates are examples"
        assert result.num_params is not None, "ingest refuses a trained result without a size"
        return Example(candidate.id, candidate.source, result.num_params, result.metrics[self.task.metric])


def _fitness(entry: Entry) -> float:
    return entry.result.fitness if entry.result and entry.result.fitness is not None else float("-inf")
