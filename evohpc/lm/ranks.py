"""The processes of one LM job: one by default, several under torchrun."""

from __future__ import annotations

import os

import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))


def initialize() -> None:
    """Join the job's process group; a single process makes one of itself, without a port."""
    if torch.distributed.is_initialized():
        return
    if WORLD_SIZE > 1:
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)


def wait_for_all() -> None:
    """Return when all ranks are here."""
    if WORLD_SIZE > 1:
        torch.distributed.barrier()
