"""The GPU of a stage: whether it can be computed on, and how much of its memory the process may have."""

from __future__ import annotations

import torch

from evohpc.evaluation.stage import protocol

_SIZE = 64
"""Rows and columns of what a device is tried with; all sums of ones are exact."""
_CONTEXT = 512 << 20
"""Bytes that a process has on a GPU beside torch's tensors: CUDA's context, and the kernels that it loads."""


def compute(wanted: str) -> dict[str, float]:
    """Compute something on the device that a task's option names; return `free` and `total` bytes of a GPU's memory.

    Raises:
        RuntimeError, AssertionError, ArithmeticError: it cannot be computed on.
    """
    device = _device(wanted)
    ones = torch.ones(_SIZE, _SIZE, device=device)
    found = torch.relu(ones @ ones).sum().item()
    if found != _SIZE**3:
        raise ArithmeticError(f"{device} computes {found:g} where {_SIZE**3} is right")
    if device.type != "cuda":
        return {}
    return dict(zip(("free", "total"), map(float, torch.cuda.mem_get_info(device)), strict=True))


def limit(share: float, wanted: str) -> None:
    """Have torch raise OutOfMemoryError in this process beyond a share of the GPU's memory, where it uses a GPU.

    The limit is torch's own: it holds mistakes, and no program that is out to lift it.

    Raises:
        RuntimeError, AssertionError: the device cannot be used, or the share is too small for any process.
    """
    if share >= 1:
        return
    device = _device(wanted)
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device.index)
        torch.cuda.set_per_process_memory_fraction(of_tensors(share, total), device.index)


def of_tensors(share: float, total: int) -> float:
    """Return what part of a GPU's `total` bytes is left for tensors of a process that has a share of them.

    Raises:
        RuntimeError: nothing is.
    """
    if share * total <= _CONTEXT:
        raise RuntimeError(
            f"{share * total / 2**30:.2f} of the GPU's {total / 2**30:.1f} GiB for each candidate is less than CUDA "
            "itself takes in a process; lower evaluation.candidates_at_once"
        )
    return share - _CONTEXT / total


def _device(wanted: str) -> torch.device:
    """Return the device; 'auto' takes a GPU if there is one, as there must be where this process was given one."""
    if wanted != "auto":
        return torch.device(wanted)
    is_built_for_one = torch.version.cuda is not None or torch.version.hip is not None
    if is_built_for_one and protocol.has_gpus():
        torch.zeros(1, device="cuda")  # raises what is wrong, of which is_available() only says that something is
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
