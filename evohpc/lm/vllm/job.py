"""The LM job for sites that run vLLM: tunes in one process, and draws the completions in the next.

The first has given its memory back when vLLM takes all that it finds. The second may be another Python, named by
`EVOHPC_VLLM_PYTHON`: vLLM pins the versions of torch and transformers, and need not share them with DeepSpeed.

Under torchrun the ranks tune together. Then the first starts vLLM on as many GPUs as there were ranks (tensor
parallelism), and the others are done. Imports no torch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from evohpc import linux
from evohpc.errors import LMError
from evohpc.lm import completions_file
from evohpc.messages import LMRequest
from evohpc.run_folder import RoundDir

PYTHON = "EVOHPC_VLLM_PYTHON"
"""Environment variable: the Python that has vLLM, if it is another one."""

_LOOK = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"

# What torchrun tells its processes; vLLM would believe to be one of them.
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_TORCHRUN_PREFIXES = ("GROUP_", "ROLE_", "TORCHELASTIC_")

_SETTINGS = {
    **linux.ISOLATED,
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    # One process draws and decides who is drawn next: the same requests then meet in the same batches, and what is
    # past the end of its class is gone before the next token.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def answer(round: RoundDir, request: LMRequest) -> None:
    """Tune and draw what a round's request still lacks; end this process with the exit code of one that fails.

    Args:
        request: with the path of the model's folder here.

    Raises:
        LMError: there is no vLLM, or a process was killed.
    """
    vllm_python = python()
    options = ["--model", request.model_path, "--parent", str(os.getpid()), str(round.request)]
    if request.tuning is not None:
        _run([*linux.python(), "-m", "evohpc.lm.generate", "--only-tune", *options], dict(os.environ))
    is_first, world = os.environ.get("RANK", "0") == "0", os.environ.get("WORLD_SIZE", "1")
    if is_first and not completions_file.is_complete(round.completions, request):
        _run([vllm_python, "-m", "evohpc.lm.vllm.engine", "--gpus", world, *options], environment())


def python() -> str:
    """Return the Python that has vLLM.

    Raises:
        LMError: it has none, or there is no such file.
    """
    path = os.environ.get(PYTHON) or sys.executable
    try:
        has_vllm = subprocess.run([path, "-c", _LOOK], env=environment(), check=False).returncode == 0
    except OSError as error:
        raise LMError(f"{PYTHON} names {path}: {error.strerror}; it must be a Python that has vLLM") from None
    if not has_vllm:
        raise LMError(
            f"lm.engine is vllm, and {path} has none: pip install 'evohpc[vllm]', or let the environment variable "
            f"{PYTHON} name a Python that has it"
        )
    return path


def environment() -> dict[str, str]:
    """Return what vLLM is to see of the environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _TORCHRUN and not name.startswith(_TORCHRUN_PREFIXES)
    }
    own = str(Path(__file__).parents[3])
    paths = [own, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, **_SETTINGS, "PYTHONPATH": os.pathsep.join(paths)}


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    """Run a process to its end; one that fails has said why."""
    code = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
    if code < 0:
        reason = ", most likely for want of memory" if code == -signal.SIGKILL else ""
        raise LMError(f"{command[2]} was killed by {signal.Signals(-code).name}{reason}")
    if code:
        sys.exit(code)
