"""The `task_options` of a config against the names and types that a task's class declares."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from evohpc.errors import did_you_mean

_NUMBERS = (int, float)


def checked(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a task's class wants them: 200.0 for an `int` is 200, a list for a tuple is a tuple.

    What the class does not annotate, or annotates by a type that says nothing of plain values, is passed on as it is.

    Raises:
        ValueError: an option that it does not have, or a value of another type.
    """
    known = inspect.signature(cls).parameters
    if not any(option.kind is option.VAR_KEYWORD for option in known.values()):
        for problem in _unknown(options, list(known)):
            raise ValueError(problem)
    kinds = _kinds(cls)
    return {name: _value(name, value, kinds[name]) if name in kinds else value for name, value in options.items()}


def _unknown(options: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    for name in options:
        if name not in known:
            yield f"there is no {name}; {did_you_mean(name, known)}its options: {', '.join(known) or 'none'}"


def _kinds(cls: type) -> dict[str, Any]:
    """Return the types of the options that say one; none if they cannot be found out."""
    try:
        return typing.get_type_hints(getattr(cls, "__init__"))  # noqa: B009  # mypy
    except Exception:  # names that are only imported for type checkers, or a mistake in the user's own
        return {}


def _value(name: str, value: Any, kind: Any) -> Any:
    if isinstance(value, bool) and kind in _NUMBERS:
        raise ValueError(f"{name}: input should be a number; it is {str(value).lower()}")
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ValueError(f"{name}: {message[0].lower()}{message[1:]}; it is {value!r}") from None
    except (PydanticUserError, NameError):  # e.g. an array: no type that a config can be held against
        return value


class _Recipe(Protocol):
    @property
    def device(self) -> str: ...
    @property
    def weight_decay(self) -> float: ...


def check_common(task: _Recipe) -> None:
    """Check what the built-in tasks have in common.

    Raises:
        ValueError: a value that no training can have.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", task.device):
        raise ValueError(f"device is {task.device!r}, it must be 'cpu', 'cuda', 'cuda:1' and so on, or 'auto'")
    if task.weight_decay < 0:
        raise ValueError(f"weight_decay is {task.weight_decay}, it must be 0 or above")
