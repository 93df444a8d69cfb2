"""When the end of an attack is called as it must be, and when it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.paths import TESTS
from support.rows import trained

from evohpc.doctor import attacks
from evohpc.doctor.attacks import Attack
from evohpc.messages import Result, Status

HONEST = trained("c")
CHANCE = replace(HONEST, error=0.9)
FORGED = replace(HONEST, error=0.0, fitness=-0.0)
SMALLER = replace(HONEST, num_params=1)
REFUSED = replace(HONEST, status=Status.TIMEOUT, num_params=None, error=None, fitness=None, detail="after 1 s")


def attack(expected: str, text: str = "print('attacking')") -> Attack:
    return Attack("tries", "F1", expected, "tries", text)


@pytest.mark.parametrize(
    ("expected", "result"),
    [("honest", HONEST), ("chance", CHANCE), ("known", FORGED), ("timeout", REFUSED)],
)
def test_the_right_end_is_no_complaint(expected: str, result: Result) -> None:
    assert attack(expected).complaint(result, "attacking\n", HONEST) == ""


@pytest.mark.parametrize(
    ("expected", "result", "complaint"),
    [
        ("honest", FORGED, "trained with error 0.000"),
        ("honest", SMALLER, "and 1 numbers"),
        ("honest", REFUSED, "timeout: after 1 s"),
        ("chance", FORGED, "trained with error 0.000"),
        ("chance", REFUSED, "timeout: after 1 s"),
        ("known", REFUSED, "timeout: after 1 s"),
        ("timeout", HONEST, "trained with error"),
        ("out_of_memory", REFUSED, "timeout: after 1 s"),
        ("timeout", replace(REFUSED, fitness=-1.0), "timeout: after 1 s"),
        ("timeout", replace(REFUSED, detail="\x1b[2J"), r"not those of the evaluator: '\x1b[2J'"),
        ("timeout", replace(REFUSED, detail="x" * 301), "not those of the evaluator"),
    ],
)
def test_any_other_end_is_told(expected: str, result: Result, complaint: str) -> None:
    assert complaint in attack(expected).complaint(result, "attacking\n", HONEST)


@pytest.mark.parametrize("line", ["ESCAPED: read /etc/shadow", "b'canary-in-file'"])
def test_what_it_could_not_help_printing_is_told(line: str) -> None:
    assert attack("honest").complaint(HONEST, f"attacking\n{line}\n", HONEST) == line


def test_an_attack_that_did_not_begin_proves_nothing() -> None:
    assert "did not begin" in attack("timeout").complaint(REFUSED, "", HONEST)
    assert attack("timeout", "silent").complaint(REFUSED, "", HONEST) == ""


def test_who_got_no_processor_is_not_judged_but_who_ended_its_evaluator_is() -> None:
    busy = replace(REFUSED, status=Status.LOST, host="n1", detail="the machine is too busy")
    assert attacks.too_busy(busy) == "the machine is too busy"
    ended = replace(busy, host="", detail="its worker ended: SIGKILL")
    assert [attacks.too_busy(result) for result in (ended, REFUSED, HONEST)] == ["", "", ""]


@pytest.mark.parametrize("path", sorted((TESTS / "hostile").rglob("*.py")), ids=lambda path: path.stem)
def test_the_head_of_each_says_how_it_must_end(path: Path) -> None:
    read = Attack.read(path)
    assert read.expected in {"honest", "chance", "known", *Status}
    assert read.threat
    assert read.tries


def test_those_that_are_chosen_are_there_and_must_not_get_through() -> None:
    chosen = list(attacks.chosen())
    assert [aim for aim, _ in chosen] == [aim for aim, names in attacks.CHOSEN.items() for _ in names]
    assert "known" not in {attack.expected for _, attack in chosen}
    assert len({attack.name for _, attack in chosen}) == len(chosen)


def test_it_is_aimed_at_files() -> None:
    text = attack("honest", "open('CANARY'); open('LABELS')").source(Path("/a/b"), Path("/c"))
    assert text == "open('/a/b'); open('/c')"
