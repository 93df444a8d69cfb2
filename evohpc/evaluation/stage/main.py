"""Runs one stage of a candidate inside its sandbox: `python -m evohpc.evaluation.stage.main IN OUT`.

Everything from the candidate's import on may be its doing, so nothing that this process writes is trusted.
"""

from __future__ import annotations

import errno
import math
import os
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np

from evohpc import envelopes
from evohpc.evaluation.stage import eager, programs, protocol, stages
from evohpc.evaluation.stage.protocol import Order, Report
from evohpc.evaluation.stage.stages import Progress, Refused
from evohpc.messages import Status

_NO_ROOM = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
_STAGES = {
    "train": stages.train,
    "check": stages.train,
    "predict": stages.predict,
    "save": stages.save,
    "run": programs.run,
    "probe": stages.probe,
}


def preload() -> dict[str, str]:
    """Import what stages will need; return the versions.

    No backward pass and no CUDA call: both start threads, which do not survive a fork.
    """
    import torch

    import evohpc.tasks.mnist1d  # noqa: F401

    eager.spare_dynamo()
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight]).step()
    return {"torch": torch.__version__, "numpy": np.__version__}


def main(inputs: Path, out: Path) -> int:
    """Run the stage that IN/order.json asks for and write OUT/report.json."""
    warnings.simplefilter("ignore")  # "lazy modules are a new feature" in every log is no news
    # torch.compile needs a compiler, child processes and caches, none of which there are in here: run as without it.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    order = envelopes.decode((inputs / "order.json").read_bytes(), Order)
    progress = Progress()
    stage = _STAGES[order.stage]
    try:
        stage(order, inputs, out, progress)
        report = Report(protocol.OK, "", progress.seconds, progress.last_row)
    except BaseException as error:  # a candidate may raise SystemExit or KeyboardInterrupt as well
        traceback.print_exc()
        report = Report(_status(error, progress.fault), _describe(error), progress.seconds, progress.last_row)
    (out / protocol.REPORT).write_text(envelopes.encode(_finite(report)))
    return 0


def _status(error: BaseException, fault: Status) -> Status:
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return Status.OUT_OF_MEMORY
    if isinstance(error, FloatingPointError):
        return Status.NONFINITE
    if _is_out_of_disk(error):
        return Status.DISK_LIMIT
    return Status.PROTOCOL_VIOLATION if isinstance(error, Refused) else fault


def _is_out_of_disk(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    # safetensors sets no errno.
    return type(error).__name__ == "SafetensorError" and any(f"(os error {code})" in str(error) for code in _NO_ROOM)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch says it on the CPU only in words.
    text = str(error)
    names = ("OutOfMemoryError", "PanicException")  # the latter: safetensors, when the data do not fit
    return type(error).__name__ in names or "can't allocate memory" in text or "not enough memory" in text


def _describe(error: BaseException) -> str:
    """Return class, message and the line, as one line: the candidate's, or if it is in none of its, the task's."""
    message = " ".join(str(error).split())[:250]
    frames = traceback.extract_tb(error.__traceback__)
    own, task = (
        [frame.lineno for frame in frames if Path(frame.filename).name == name]
        for name in (protocol.CANDIDATE, protocol.TASK_FILE)
    )
    where = f" (line {own[-1]})" if own else f" (line {task[-1]} of the task)" if task else ""
    return f"{message}{where}" if isinstance(error, Refused) else f"{type(error).__name__}: {message}{where}"


def _finite(report: Report) -> Report:
    row = {name: value for name, value in report.last_row.items() if math.isfinite(value)}
    return Report(report.status, report.detail, report.seconds, row)


if __name__ == "__main__":
    preload()
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
