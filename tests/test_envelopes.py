import json
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rows import trained

from evohpc.envelopes import decode, digest_of, encode, seal, unseal
from evohpc.errors import EnvelopeError
from evohpc.messages import Attempt, EvaluationJob, Isolation, Result, Status

RUN = "run-1"
RESULT = trained(
    "c1",
    num_params=4800,
    error=0.135,
    fitness=-648.0,
    metrics={"val_accuracy": 0.865},
    isolation=Isolation.CONFINED,
)
ENVELOPE = seal(RUN, 3, RESULT)

numbers = st.floats(allow_nan=False, allow_infinity=False)
results = st.builds(
    Result,
    candidate_id=st.text(st.characters(exclude_categories=["Cs"])),
    attempt=st.integers(-(2**62), 2**62),
    status=st.sampled_from(Status),
    detail=st.text(st.characters(exclude_categories=["Cs"])),
    num_params=st.none() | st.integers(0, 2**62),
    error=st.none() | numbers,
    metrics=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), numbers),
)


@given(results, st.integers(0, 2**62))
def test_what_is_sealed_comes_back_equal(result: Result, epoch: int) -> None:
    assert unseal(seal(RUN, epoch, result), RUN, Result) == result


def test_nested_records_come_back_as_records() -> None:
    job = EvaluationJob("n", 2, ((Attempt("a", 1), Attempt("b", 1)), (Attempt("c", 2),)))
    assert unseal(seal(RUN, 1, job), RUN, EvaluationJob) == job


def test_every_torn_envelope_is_refused() -> None:
    for length in range(len(ENVELOPE) - 1):
        with pytest.raises(EnvelopeError, match="torn"):
            unseal(ENVELOPE[:length], RUN, Result)


@given(st.integers(0, len(ENVELOPE) - 2), st.integers(0, 7))
def test_every_flipped_bit_is_refused(place: int, bit: int) -> None:
    altered = bytearray(ENVELOPE)
    altered[place] ^= 1 << bit
    with pytest.raises(EnvelopeError):
        unseal(bytes(altered), RUN, Result)


@given(st.binary())
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        unseal(data, RUN, Result)


def resealed(**changes: Any) -> bytes:
    """Return an envelope whose digest is right, as someone with evohpc at hand would make it."""
    body = json.loads(ENVELOPE)
    del body["sha256"]
    body |= changes
    return json.dumps({**body, "sha256": digest_of(body)}).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run_id": "run-2"}, "belongs to run 'run-2', not 'run-1'"),
        ({"schema": 2}, "schema 2, this evohpc reads 1"),
        (
            {"payload": {"candidate_id": "c", "attempt": "1", "status": "trained"}},
            "attempt: Input should be a valid int",
        ),
        ({"payload": {"candidate_id": "c", "attempt": 1, "status": "splendid"}}, "status: "),
        ({"payload": None}, "not a valid Result"),
    ],
)
def test_the_reason_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(EnvelopeError, match=reason):
        unseal(resealed(**changes), RUN, Result)


@pytest.mark.parametrize(
    "payload",
    [
        '{"fitness":1e999}',
        '{"fitness":NaN}',
        '{"fitness":-Infinity}',
        '{"detail":"\\ud800"}',
        "[" * 900 + "]" * 900,
        "[" * 100_000,
        "1" * 5000,
    ],
)
def test_json_that_we_never_write_is_refused(payload: str) -> None:
    with pytest.raises(EnvelopeError):
        unseal(f'{{"schema":1,"run_id":"run-1","epoch":1,"payload":{payload},"sha256":""}}'.encode(), RUN, Result)
    with pytest.raises(EnvelopeError):
        decode(payload, Result)


def test_a_whole_number_is_no_way_to_write_infinity() -> None:
    """Pydantic makes it infinite where a number may have a fraction."""
    text = encode(RESULT)
    whole = int(sys.float_info.max)
    assert decode(text.replace("-648.0", str(whole)), Result).fitness == sys.float_info.max
    for digits in (f"{whole}0", f"-{whole}0"):
        with pytest.raises(EnvelopeError, match="is too large"):
            decode(text.replace("-648.0", digits), Result)


def test_a_record_without_a_finite_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        seal(RUN, 1, Result("c", 1, Status.TRAINED, fitness=float("nan")))


NUMPY: dict[str, Any] = {"num_params": np.int64(4800), "error": np.float32(0.25)}


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    measured: Result = replace(RESULT, **NUMPY)
    back = unseal(seal(RUN, 1, measured), RUN, Result)
    assert (back.num_params, back.error) == (4800, 0.25)
    with pytest.raises(TypeError, match="is no number"):
        encode([object()])


def test_the_encoding_does_not_depend_on_the_order_of_keys() -> None:
    assert encode({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


def test_types_are_not_bent() -> None:
    @dataclass(frozen=True)
    class Record:
        count: int
        names: tuple[str, ...] = field(default=())

    assert decode('{"count": 2, "names": ["a"]}', Record) == Record(2, ("a",))
    for wrong in ('{"count": "2"}', '{"count": 2.0}', '{"count": true}', '{"names": []}', '{"count": 1, "names": [1]}'):
        with pytest.raises(EnvelopeError, match="not a valid Record"):
            decode(wrong, Record)
