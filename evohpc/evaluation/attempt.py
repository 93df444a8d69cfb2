"""One attempt at one candidate, from its source to a result. Never imports the candidate.

Its code runs in sandboxed stages, each a process of its own; this process alone reads the labels. Whatever a candidate
does comes back as a `Result` with a status; an exception means that the host or the task is at fault.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from evohpc.errors import EvaluationError
from evohpc.evaluation import device, network, program, verdict
from evohpc.evaluation.curve import Measured
from evohpc.evaluation.known import Known
from evohpc.evaluation.provenance import provenance
from evohpc.evaluation.trial import Trial
from evohpc.evaluation.verdict import Failed, KeepModel
from evohpc.messages import Attempt, Status
from evohpc.sandbox import removal, scratch
from evohpc.tasks.program import is_program


@dataclass
class Evaluator(Known):
    """Evaluates candidates one after the other on one benchmark."""

    _lower: dict[int, Evaluator] = field(default_factory=dict, init=False)

    def evaluate(
        self,
        attempt: Attempt,
        source: bytes,
        keep_log: Callable[[bytes], None] = lambda text: None,
        keep_model: KeepModel | None = None,
        *,
        is_followed: bool = False,
    ) -> Measured:
        """Evaluate one candidate.

        Args:
            source: the whole module.
            keep_log: is given what the candidate printed, if anything.
            keep_model: is given the model that was scored, if it was.
            is_followed: another candidate is evaluated next.

        Raises:
            EvaluationError: the sandbox failed, the device cannot be used, or the run's data is gone.
            TaskError: the task cannot be loaded.
            TaskCodeError: its own `score` or `fitness` failed.
        """
        on = self._at(attempt.rung)
        if is_followed:
            self.runtime.expect_another()
        result, trial = on._try(attempt, source, self.benchmark.config.time_limit_s, keep_model)
        if device.is_suspect(result):
            device.check(self.benchmark, self.runtime, result, self.gpu_share)
            result, trial = on._try(attempt, source, trial.time_left, keep_model)
        if trial.log:
            keep_log(verdict.printable(trial.log[-self.benchmark.config.log_kb * 1024 :]))
        return result

    def _at(self, rung: int | None) -> Evaluator:
        if rung is None or (on := self.benchmark.at(rung)) is self.benchmark:
            return self
        if rung not in self._lower:
            self._lower[rung] = replace(self, benchmark=on)
        return self._lower[rung]

    def _try(
        self, attempt: Attempt, source: bytes, seconds: float, keep_model: KeepModel | None
    ) -> tuple[Measured, Trial]:
        with scratch.folder("evohpc-") as folder:
            trial = Trial(self, source, folder, seconds, keep_model)
            try:
                return self._result(attempt, trial), trial
            finally:
                self.runtime.end_candidate()

    def _result(self, attempt: Attempt, trial: Trial) -> Measured:
        """Return what becomes of an attempt."""
        started = time.perf_counter()
        measure = program.measure if is_program(self.task) else network.measure
        try:
            outcome = {"status": Status.TRAINED, **measure(trial)}
        except Failed as failure:
            removal.remove(trial.folder)  # what is full after that is so by others' doing
            if scratch.is_full(trial.folder.parent):  # a file cut short there may look like any failure
                raise EvaluationError(f"{tempfile.gettempdir()} on {socket.gethostname()} is full") from None
            if failure.status is Status.BUILD_ERROR:  # the task and its data are loaded before the candidate
                self.check_files()
            outcome = {"status": failure.status, "detail": failure.detail}
        seconds = {**trial.seconds, "total": time.perf_counter() - started}
        return Measured(
            candidate_id=attempt.candidate_id,
            attempt=attempt.attempt,
            seconds={name: round(spent, 4) for name, spent in seconds.items()},
            isolation=self.runtime.isolation,
            **provenance(trial.source, self.versions),
            **outcome,
        )
