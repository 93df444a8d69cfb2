"""`evohpc doctor --attack`: hostile candidates on this host, each beside a healthy one whose result must not change.

They go the way of a search's candidates: a worker process, the runtime of the config, a sandbox; another worker has the
healthy neighbour. Afterwards no process may be left, and no file.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from evohpc import envelopes, linux
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.lm import LMConfig
from evohpc.config.search import Config, load_resolved
from evohpc.config.site import Site
from evohpc.config.task_name import TaskName
from evohpc.doctor import attacks
from evohpc.doctor.attacks import Attack
from evohpc.errors import EvaluationError
from evohpc.evaluation.stage import protocol
from evohpc.files import write_atomic
from evohpc.jobs.local import LocalRunner
from evohpc.messages import Attempt, EvaluationJob, Isolation, Result, Status, TaskState
from evohpc.run_folder import RunDir
from evohpc.sandbox import process_tree
from evohpc.search import creation
from evohpc.shipped import catalogue

BUDGET_S = 540.0
"""No attack begins later than this after the first."""
LOOKS_AFTERWARDS = 2
"""For processes and files that were left."""
MEMORY_MB, DISK_MB = 1500, 32
_FIRST_LIMIT_S, _LIMITS_S = 240.0, (15.0, 60.0)
_LOOK_EVERY_S = 0.05
_GONE_WITHIN_S = 5.0

HEALTHY = """
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
"""
"""The model that the attacks have, without an attack."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attack, or of looking for what they left."""

    aim: str
    """What it is after, e.g. 'memory'."""
    tries: str
    expected: str
    happened: str
    holds: bool | None
    """None: it was not tried."""


def attack_host(
    config: Config, site: Site | None, attacked: Sequence[tuple[str, Attack]], budget_s: float = BUDGET_S
) -> Iterator[Outcome]:
    """Make attacks on this host, and look for what they left; yield an outcome for each as it comes, and two more.

    Args:
        config: whose runtime, isolation and threads are used; task and limits are the attacks' own.
        site: for containers.
        attacked: see `attacks.chosen`.

    Raises:
        EvaluationError: this host isolates too little for it to be safe, or the healthy neighbour fails on its own.
        EvohpcError: no run can be made.
    """
    before = process_tree.children(os.getpid())
    with tempfile.TemporaryDirectory(prefix="evohpc-attack-") as folder, _adopting():
        place = Path(folder)
        run = RunDir(place / "run")
        creation.create(run, _own_config(config), site)
        with _temporary_files_in(place / "scratch"):
            honest = _Pair(run).alone()
            _limit_time(run, honest)
            pair = _Pair(run)
            with closing(pair):
                yield from _in_turn(pair, attacked, place, honest, time.monotonic() + budget_s)
        yield _left_running(before)
        yield _left_on_disk(place / "scratch")


def _in_turn(
    pair: _Pair, attacked: Sequence[tuple[str, Attack]], place: Path, honest: Result, deadline: float
) -> Iterator[Outcome]:
    for aim, attack in attacked:
        if time.monotonic() > deadline:
            yield Outcome(aim, attack.tries, attack.end, "not tried: time is up", holds=None)
            continue
        canary = _canary(place / "home")
        hostile, healthy, log = pair.beside(attack.name, attack.source(canary, pair.run.labels))
        if busy := attacks.too_busy(hostile) or attacks.too_busy(healthy):
            yield Outcome(aim, attack.tries, attack.end, f"not judged: {busy}", holds=None)
            continue
        complaint = (
            attack.complaint(hostile, log, honest) or _changed(canary, place / "home") or _disturbed(healthy, honest)
        )
        yield Outcome(aim, attack.tries, attack.end, complaint or attack.end, not complaint)


class _Pair:
    """Two workers on one run: one for what attacks, one for its neighbour."""

    def __init__(self, run: RunDir) -> None:
        self.run, self._run_id, self._count = run, creation.run_id(run), 0
        self._hostile, self._healthy = (LocalRunner(run.path, workers=1) for _ in range(2))

    def close(self) -> None:
        """End both."""
        self._hostile.close()
        self._healthy.close()

    def alone(self) -> Result:
        """Return the result of the healthy one alone, and close."""
        with closing(self):
            honest, _ = self._result(self._submitted(self._healthy, "alone", HEALTHY), self._healthy)
        if honest.status is not Status.TRAINED:
            raise EvaluationError(f"an ordinary candidate fails here: {honest.status}: {honest.detail}")
        return honest

    def beside(self, name: str, source: str) -> tuple[Result, Result, str]:
        """Evaluate an attack and, at the same time, the healthy one; return both results, and the attack's log."""
        hostile = self._submitted(self._hostile, name, source)
        healthy = self._submitted(self._healthy, f"beside_{name}", HEALTHY)
        result, log = self._result(hostile, self._hostile)
        return result, self._result(healthy, self._healthy)[0], log

    def _submitted(self, runner: LocalRunner, name: str, source: str) -> EvaluationJob:
        self._count += 1
        folder = self.run.round(0)
        job = EvaluationJob(f"{name}-{self._count}", 0, ((Attempt(f"{name}-{self._count}", 1),),))
        write_atomic(folder.candidate(job.name), source)
        write_atomic(folder.job(job.name), envelopes.seal(self._run_id, 1, job))
        runner.submit(job)
        return job

    def _result(self, job: EvaluationJob, runner: LocalRunner) -> tuple[Result, str]:
        while (report := runner.poll({job.name: 1})[job.name][0]).state is not TaskState.ENDED:
            time.sleep(_LOOK_EVERY_S)
        folder = self.run.round(0)
        path, log = folder.result(job.name, 1), folder.log(job.name, 1)
        if not path.exists():
            return Result(job.name, 1, report.fault, report.reason), ""
        result = envelopes.unseal(path.read_bytes(), self._run_id, Result)
        return result, log.read_text() if log.exists() else ""


def _own_config(config: Config) -> Config:
    given = config.evaluation
    safe = max(given.minimum_isolation, Isolation.CONFINED, key=lambda isolation: isolation.rank)
    evaluation = EvaluationConfig(
        runtime=given.runtime,
        minimum_isolation=safe,
        threads=given.threads,
        time_limit_s=_FIRST_LIMIT_S,
        memory_mb=given.memory_mb if protocol.has_gpus() else MEMORY_MB,
        disk_mb=DISK_MB,
        log_kb=16,
        max_params=1_000_000,
    )
    return Config(
        task=TaskName("mnist1d"),
        task_options={"steps": 20, "eval_every": 10},
        seeds=catalogue.root() / "seeds" / "mnist1d",
        lm=LMConfig(engine="scripted"),
        evaluation=evaluation,
    )


def _limit_time(run: RunDir, honest: Result) -> None:
    """Give an attack several times what the healthy one took, so that one that never ends costs little."""
    config = load_resolved(run.config)
    least, most = _LIMITS_S
    limit = min(max(least, 3 * honest.seconds["total"]), most)
    evaluation = config.evaluation.model_copy(update={"time_limit_s": limit})
    creation.save_config(run, config.model_copy(update={"evaluation": evaluation}))


def _canary(folder: Path) -> Path:
    """Return a file of this user that must stay as it is; make it if it is not there."""
    path = folder / "id_canary"
    if not path.exists():
        write_atomic(path, f"{attacks.CANARY}-file")
        os.utime(path, (1, 1))
    return path


def _changed(canary: Path, folder: Path) -> str:
    is_whole = canary.exists() and canary.read_text() == f"{attacks.CANARY}-file" and canary.stat().st_mtime == 1
    return "" if is_whole and os.listdir(folder) == [canary.name] else "a file of this user was changed"


def _disturbed(healthy: Result, honest: Result) -> str:
    same = (healthy.error, healthy.fitness, healthy.num_params) == (honest.error, honest.fitness, honest.num_params)
    return "" if same else f"its healthy neighbour suffered: {healthy.status}: {healthy.detail}"


def _left_running(before: Collection[int]) -> Outcome:
    deadline = time.monotonic() + _GONE_WITHIN_S
    while (left := _running(before)) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    found = f"processes {', '.join(map(str, left))}" if left else "nothing"
    return Outcome("left behind", "afterwards, processes", "nothing", found, not left)


def _running(before: Collection[int]) -> list[int]:
    """Return our children but those that were there before, and those that have ended: nobody waits for these."""
    return [pid for pid in process_tree.children(os.getpid()) if pid not in before and _is_running(pid)]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _left_on_disk(scratch: Path) -> Outcome:
    left = [path.name for path in scratch.iterdir()]
    return Outcome("left behind", "afterwards, files", "nothing", ", ".join(left) or "nothing", not left)


@contextmanager
def _adopting() -> Iterator[None]:
    """Have processes become this one's children whose parents end, so that none can hide."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 0)


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Have workers that are started meanwhile make their temporary files in a folder, which is made."""
    folder.mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
