"""Lets torch's optimizers step without `torch._dynamo`, which takes as long to import as torch itself.

They import it to tell a compiler where its graph ends, and to keep it out of some methods. Stages compile nothing (see
`main`), so neither says anything there, and numbers are the same to the last bit. Whatever else asks for torch._dynamo
imports it then: torch.compile, activation checkpoints, torch.func.grad.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def spare_dynamo() -> None:
    """Change torch's optimizers, once; those of a torch that is made in another way stay as they are."""
    for member in vars(Optimizer).values():
        if _asks_dynamo(member, "__dynamo_disable"):
            # Where torch keeps what dynamo makes of the method; without a compiler that does what the method does.
            member.__wrapped__.__dynamo_disable = member.__wrapped__
    for optimizer in vars(torch.optim).values():
        step: Any = vars(optimizer).get("step") if isinstance(optimizer, type) else None
        if _asks_dynamo(step, "graph_break"):
            optimizer.step = _stepping(step.__wrapped__)


def _asks_dynamo(member: Any, name: str) -> bool:
    """Say whether a method is torch's wrapper of another one, that imports torch._dynamo for the sake of this name."""
    code = getattr(member, "__code__", None)
    return hasattr(member, "__wrapped__") and code is not None and name in (*code.co_names, *code.co_consts)


def _stepping(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return what `torch.optim.optimizer._use_grad_for_differentiable` makes of a step, without ends of graphs."""

    @functools.wraps(step)
    def with_grad_if_asked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return with_grad_if_asked
