"""What the LM jobs of the tests run: `python lm_program.py RUN/rounds/NNN/request.json`.

Leaves a trace of its start in RUN/started, and then draws what is missing, one completion at a time. RUN/hold, while it
is there, holds the number of completions to stop at; RUN/error what to fail with; RUN/die has it killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from pathlib import Path

from evohpc.files import write_atomic
from evohpc.lm import completions_file
from evohpc.messages import Completion
from evohpc.run_folder import RoundDir, read_request


def main() -> None:
    """Answer the request, or not."""
    round = RoundDir.of_request(sys.argv[1])
    run, request, answer = round.run.path, read_request(round), round.completions
    trace = (os.environ["SLURM_JOB_ID"], os.environ["SLURMD_NODENAME"], str(os.getppid()))
    write_atomic(run / "started" / uuid.uuid4().hex, " ".join(trace))
    if (run / "error").exists():
        sys.exit(f"error: {(run / 'error').read_text()}")
    finished = completions_file.recover(answer, request)
    for prompt in request.prompts:
        for sample in prompt.samples:
            wait(run, len(finished))
            if (prompt.index, sample.index) not in finished:
                completion = Completion(
                    prompt=prompt.index, sample=sample.index, text=f"seed {sample.seed}", tokens=1, stop="eos"
                )
                completions_file.append(answer, [completion])
                finished[prompt.index, sample.index] = completion
    completions_file.close(answer, request)


def wait(run: Path, finished: int) -> None:
    """Wait while there is a hold at this place; or die here."""
    if (run / "die").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):  # the hold is gone
        while finished >= int((run / "hold").read_text()):
            time.sleep(0.05)


if __name__ == "__main__":
    main()
