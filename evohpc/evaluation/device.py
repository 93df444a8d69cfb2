"""Whose fault a failure may be that speaks of a GPU: it may be missing, broken, or full of what others keep in it.

So it is with SIGBUS, by which the kernel ends who reads a file that a network file system cannot deliver.
A candidate can say the same words, so they are only a reason to look: a process without its code tries the device, and
if that works, the candidate is tried once more in the time that it has left. What fails again is its own.
"""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from evohpc import envelopes
from evohpc.errors import EvaluationError
from evohpc.evaluation import verdict
from evohpc.evaluation.benchmark import WORKER, Benchmark, limits, moved
from evohpc.evaluation.stage import protocol
from evohpc.evaluation.stage.protocol import Order, Report
from evohpc.evaluation.verdict import Failed
from evohpc.messages import Result, Status
from evohpc.sandbox.base import Runtime, Stage

_PROBE_S = 120.0

_SAID = re.compile(
    r"not compiled with CUDA|no CUDA GPUs|no NVIDIA driver|driver version is insufficient|driver on your system"
    r"|driver/library|no kernel image|busy or unavailable|uncorrectable|\bECC\b|fallen off the bus|hardware error"
    r"|invalid device ordinal|initialization error|not yet initialized|unspecified launch failure|unknown error"
    r"|died of SIGBUS|(CUDA|HIP) (error: )?out of memory|no (CUDA|ROCm|HIP)-capable device"
    r"|CU(DNN|BLAS)_STATUS_(NOT_INITIALIZED|ALLOC_FAILED)",
    re.IGNORECASE,
)
"""What torch and CUDA say of a GPU that cannot be used, or has no memory left; and how a stage ended."""

_FREE = 0.9
"""Of the GPU's memory that a candidate may have; if less is free when it has ended, other processes have taken it."""


def is_suspect(result: Result) -> bool:
    """Say whether a candidate's failure may be the machine's."""
    return result.status.is_candidate_fault and _SAID.search(result.detail) is not None


def check(benchmark: Benchmark, runtime: Runtime, failed: Result | None = None, share: float = 1.0) -> None:
    """Compute something on the device that the task uses, in a sandbox, without any candidate.

    Args:
        failed: what a candidate came to, perhaps for want of the device.
        share: how much of the GPU's memory a candidate may have.

    Raises:
        EvaluationError: the device cannot be used, or others have taken what the candidate needed.
    """
    with tempfile.TemporaryDirectory(prefix="evohpc-", ignore_cleanup_errors=True) as folder:
        try:
            seen = _probe(benchmark, runtime, Path(folder), share).last_row
        except Failed as failure:
            raise EvaluationError(
                f"on {socket.gethostname()} the device of the task cannot be used: {failure.detail}"
            ) from None
    if failed is not None and (reason := _crowded(failed, seen, share)):
        raise EvaluationError(f"on {socket.gethostname()} {reason}")


def _probe(on: Benchmark, runtime: Runtime, out: Path, share: float) -> Report:
    own = {} if on.task.file is None else {protocol.TASK_FILE: on.task.file}
    order = Order("probe", moved(on.task), dict(on.task_options), 0, on.config.threads, 0, share)
    sealed, allowed = envelopes.encode(order).encode(), limits(on.config, _PROBE_S)
    verdict.check_ending("probe", runtime.run(Stage(WORKER, sealed, own, out, allowed, on.config.threads)), on.config)
    return verdict.check_report("probe", out)


def _crowded(result: Result, seen: Mapping[str, float], share: float) -> str:
    """Return who took the memory that a candidate lacked; '' if nobody did.

    Args:
        seen: of the GPU, after the candidate's end: `free` and `total` bytes, or nothing.
    """
    if result.status is not Status.OUT_OF_MEMORY or seen.get("free", 1.0) >= _FREE * share * seen.get("total", 1.0):
        return ""
    taken = (seen["total"] - seen["free"]) / 2**30
    return f"other processes hold {taken:.1f} GiB of the GPU's {seen['total'] / 2**30:.1f}"
