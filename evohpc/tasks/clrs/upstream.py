"""Loads the samplers of `dm-clrs` without JAX and TensorFlow, which they name but do not need."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from evohpc.errors import TaskError
from evohpc.tasks.clrs import installation

_MAX_HULL_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Upstream:
    """What evohpc uses of dm-clrs."""

    specs: Any
    """`clrs._src.specs`"""
    algorithms: Any
    """`clrs._src.algorithms`"""
    samplers: dict[str, Any]
    """Algorithm name to the class that draws its instances."""


@cache
def load() -> Upstream:
    """Return the numpy part of dm-clrs.

    Raises:
        TaskError: it is not installed, or not in the version that the data are known for.
    """
    path = [str(installation.folder())]
    with _stand_ins(path):
        try:
            samplers = importlib.import_module("clrs._src.samplers")
            specs = importlib.import_module("clrs._src.specs")
            algorithms = importlib.import_module("clrs._src.algorithms")
        except ImportError as error:
            raise TaskError(f"the CLRS task cannot load dm-clrs ({error}); {installation.INSTALL}") from None
    hull = _hull_sampler(samplers.ConvexHullSampler)
    return Upstream(specs, algorithms, {**samplers.SAMPLERS, "graham_scan": hull, "jarvis_march": hull})


@contextmanager
def _stand_ins(path: list[str]) -> Iterator[None]:
    """Put empty modules in the place of the heavy ones, and leave no trace of it in `sys.modules`."""
    package = types.ModuleType("clrs")
    package.__path__ = path
    fakes = {"clrs": package, "chex": _chex(), "tensorflow": _module("tensorflow", Tensor=type("Tensor", (), {}))}
    fakes |= _jax() | _absl()
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in fakes}
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(fakes)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in fakes]:
            del sys.modules[name]
        sys.modules.update(hidden)


def _module(name: str, **members: object) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(members)
    return module


def _chex() -> types.ModuleType:
    return _module("chex", Array=np.ndarray, assert_rank=lambda array, rank: None)


def _absl() -> dict[str, types.ModuleType]:
    def silent(*_: object) -> None:
        """Sampling on line is what is wanted, and no news."""

    logging = _module("absl.logging", info=silent, warning=silent, log_first_n=silent, WARNING=30)
    return {"absl": _module("absl", logging=logging, __path__=[]), "absl.logging": logging}


def _jax() -> dict[str, types.ModuleType]:
    """Return what the samplers touch of JAX at import, and a `tree_map` over lists of data points."""

    def unchanged(cls: type) -> type:
        return cls

    def undefined(*_: object, **__: object) -> Callable[[object], None]:
        return lambda function: None

    def tree_map(function: Callable[..., object], first: list[Any], *rest: list[Any]) -> list[Any]:
        columns = zip(first, *rest, strict=True)
        return [
            type(points[0])(points[0].name, points[0].location, points[0].type_, function(*(p.data for p in points)))
            for points in columns
        ]

    tree = _module("jax.tree_util", tree_map=tree_map, register_pytree_node_class=unchanged)
    arrays = _module("jax.numpy", vectorize=undefined, ndarray=np.ndarray)
    jax = _module("jax", Array=np.ndarray, tree_util=tree, numpy=arrays, __path__=[])
    return {"jax": jax, "jax.tree_util": tree, "jax.numpy": arrays}


def _hull_sampler(base: Any) -> Any:
    """Return dm-clrs's sampler of points on a disk with its test for collinear points vectorised.

    The same draws give the same points. Upstream tests 41,664 triples at 64 points one by one, which takes a second.
    """

    class HullSampler(base):  # type: ignore[misc]
        CAN_TRUNCATE_INPUT_DATA = True

        def _sample_data(self, length: int) -> list[np.ndarray[Any, Any]]:
            for _ in range(_MAX_HULL_DRAWS):
                angle = self._random_sequence(length=length, low=0.0, high=2.0 * np.pi)
                radius = 2.0 * np.sqrt(self._random_sequence(length=length, low=0.0, high=1.0))
                x, y = radius * np.cos(angle), radius * np.sin(angle)
                if not _has_collinear(x, y):
                    return [x, y]
            raise RuntimeError(f"no {length} points in general position in {_MAX_HULL_DRAWS} draws")

    return HullSampler


def _has_collinear(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> bool:
    dx, dy = x[None] - x[:, None], y[None] - y[:, None]
    cross = dx[:, :, None] * dy[:, None] - dy[:, :, None] * dx[:, None]
    i, j, k = np.ogrid[: len(x), : len(x), : len(x)]
    return bool(((np.abs(cross) < 1e-12) & (i < j) & (j < k)).any())
