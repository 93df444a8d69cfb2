"""A search of any size, made up, the same at each call: its files, without a database."""

from __future__ import annotations

import json
import random
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lm_inputs import bodies

from evohpc import envelopes
from evohpc.config.search import load_config
from evohpc.evolution.prompts import Example, candidate_source
from evohpc.evolution.request import request
from evohpc.evolution.screening import candidate_id
from evohpc.messages import Completion, Isolation, LMRequest, Result, Status, TaskInterface
from evohpc.run_folder import RunDir
from evohpc.search.search import Search
from evohpc.tasks.data import interface

ROOT = Path(__file__).parent.parent
PER_ROUND = 160
_NO_PROGRAM = "    def forward(self, x:\n"
NUMBER = re.compile(r"\b\d+\b")


def write_run(run: RunDir, size: int) -> None:
    """Write the files of a search whose rounds are closed, with `size` children, and no database."""
    rounds = -(-size // PER_ROUND)
    config = run.path.with_name("config.yaml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f"task: mnist1d\nseeds: {ROOT / 'seeds' / 'mnist1d'}\nlm: {{engine: scripted}}\n"
        f"search: {{rounds: {rounds + 100}}}\nevaluation: {{retries: 2}}\n"
    )
    with Search.create(run.path, load_config(config)) as search:
        for candidate in search.ask():
            search.tell(trained(candidate.id, 1, 5000, 0.3))
        seeds = [Example(e.id, e.candidate.source, 5000, 0.7) for e in search.best()]
        search.ask()
        made = Maker(run, search, seeds)
    for round in range(rounds):
        made.write_round(round)
    for path in (run.database, run.snapshot):
        path.unlink()


class Maker:
    """Makes up rounds. One in six completions is a program seen before, one in fifteen is no program, and one in ten
    programs fails."""

    def __init__(self, run: RunDir, search: Search, parents: Sequence[Example]) -> None:
        self._run, self._run_id, self._config = run, search.run_id, search.config
        self._task: TaskInterface = interface(run)
        self._parents = parents
        self._rng = random.Random(0)
        self._bodies = bodies()
        self._seen: dict[str, None] = {}
        """Programs, the latest last."""

    def write_round(self, round: int) -> None:
        """Write a closed round: its request, completions, archive and survivors."""
        folder = self._run.round(round)
        asked = request(
            self._config,
            self._task,
            run_id=self._run_id,
            round=round,
            parents=self._parents,
            failed=(),
            tuning_examples=(),
            adapter=None,
            deepspeed_config={},
        )
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.request.write_text(envelopes.encode(asked))
        texts = [(completion, self._is_new(completion.text)) for completion in self._completions(asked)]
        folder.completions.write_text("".join(envelopes.encode(completion) + "\n" for completion, _ in texts))
        good = self._write_archive(round, [completion for completion, is_new in texts if is_new])
        best = sorted(good, key=lambda result: (-(result.fitness or 0.0), result.candidate_id))
        folder.survivors.write_text(json.dumps([result.candidate_id for result in best[:10]]))

    def _completions(self, asked: LMRequest) -> Iterator[Completion]:
        for prompt in asked.prompts:
            for sample in prompt.samples:
                yield Completion(prompt.index, sample.index, text := self._text(), len(text) // 4, "eos")

    def _text(self) -> str:
        kind = self._rng.random()
        if kind < 1 / 15:
            return _NO_PROGRAM
        if kind < 1 / 15 + 1 / 6 and self._seen:
            return self._rng.choice(list(self._seen))
        return NUMBER.sub(lambda found: str(self._rng.randint(1, 999)), self._rng.choice(self._bodies))

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._seen and text != _NO_PROGRAM
        if is_new:
            self._seen[text] = None
        if len(self._seen) > 1000:
            del self._seen[next(iter(self._seen))]
        return is_new

    def _write_archive(self, round: int, completions: Sequence[Completion]) -> list[Result]:
        good = []
        with zipfile.ZipFile(self._run.round(round).archive, "w", zipfile.ZIP_DEFLATED) as archive:
            for completion in completions:
                id = candidate_id(round, completion.prompt, completion.sample)
                source = candidate_source(completion.text, self._task)
                archive.writestr(f"candidates/{id}.py", source)
                for result in self._results(id):
                    name = f"results/{id}.{result.attempt}.json"
                    archive.writestr(name, envelopes.seal(self._run_id, 1, result))
                    good += [result] if result.status is Status.TRAINED else []
        return good

    def _results(self, id: str) -> Iterator[Result]:
        attempt = 1
        if self._rng.random() < 0.02:
            yield Result(id, attempt, Status.NODE_FAIL, "the node went away")
            attempt = 2
        if self._rng.random() < 0.1:
            yield Result(id, attempt, Status.SHAPE_ERROR, "expected (100, 10), got (100, 7)", seconds={"total": 3.0})
        else:
            yield trained(id, attempt, self._rng.randint(100, 20_000), self._rng.uniform(0.05, 0.9))


def trained(id: str, attempt: int, size: int, error: float) -> Result:
    """Return a result of a training."""
    finished = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=size)
    return Result(
        candidate_id=id,
        attempt=attempt,
        status=Status.TRAINED,
        num_params=size,
        error=error,
        fitness=-size * error,
        metrics={"val_accuracy": 1 - error, "test_accuracy": 0.98 - error, "published_val_accuracy": 0.99 - error},
        seconds={"check": 0.5, "train": 40.0, "predict": 1.5, "score": 0.1, "total": 42.1},
        isolation=Isolation.CONTAINER,
        host=f"node{size % 64:02d}",
        versions={"torch": "2.13.0", "python": "3.11.7", "evohpc": "0.2.0"},
        finished_at=finished.isoformat(timespec="seconds"),
    )
