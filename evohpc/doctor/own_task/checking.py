"""A task tried from its file to a prompt, as a search would use it, in a temporary folder and a bounded time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evohpc.config.lm import LMConfig
from evohpc.config.search import Config
from evohpc.doctor.base import Finding, attempt, fault, ok, warning
from evohpc.doctor.own_task import programs, scoring, splits
from evohpc.doctor.own_task.rehearsal import Rehearsal, Trained
from evohpc.errors import EvohpcError
from evohpc.evaluation.worker import evaluator
from evohpc.evolution.prompts import Example, few_shot_prompt
from evohpc.evolution.screening import seeds as screened
from evohpc.messages import Candidate, Status
from evohpc.run_folder import RunDir
from evohpc.search import creation
from evohpc.tasks.base import load_task
from evohpc.tasks.data import interface


@dataclass
class TaskCheck:
    """One check of a config's task; `findings` runs it, and `prompt` and `log` are there afterwards."""

    config: Config
    seconds: float = 60.0
    """After these no further seed is tried. A search gives each candidate evaluation.time_limit_s."""
    prompt: str = field(default="", init=False)
    """What a prompt of the first round looks like; '' if no seed was trained."""
    log: str = field(default="", init=False)
    """The end of what the first seed that failed printed, its traceback above all."""
    _begun: float = field(default=0.0, init=False)

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, each as soon as it is."""
        self._begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="evohpc-check-") as folder:
            run = RunDir(Path(folder) / "run")
            try:
                creation.create(run, self.config.model_copy(update={"lm": LMConfig(engine="scripted")}))
            except EvohpcError as error:
                yield fault("task", str(error), "mend it, and check again")
                return
            yield from attempt("task", "trying it", lambda: self._tried(run))

    def _tried(self, run: RunDir) -> Iterator[Finding]:
        task = load_task(self.config.task, self.config.task_options)
        its = interface(run)
        yield ok("interface", f"candidates define {its.entry} below {its.header!r}; prompts show {its.metric}")
        yield from splits.examine(run, task, self.config)
        sources = {path.stem: path.read_text(encoding="utf-8") for path in run.seeds.glob("*.py")}
        candidates = screened(sources, its, self.config.screening)
        for candidate in candidates:
            yield from programs.examine(candidate, its)
        good = [candidate for candidate in candidates if not candidate.status.is_refused]
        if not good:
            yield fault("seeds", "screening refuses all of them", "mend them, or widen the section screening")
            return
        with evaluator(run) as ready:
            yield from self._evaluated(Rehearsal(ready, task), good)

    def _evaluated(self, rehearsal: Rehearsal, seeds: Sequence[Candidate]) -> Iterator[Finding]:
        trained: list[Trained] = []
        longest = 0.0
        for number, seed in enumerate(seeds):
            if number and self._left() < longest:
                rest = ", ".join(candidate.id for candidate in seeds[number:])
                yield warning("seeds", f"no time for {rest}", "check longer: --seconds N")
                break
            found = rehearsal.evaluate(seed, max(self._left(), 1.0))
            longest = max(longest, found.seconds)
            if found.result.status is not Status.TRAINED:
                yield self._failed(found)
                continue
            yield ok(seed.id, rehearsal.summary(found))
            if not trained:
                yield from self._of_first(rehearsal, found)
            trained.append(found)
        if trained:
            yield from self._of_all(trained, rehearsal)

    def _of_first(self, rehearsal: Rehearsal, first: Trained) -> Iterator[Finding]:
        yield from rehearsal.checkpoints(first)
        if first.seconds < self._left():
            yield rehearsal.repeated(first, self._left())
        yield from scoring.examine(rehearsal.task, first, rehearsal.labels, self.config)

    def _of_all(self, trained: Sequence[Trained], rehearsal: Rehearsal) -> Iterator[Finding]:
        best = min(found.error for found in trained)
        threshold = self.config.search.error_threshold
        if best >= threshold:
            yield warning(
                "search.error_threshold",
                f"it is {threshold:g}, and the best seed has error {best:.4g}: a child no better gets no place",
                "raise it above the errors of useful models",
            )
        its = rehearsal.task.interface
        examples = [
            Example(f.seed.id, f.seed.source, f.result.num_params or 0, f.result.metrics[its.metric]) for f in trained
        ]
        shown = [examples[i % len(examples)] for i in range(self.config.search.examples_per_prompt)]
        self.prompt = few_shot_prompt(shown, examples, its, self.config.prompt)
        yield ok("prompt", f"{len(self.prompt):,} characters; it is shown below")

    def _failed(self, found: Trained) -> Finding:
        self.log = self.log or found.log
        result = found.result
        if result.status is Status.TIMEOUT and found.limit_s < self.config.evaluation.time_limit_s:
            return warning(
                found.seed.id,
                f"not done in {found.limit_s:.0f} s of this check's {self.seconds:g}, so all that follows is not tried",
                "check longer: --seconds N; or make task_options cheaper with --set",
            )
        if result.status.is_machine_fault:
            return warning(
                found.seed.id,
                f"this machine kept it from being tried: {result.detail.rpartition(': ')[2]}",
                "check again when the machine is less busy, or longer: --seconds N",
            )
        where = "; what it printed last is below" if found.log == self.log and found.log else ""
        return fault(found.seed.id, f"{result.status}: {result.detail}{where}", "mend the seed, or the task")

    def _left(self) -> float:
        return self.seconds - (time.monotonic() - self._begun)
