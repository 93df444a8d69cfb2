"""`evohpc doctor --gpu`: what a search needs of a GPU, tried on this host, without Slurm, containers or a network.

Every check goes the way of a search: candidates in the sandbox of the `process` runtime, the language model in a
process of its own, the quickstart through the command line.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.lm import LMConfig
from evohpc.config.search import Config
from evohpc.config.task_name import TaskName
from evohpc.doctor.attacking import HEALTHY
from evohpc.doctor.attacks import too_busy
from evohpc.errors import EvaluationError, EvohpcError
from evohpc.evaluation.worker import evaluator
from evohpc.files import write_atomic
from evohpc.jobs import array_task, side_by_side
from evohpc.linux import python
from evohpc.messages import Attempt, EvaluationJob, Result, Status
from evohpc.run_folder import RunDir, read_provenance
from evohpc.search import creation
from evohpc.shipped import catalogue

BUDGET_S = 540.0
"""No check begins later than this after the first, and none goes on for longer than what is left of it."""
NO_GPU = "no GPU here"
_LIMIT_S, _SHORT_LIMIT_S = 120.0, 30.0
_CLRS_STEPS = 20
_LEAST_AGREEMENT = 0.5
"""Of completions drawn alone and together: off the CPU, sums are rounded in another order, and a text that has met one
close call goes on in other words."""
_GIVEN_BACK = 0.5
"""Of what a killed candidate held; the rest may be another process's."""
_DEVICE = """
import json, torch
if torch.cuda.is_available():
    free, total = torch.cuda.mem_get_info()
    print(json.dumps({"name": torch.cuda.get_device_name(), "free_mib": free >> 20, "total_mib": total >> 20,
                      "torch": torch.__version__, "cuda": torch.version.cuda or "", "hip": torch.version.hip or ""}))
else:
    print("{}")
"""
_HELD_MIB = 1024
_IN_FORWARD = "    def forward(self, x):\n"
HOLDS_AND_HANGS = HEALTHY.replace("from torch", "import torch\nfrom torch").replace(
    _IN_FORWARD,
    f"{_IN_FORWARD}        self.held = [torch.ones({_HELD_MIB} << 18, device=x.device)]\n        while True:\n"
    "            x = x + 0\n",
)
TAKES_ALL = HEALTHY.replace("from torch", "import torch\nfrom torch").replace(
    _IN_FORWARD, f"{_IN_FORWARD}        self.held = [torch.ones(64 << 20, device=x.device) for _ in range(10**6)]\n"
)


@dataclass(frozen=True, slots=True)
class Check:
    """What came of one check."""

    name: str
    holds: bool | None
    """None: it was not tried."""
    found: str
    """In a few words."""
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Bench:
    """Where the checks work, and on what."""

    folder: Path
    device: str
    """As a task's option `device` names it."""
    model: Path | None
    deadline: float
    quickstart: tuple[str, ...]
    """Further options of `evohpc run`."""

    @property
    def left_s(self) -> float:
        return max(1.0, self.deadline - time.monotonic())


def examine(
    device: str = "cuda", model: Path | None = None, quickstart: tuple[str, ...] = (), budget_s: float = BUDGET_S
) -> Iterator[Check]:
    """Make all checks; yield each as it is made.

    Args:
        device: 'cuda', also for ROCm; 'cpu' tries the checks themselves.
        model: folder of the language model; without one, its checks are not made.
        quickstart: further options of `evohpc run`.
    """
    with tempfile.TemporaryDirectory(prefix="evohpc-gpu-", ignore_cleanup_errors=True) as folder:
        bench = _Bench(Path(folder), device, model, time.monotonic() + budget_s, quickstart)
        seen = {} if device == "cpu" else seen_by_torch(bench.left_s)
        is_there = device == "cpu" or bool(seen)
        yield Check("device", is_there, _named(seen) if is_there else NO_GPU, seen)
        for name, check in CHECKS.items():
            if not is_there:
                yield Check(name, None, NO_GPU)
            elif time.monotonic() > bench.deadline:
                yield Check(name, None, "time is up")
            else:
                yield _tried(name, lambda check=check: check(bench))  # type: ignore[misc]


def _tried(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except subprocess.TimeoutExpired:
        return Check(name, None, "time is up")
    except (EvohpcError, OSError, subprocess.SubprocessError, ValueError) as error:
        return Check(name, holds=False, found=" ".join(str(error).split()))


def seen_by_torch(within_s: float) -> dict[str, Any]:
    """Return what torch says of the GPU; nothing where there is none, or no torch."""
    with suppress(subprocess.SubprocessError, ValueError, IndexError):
        done = subprocess.run([*python(), "-c", _DEVICE], capture_output=True, text=True, timeout=within_s)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    return {}


def _named(seen: dict[str, Any]) -> str:
    if not seen:
        return "a CPU: this tries the checks, and no GPU"
    return f"{seen['name']}, {seen['total_mib']} MiB, torch {seen['torch']}"


def _evaluation(bench: _Bench) -> Check:
    first, second = _results(bench, [("first", HEALTHY), ("second", HEALTHY)])
    if first.status is not Status.TRAINED:
        return Check("evaluation in the sandbox", holds=False, found=_said(first))
    same = (first.error, first.fitness) == (second.error, second.fitness)
    numbers = {"isolation": str(first.isolation), "seconds": first.seconds, "errors": [first.error, second.error]}
    found = f"trained at isolation {first.isolation}; one seed, two trainings: {'the same' if same else 'not the same'}"
    return Check("evaluation in the sandbox", same, found, numbers)


def _killed(bench: _Bench) -> Check:
    before = seen_by_torch(bench.left_s).get("free_mib")
    (result,) = _results(bench, [("hangs", HOLDS_AND_HANGS)], _SHORT_LIMIT_S)
    after = seen_by_torch(bench.left_s).get("free_mib")
    if busy := too_busy(result):
        return Check("memory of a killed candidate", None, f"not judged: {busy}")
    ended = result.status is Status.TIMEOUT
    if before is None or after is None:
        return Check("memory of a killed candidate", ended, f"{_said(result)}; memory is looked at on a GPU only")
    lost = max(0, before - after)
    holds = ended and lost < _GIVEN_BACK * _HELD_MIB
    numbers = {"held_mib": _HELD_MIB, "lost_mib": lost}
    return Check("memory of a killed candidate", holds, f"{_said(result)}; {lost} MiB not given back", numbers)


def _out_of_memory(bench: _Bench) -> Check:
    hungry, healthy = _results(bench, [("hungry", TAKES_ALL), ("healthy", HEALTHY)])
    holds = hungry.status is Status.OUT_OF_MEMORY and healthy.status is Status.TRAINED
    return Check("out of memory", holds, f"{_said(hungry)}; the next one: {_said(healthy)}")


def _shared(bench: _Bench) -> Check:
    """As an array task of Slurm's with one GPU and `evaluation.candidates_at_once: 2` does it."""
    run = _new_run(bench, candidates_per_task=2, candidates_at_once=2)
    programs = {"hungry": TAKES_ALL, "healthy": HEALTHY}
    for name, text in programs.items():
        write_atomic(run.round(0).candidate(name), text)
    job = EvaluationJob("shared", 0, (tuple(Attempt(name, 1) for name in programs),))
    run_id = str(read_provenance(run)["run_id"])
    write_atomic(run.round(0).job(job.name), envelopes.seal(run_id, 1, job))
    command = [*python(), *array_task.command(side_by_side.run_array_task, run.path, 0, job.name, 0)]
    one_gpu = "" if bench.device == "cpu" else os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    slurm = {"SLURM_ARRAY_JOB_ID": "0", "SLURM_ARRAY_TASK_ID": "0", "CUDA_VISIBLE_DEVICES": one_gpu}
    environment = {**os.environ, **slurm}
    subprocess.run(command, env=environment, capture_output=True, timeout=bench.left_s, check=True)
    paths = [run.round(0).result(name, 1) for name in programs]
    hungry, healthy = (envelopes.unseal(path.read_bytes(), run_id, Result) for path in paths)
    holds = hungry.status is Status.OUT_OF_MEMORY and healthy.status is Status.TRAINED
    return Check("two at once", holds, f"one that takes all memory: {_said(hungry)}; beside it: {_said(healthy)}")


def _language_model(bench: _Bench) -> Check:
    if bench.model is None:
        return Check("language model", None, "no model here: evohpc fetch-lm makes one")
    command = [*python(), "-m", "evohpc.lm.trial", str(bench.model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=bench.left_s)
    if done.returncode:
        return Check("language model", holds=False, found=_last_line(done.stderr))
    said = json.loads(done.stdout.splitlines()[-1])
    is_there = said["device"].partition(":")[0] == bench.device.partition(":")[0]
    found = (
        f"on {said['device']} in {said['dtype']}: alone and together agree to {said['agree']:.0%}, "
        f"{said['tokens_per_s']} tokens/s ({said['against_generate']} of generate), "
        f"tuning step {said['tuning_step_s']} s ({said['against_bare']} of bare), peak {said['peak_mib']} MiB"
    )
    return Check("language model", is_there and said["agree"] >= _LEAST_AGREEMENT, found, said)


def _clrs(bench: _Bench) -> Check:
    options = {"algorithm": "bfs", "hidden": 32, "steps": _CLRS_STEPS, "samples": 16, "device": bench.device}
    seed = (catalogue.root() / "seeds" / "clrs" / "v1_standard.py").read_text()
    (result,) = _results(bench, [("clrs", seed)], task="clrs", options=options)
    step = result.seconds.get("train", 0.0) / _CLRS_STEPS
    return Check("CLRS-30", result.status is Status.TRAINED, f"{_said(result)}; {step:.3f} s a step", {"step_s": step})


def _quickstart(bench: _Bench) -> Check:
    if bench.model is None:
        return Check("quickstart", None, "no model here: evohpc fetch-lm makes one")
    config = catalogue.root() / "configs" / "quickstart.yaml"
    settings = [f"lm.path={bench.model.absolute()}", f"task_options.device={bench.device}", *bench.quickstart]
    command = [*python(), "-m", "evohpc", "run", str(bench.folder / "quickstart"), str(config)]
    command += [part for setting in settings for part in ("--set", setting)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=bench.left_s)
    seconds = round(time.monotonic() - started, 1)
    found = f"{seconds:.0f} s" if not done.returncode else _last_line(done.stderr)
    return Check("quickstart", not done.returncode, found, {"seconds": seconds})


CHECKS: dict[str, Callable[[_Bench], Check]] = {
    "evaluation in the sandbox": _evaluation,
    "memory of a killed candidate": _killed,
    "out of memory": _out_of_memory,
    "two at once": _shared,
    "language model": _language_model,
    "CLRS-30": _clrs,
    "quickstart": _quickstart,
}


def _results(
    bench: _Bench,
    programs: list[tuple[str, str]],
    limit_s: float = _LIMIT_S,
    task: str = "mnist1d",
    options: dict[str, Any] | None = None,
) -> list[Result]:
    """Evaluate programs one after the other, as a search does; a fault of the machine is a result, too."""
    run = _new_run(bench, task, options, time_limit_s=limit_s)
    found: list[Result] = []
    with evaluator(run) as ready:
        for name, text in programs:
            try:
                found.append(ready.evaluate(Attempt(name, 1), text.encode(), lambda log: None))
            except EvaluationError as error:
                found.append(Result(name, 1, Status.CONTAINER_ERROR, str(error)))
    return found


def _new_run(
    bench: _Bench, task: str = "mnist1d", options: dict[str, Any] | None = None, **evaluation: float
) -> RunDir:
    """Make a run folder with these settings of `evaluation`."""
    run = RunDir(Path(tempfile.mkdtemp(dir=bench.folder)) / "run")
    usual = {"time_limit_s": _LIMIT_S, "memory_mb": 4096 if bench.device != "cpu" else 1500}
    config = Config(
        task=TaskName(task),
        task_options=options or {"steps": 20, "eval_every": 10, "device": bench.device},
        seeds=catalogue.root() / "seeds" / task,
        lm=LMConfig(engine="scripted"),
        evaluation=EvaluationConfig.model_validate({**usual, **evaluation}),
    )
    creation.create(run, config, None)
    return run


def _said(result: Result) -> str:
    return f"{result.status}{': ' if result.detail else ''}{result.detail}"


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "it said nothing"
