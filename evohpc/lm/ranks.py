"""The processes of one LM job: one by default, several under torchrun."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed import HashStore  # type: ignore[attr-defined]

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))

# A rank may wait for another's share of the completions; one that died is noticed by its closed connection.
_PATIENCE = timedelta(days=2)

T = TypeVar("T")


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other ranks, if there are any, and part from them in good order."""
    if WORLD_SIZE == 1:
        yield
        return
    initialize()
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def initialize() -> None:
    """Make the job's process group; a single process makes one of itself, without a port."""
    if torch.distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if WORLD_SIZE > 1:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, timeout=_PATIENCE)
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)


def initialize_deepspeed() -> None:
    """Make the process group as DeepSpeed wants to find it."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")
    # For what an optimizer of a user's choice compiles: a job that is killed at it leaves a lock in the folder, and all
    # later jobs of that user would wait for it, for ever.
    os.environ["TORCH_EXTENSIONS_DIR"] = _scratch().name
    initialize()
    import deepspeed

    # DeepSpeed would compile its shared-memory reduction with the system's C++ compiler, for a minute and where there
    # is one; the gradient of a soft prompt is some ten thousand numbers, which gloo adds up in no time.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder of this process's own, which goes with it."""
    return tempfile.TemporaryDirectory(prefix="evohpc-extensions-", ignore_cleanup_errors=True)


def wait_for_all() -> None:
    """Return when all ranks are here."""
    total(0)


def agree(answer: Callable[[], T]) -> T:
    """Return the first rank's answer on all ranks.

    What several ranks read from a shared file system may differ, as each sees it through a cache of its own.
    """
    if WORLD_SIZE == 1:
        return answer()
    answers = [answer() if RANK == 0 else None]
    torch.distributed.broadcast_object_list(answers, src=0, device=torch.device("cpu"))
    found: T = answers[0]  # type: ignore[assignment]  # the first rank's is no placeholder
    return found


def gather(mine: T) -> list[T]:
    """Return, on the first rank, what all ranks have; on the others, nothing."""
    if WORLD_SIZE == 1:
        return [mine]
    found: list[Any] | None = [None] * WORLD_SIZE if RANK == 0 else None
    torch.distributed.gather_object(mine, found)
    return found or []


def total(number: float) -> float:
    """Return the sum of the numbers of all ranks."""
    if WORLD_SIZE == 1:
        return number
    tensor = torch.tensor(number, dtype=torch.float64)
    torch.distributed.all_reduce(tensor)
    return float(tensor)


@dataclass(frozen=True, slots=True)
class Replica:
    """The model that this rank works with. Replicas divide the work among them; the ranks of one do the same work."""

    number: int
    count: int
    """Replicas that there are."""
    ranks: int
    """Ranks that hold one together."""

    @classmethod
    def of(cls, *, tensor_parallel: bool) -> Replica:
        """Return the one that all ranks hold together, or the one that this rank has to itself."""
        return cls(0, 1, WORLD_SIZE) if tensor_parallel else cls(RANK, WORLD_SIZE, 1)

    @property
    def is_led(self) -> bool:
        """Say whether this rank is the one that writes what its replica has found."""
        return self.ranks == 1 or RANK == 0

    def share(self, items: Sequence[T], in_a_row: int) -> list[T]:
        """Return this replica's part of a list that is dealt out: so many items to the first replica, as many to the
        next, and so on, again and again; what is left for a last time is divided as evenly as can be."""
        rounds = (items[start : start + in_a_row * self.count] for start in range(0, len(items), in_a_row * self.count))
        return [item for dealt in rounds for item in self._part(dealt)]

    def _part(self, items: Sequence[T]) -> Sequence[T]:
        """Return this replica's contiguous part of a list."""
        first, end = (len(items) * number // self.count for number in (self.number, self.number + 1))
        return items[first:end]

    def total(self, number: float) -> float:
        """Return the sum of the numbers of all replicas."""
        return total(number) if self.ranks == 1 else number

    def agreed(self, answer: Tensor) -> Tensor:
        """Make a tensor, in place, what it is on the first of this replica's ranks; return it."""
        if self.ranks > 1:
            torch.distributed.broadcast(answer, src=0)
        return answer
