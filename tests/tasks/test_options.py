"""What a config says of a task's options, against what the task's class says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from evohpc.tasks.options import checked

if TYPE_CHECKING:
    from evohpc.messages import Prompt


@dataclass(frozen=True, kw_only=True)
class Own:
    steps: int = 1
    rate: float = 0.1
    names: tuple[str, ...] = ()
    sizes: Sequence[int] | None = None
    mode: Literal["fast", "slow"] = "fast"
    data: Path | None = None
    is_deep: bool = False


class Plain:
    def __init__(self, width, depth: int = 2, table: np.ndarray[Any, Any] | None = None, **more: object) -> None: ...  # type: ignore[no-untyped-def]


class Hidden:
    def __init__(self, what: Prompt, steps: int = 1) -> None: ...


@pytest.mark.parametrize(
    ("cls", "options", "wanted"),
    [
        (Own, {"steps": 200.0}, {"steps": 200}),
        (Own, {"rate": 1}, {"rate": 1.0}),
        (Own, {"names": ["a", "b"], "sizes": [4, 8]}, {"names": ("a", "b"), "sizes": [4, 8]}),
        (Own, {"sizes": None, "mode": "slow"}, {"sizes": None, "mode": "slow"}),
        (Own, {"data": "/d/points.npz", "is_deep": True}, {"data": Path("/d/points.npz"), "is_deep": True}),
        (Plain, {"width": "any", "depth": 3, "extra": 1}, {"width": "any", "depth": 3, "extra": 1}),
        (Plain, {"table": [1, 2]}, {"table": [1, 2]}),
        (Hidden, {"what": "x", "steps": "many"}, {"what": "x", "steps": "many"}),
    ],
)
def test_options_come_as_the_class_wants_them(cls: type, options: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    found = checked(cls, options)
    assert found == wanted
    assert [type(value) for value in found.values()] == [type(value) for value in wanted.values()]


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Own, {"steps": 12.5}, "steps: input should be a valid integer, got a number with a fractional part"),
        (Own, {"steps": "many"}, "steps: input should be a valid integer, unable to parse string as an"),
        (Own, {"steps": True}, "steps: input should be a number; it is true"),
        (Own, {"rate": "high"}, "rate: input should be a valid number, unable to parse string as a number; it"),
        (Own, {"names": "ab"}, "names: input should be a valid tuple; it is 'ab'"),
        (Own, {"mode": "fsat"}, "mode: input should be 'fast' or 'slow'; it is 'fsat'"),
        (Own, {"stesp": 3}, "there is no stesp; did you mean steps? its options: steps, rate, names, sizes, mode"),
        (Own, {"qqq": 3}, "there is no qqq; its options: steps, rate,"),
        (Plain, {"depth": "x"}, "depth: input should be a valid integer"),
    ],
)  # fmt: skip
def test_a_wrong_name_or_value_is_named(cls: type, options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        checked(cls, options)
