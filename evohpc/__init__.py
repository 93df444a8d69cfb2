"""EvoPrompting on Slurm: a language model as the operator of an evolutionary search over neural-network code.

The public names, at most eleven. They are loaded when first used, so that `import evohpc` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evohpc.config.search import Config, load_config
    from evohpc.errors import EvohpcError
    from evohpc.messages import Candidate, Result, Status, TaskInterface
    from evohpc.report.frames import load
    from evohpc.search.search import Search
    from evohpc.tasks.base import Score, Splits

__all__ = [
    "Candidate",
    "Config",
    "EvohpcError",
    "Result",
    "Score",
    "Search",
    "Splits",
    "Status",
    "TaskInterface",
    "load",
    "load_config",
]

_HOMES = {
    "config.search": ("Config", "load_config"),
    "errors": ("EvohpcError",),
    "messages": ("Candidate", "Result", "Status", "TaskInterface"),
    "report.frames": ("load",),
    "search.search": ("Search",),
    "tasks.base": ("Score", "Splits"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("evohpc")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"evohpc.{module}"), name)
    raise AttributeError(f"module 'evohpc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
