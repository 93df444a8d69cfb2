"""Files that cross a job boundary: JSON with a schema version, the id of the run and a digest.

A torn, foreign or altered file raises `EnvelopeError`; nothing of it is used.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, is_dataclass
from functools import cache
from typing import Any, NoReturn, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from evohpc.errors import EnvelopeError

SCHEMA = 1
_SURELY_FINITE = 308
"""Characters of a whole number that a float can hold."""

T = TypeVar("T")


def encode(value: Any) -> str:
    """Return a frozen dataclass (or plain value) as canonical JSON: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: a number in it is NaN or infinite.
        TypeError: a value in it is neither plain nor a number of numpy or torch.
    """
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_number
    )


def decode(text: str | bytes, kind: type[T]) -> T:
    """Return the dataclass `kind` that JSON text holds; types are checked strictly.

    Raises:
        EnvelopeError: not JSON, a number in it is NaN or infinite, or not of that kind.
    """
    try:
        _parse(text)
        value: T = _adapter(cast(Any, kind)).validate_json(text, strict=True)
    except (ValueError, RecursionError) as error:
        raise EnvelopeError(f"not a valid {kind.__name__}: {_first_line(error)}") from None
    return value


def seal(run_id: str, epoch: int, payload: Any) -> bytes:
    """Wrap a payload with schema, run, epoch (of the driver that asked for it) and the sha256 of all of it."""
    body = {"schema": SCHEMA, "run_id": run_id, "epoch": epoch, "payload": asdict(payload)}
    return (encode({**body, "sha256": digest_of(body)}) + "\n").encode()


def unseal(data: bytes, run_id: str, kind: type[T]) -> T:
    """Return the payload of an envelope that is whole and belongs to this run.

    Raises:
        EnvelopeError: torn, altered, of another run, of a newer schema, or not of that kind.
    """
    body = _load(data)
    digest = body.pop("sha256", None)
    if body.get("schema") != SCHEMA:
        raise EnvelopeError(f"schema {body.get('schema')!r}, this evohpc reads {SCHEMA}")
    if digest != digest_of(body):
        raise EnvelopeError("its sha256 does not match: torn or altered")
    if body.get("run_id") != run_id:
        raise EnvelopeError(f"it belongs to run {body.get('run_id')!r}, not {run_id!r}")
    return decode(encode(body.get("payload")), kind)


def _number(value: Any) -> Any:
    """Return a number of numpy or torch as a number of Python: users measure with them."""
    if not hasattr(value, "item"):
        raise TypeError(f"{value!r} is no number")
    return value.item()


def _load(data: bytes) -> dict[str, Any]:
    try:
        body = _parse(data)
        encode(body).encode()
    except (ValueError, RecursionError):  # encode() refuses JSON that evohpc never writes, e.g. lone surrogates
        raise EnvelopeError("not JSON: torn or altered") from None
    if not isinstance(body, dict):
        raise EnvelopeError("not a JSON object")
    return body


def digest_of(body: dict[str, Any]) -> str:
    """Return the sha256 that the envelope of a body has."""
    return hashlib.sha256(encode(body).encode()).hexdigest()


def _parse(text: str | bytes) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits if len(digits) < _SURELY_FINITE else f'{digits[:20]}...'} is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > _SURELY_FINITE:  # where a number may have a fraction, pydantic would make it infinite
        _finite(digits)
    return int(digits)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    return str(error).partition("\n")[0]
