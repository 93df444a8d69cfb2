"""LM jobs of several processes."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evohpc.messages import LMRequest
from evohpc.run_folder import RoundDir
from support.paths import ROOT
from support.requests import write


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


DYING = """
import os, signal
from evohpc.lm import completions_file, generate

append, kept = completions_file.append, []

def append_and_die(path, completions):
    append(path, completions)
    kept.extend(completions)
    if os.environ["RANK"] == "VICTIM" and len(kept) > 5:
        os.kill(os.getpid(), signal.SIGKILL)

completions_file.append = append_and_die
generate.leave(generate.main())
"""
"""The LM job, but that one rank is killed as soon as it has kept some completions."""


HANG_S = 600.0
"""No job takes so long on any machine."""


def torchrun(ranks: int) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]


@contextmanager
def launch(
    round: RoundDir, ranks: int, program: Sequence[str] = ("-m", "evohpc.lm.generate")
) -> Iterator[subprocess.Popen[str]]:
    """Start a job; it ends with the test, whatever comes."""
    job = subprocess.Popen(
        [*torchrun(ranks), *program, str(round.request)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stderr=subprocess.PIPE,
        text=True,
    )
    with job:
        try:
            yield job
        finally:
            for child in children(job.pid) if job.poll() is None else ():
                os.kill(child, signal.SIGKILL)


def answered(run: Path, asked: LMRequest, ranks: int) -> bytes:
    round = write(run, asked)
    with launch(round, ranks) as job:
        log = job.communicate(timeout=HANG_S)[1]
    assert job.returncode == 0, log
    assert not list(round.path.glob("completions.rank*"))
    return round.completions.read_bytes()


def killed(round: RoundDir, victim: int) -> None:
    """Answer with two ranks, one of which is killed on the way."""
    program = round.path / "dying.py"
    program.write_text(DYING.replace("VICTIM", str(victim)))
    with launch(round, 2, [str(program)]) as job:
        job.communicate(timeout=HANG_S)
    assert job.returncode != 0


def drawn(log: str) -> int:
    """Return how many completions the ranks set out to draw."""
    return sum(int(total) for _, total in set(re.findall(r"rank (\d+): generating: \d+ of (\d+)", log)))


def zero(stage: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CONFIGS / f"zero{stage}.json").read_text())
    return found


def losses(run: Path) -> list[float]:
    record = json.loads(RoundDir(run / "rounds/000").tuning.read_text())
    assert record["outcome"] == "tuned"
    found: list[float] = record["losses"]
    return found


CONFIGS = ROOT / "configs/deepspeed"
