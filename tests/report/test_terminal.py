"""What a candidate wrote cannot steer a terminal."""

from __future__ import annotations

import unicodedata
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evohpc.messages import Result, Status
from evohpc.report.tables import result_details
from evohpc.report.terminal import printable

ATTACK = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066\r\x9b31m[bold]\ud800"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext é 漢字 🙂", "plain\n\ttext é 漢字 🙂"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\rb\x07", "a\\rb\\x07"),
        ("\u202ex", "\\u202ex"),
        ("\x9b31m", "\\x9b31m"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_obeys_is_spelt_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_that_steers_is_left(text: str) -> None:
    left = {unicodedata.category(character) for character in printable(text).replace("\n", "").replace("\t", "")}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in printable(text)} & {
        "RLO",
        "LRO",
        "RLE",
        "LRE",
        "RLI",
        "LRI",
        "FSI",
    }


def test_an_exception_of_a_candidate_is_printed_safely() -> None:
    result = Result("c", 1, Status.TRAIN_ERROR, detail=ATTACK, seconds={"train": 1.0}, host=ATTACK)
    written = StringIO()
    console = Console(width=200, file=written)
    console.print(result_details(result, "num_params"))
    text = written.getvalue()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b]0;owned" in text
    assert "[bold]" in text
