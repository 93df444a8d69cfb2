from __future__ import annotations

from support.rows import candidate

from evohpc.report import origin


def test_a_rescaled_child_is_not_said_to_come_from_a_language_model() -> None:
    assert origin.completion(candidate("r000p00s000", tokens=7, temperature=0.8)) == "7 tokens at temperature 0.8"
    assert origin.completion(candidate("r000p00s000", tokens=0)) == (
        "its parent's, with numbers changed by a rule (search.rescale)"
    )


def test_only_what_was_drawn_has_a_temperature() -> None:
    assert origin.temperature(candidate("r000p00s000", tokens=1, temperature=0.8)) == 0.8
    assert origin.temperature(candidate("r000p00s000", tokens=0, temperature=0.8)) is None
