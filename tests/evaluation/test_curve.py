from __future__ import annotations

import math
from dataclasses import asdict

import pytest
from support.evaluating import HONEST, run_source
from support.rows import trained

from evohpc import envelopes
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.curve import MOST, Measured, kept, least, thinned
from evohpc.messages import Result

FALLING = tuple((float(step), 1 / (1 + step)) for step in range(1000))


def test_of_a_long_curve_the_ends_and_the_least_are_kept() -> None:
    curve = (*FALLING[:437], (437.0, 0.0), *FALLING[438:])
    for most in (3, 4, 10, 100, 999):
        few = thinned(curve, most)
        assert len(few) <= most
        assert (few[0], few[-1], least(few)) == (curve[0], curve[-1], (437.0, 0.0))
        assert list(few) == sorted(few)
    assert len(thinned(curve, 100)) >= 98
    assert thinned(curve, 1000) == curve


def test_what_is_kept_is_short_and_can_be_sealed() -> None:
    told = {float(step): 0.123456789 + step for step in range(5000)}
    curve = kept({**told, 7.0: math.nan, 8.0: math.inf, 9.0: -1.0})
    assert len(curve) <= MOST
    assert curve[0] == (0.0, 0.123457)
    assert not {step for step, _ in curve} & {7.0, 8.0, 9.0}
    assert envelopes.seal("r", 1, Measured(**asdict(trained("c")), curve=curve))


@pytest.mark.parametrize("told", [{}, {0: 0.5}, {0: math.nan, 1: 0.5}])
def test_one_point_is_no_curve(told: dict[float, float]) -> None:
    assert kept(told) == ()


def test_a_result_of_an_earlier_evohpc_has_no_curve_and_one_of_this_can_be_read_by_it() -> None:
    plain, told = trained("c"), Measured(**asdict(trained("c")), curve=((0.0, 0.9), (1.0, 0.5)))
    assert envelopes.unseal(envelopes.seal("r", 1, plain), "r", Measured).curve == ()
    assert envelopes.unseal(envelopes.seal("r", 1, told), "r", Measured) == told
    assert envelopes.unseal(envelopes.seal("r", 1, told), "r", Result) == plain


def test_an_evaluation_tells_the_error_of_each_checkpoint(evaluator: Evaluator) -> None:
    result, _ = run_source(evaluator, HONEST)
    assert isinstance(result, Measured)
    steps, errors = zip(*result.curve, strict=True)
    assert steps[0] == 0
    assert result.metrics["best_step"] == least(result.curve)[0]
    assert min(errors) == result.error
    failed, _ = run_source(evaluator, "raise ValueError\n")
    assert isinstance(failed, Measured)
    assert failed.curve == ()
