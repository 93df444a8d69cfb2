from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.rows import candidate, trained

from evohpc.config.search import SearchConfig
from evohpc.evolution.stopping import EarlyEnd
from evohpc.messages import SEED_ROUND, Result, Status
from evohpc.report.kinship import Family
from evohpc.report.selection import Selections
from evohpc.report.why import Case, facts, sentences
from evohpc.store.rows import Entry, Kin

SEARCH = SearchConfig(survivors=2)
PROMPT = '''"""Metrics:
{'num_params': '1'}
"""
class M:

"""Metrics:
{'num_params': '90', 'acc': '0.951'}
"""
class M:
'''


def child(name: str, fitness: float, error: float = 0.1, **changes: Any) -> Entry:
    row = candidate(name, status=Status.TRAINED, **changes)
    return Entry(row, trained(name, error=error, fitness=fitness, num_params=int(-fitness / error)))


SEED = child("seed-a", -90, round=SEED_ROUND, parents=())
FIRST, SECOND, THIRD = child("r0a", -50), child("r0b", -60), child("r0c", -70)
TOO_BAD = child("r0d", -3, error=0.6)
FAILED = Entry(candidate("r0e", status=Status.SHAPE_ERROR, detail="RuntimeError: no"), None)
LATER = child("r1a", -40, round=1, parents=("r0a", "r0a"))
DROPPED = Entry(
    candidate("r0f", status=Status.DROPPED, detail="not among the 3 that passed rung 0"),
    replace(trained("r0f", 2), status=Status.DROPPED, fitness=None, error=None, num_params=None, metrics={}),
)
WAITING = Entry(candidate("r2a", round=2, parents=("r1a",)), None)
EVERY = (SEED, FIRST, SECOND, THIRD, TOO_BAD, FAILED, DROPPED, LATER, WAITING)
SURVIVORS = {SEED_ROUND: ["seed-a"], 0: ["r0a", "r0b"], 1: ["r1a", "r0c"]}


def case(entry: Entry, search: SearchConfig = SEARCH, every: tuple[Entry, ...] = EVERY, **changes: Any) -> Case:
    rows = [Kin(e.id, e.candidate.round, e.candidate.parents, e.candidate.status, e.error, e.fitness) for e in every]
    attempts = [entry.result] if entry.result else []
    made = Case(entry, attempts, None, Selections(Family(rows), SURVIVORS, search), "acc", None)
    return replace(made, **changes)


def said(case: Case) -> dict[str, str]:
    return dict(sentences(case))


def test_a_parent_that_was_shown_twice_is_named_once() -> None:
    assert said(case(LATER))["origin"].endswith("Its prompt showed r0a (fitness -50) 2 times.")
    assert said(case(SEED))["origin"] == "It is a seed: a program that the search was given."


def test_a_child_of_a_failed_one_is_a_repair() -> None:
    repaired = child("r1c", -30, round=1, parents=("r0e",))
    told = case(repaired, every=(*EVERY, repaired))
    assert said(told)["origin"].endswith("Its prompt showed r0e, which failed (shape_error), and what it raised.")


def test_what_was_asked_is_beside_what_came() -> None:
    asked = case(FIRST, prompt=PROMPT)
    assert said(asked)["asked for"] == "Its prompt asked for 90 parameters (it has 500) and acc 0.951 (it has 0.5)."
    assert facts(asked)["asked"] == {"num_params": 90.0, "acc": 0.951}
    assert "asked for" not in said(case(FIRST))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (FIRST, "Selected after round 0, as number 1 of 2: a parent of round 1."),
        (THIRD, "Selected after round 1, as number 2 of 2: a parent of round 2."),
        (TOO_BAD, "Not selected: its error, 0.6, is not below search.error_threshold, 0.5."),
        (FAILED, "Not selected: only what was trained can be."),
        (DROPPED, "Not selected: only what passes the last rung can be."),
        (WAITING, "Not selected: it has no outcome yet."),
        (SEED, "Selected after the evaluation of the seeds, as number 1 of 1: a parent of round 0."),
    ],
)
def test_the_reason_for_the_selection(entry: Entry, expected: str) -> None:
    assert said(case(entry))["selection"].startswith(expected)


def test_who_was_not_fit_enough_is_told_by_whom_it_was_beaten() -> None:
    loser = child("r1b", -80, round=1)
    told = case(loser, every=(*EVERY, loser))
    assert said(told)["selection"] == (
        "Not selected after round 1: it was number 3 of the 3 in the pool, and 2 were selected; the last of them is "
        "r0c, fitness -70."
    )
    assert (facts(told)["pool_rank"], facts(told)["pool_size"]) == (3, 3)


def test_a_round_that_is_open_has_no_survivors_yet() -> None:
    early = child("r2b", -30, round=2)
    assert said(case(early, every=(*EVERY, early)))["selection"] == "Not selected yet: round 2 is still open."


def test_what_is_fitter_than_the_best_but_above_alpha_says_so() -> None:
    assert said(case(TOO_BAD))["best"] == (
        "It is fitter than the best but does not count among the best, for its error is too high. The best is r1a, "
        "fitness -40."
    )
    assert said(case(LATER))["best"] == "It is the best of the 5 that count."
    assert said(case(SECOND))["best"].startswith("It is number 3 of the 5 that count.")


def test_a_duplicate_tells_of_the_one_it_repeats() -> None:
    twin = Entry(candidate("r1t", round=1, status=Status.DUPLICATE, detail="same program as r0a"), None)
    told = case(twin, every=(*EVERY, twin))
    original = told.family["r0a"]
    assert said(replace(told, original=original))["outcome"] == (
        "It was not evaluated: it is a duplicate (same program as r0a). What became of that one: trained, fitness -50."
    )


def test_machine_faults_before_the_outcome_are_told() -> None:
    lost = Result("r0a", 1, Status.NODE_FAIL, "n13")
    second = Entry(FIRST.candidate, replace(FIRST.result, attempt=2))  # type: ignore[type-var]
    told = said(case(second, attempts=[lost, second.result]))["outcome"]
    assert told.startswith("Attempt 1 was a machine fault, node_fail: n13. It was trained: 500 parameters")
    given_up = Entry(candidate("r0a", status=Status.NODE_FAIL, detail="n13"), lost)
    assert "No attempt is left" in said(case(given_up, attempts=[lost]))["outcome"]


def test_who_was_not_drawn_either_is_told_so() -> None:
    loser = child("r1b", -80, round=1)
    told = case(loser, every=(*EVERY, loser), search=SearchConfig(survivors=2, random_survivors=1))
    assert said(told)["selection"] == (
        "Not selected after round 1: it was number 3 of the 3 in the pool, where the fittest (1) were selected, and 1 "
        "by lot (search.random_survivors)."
    )


def test_means_of_several_trainings_say_so() -> None:
    metrics = {"trainings": 3.0, "fitness_sd": 2.5}
    told = said(case(Entry(FIRST.candidate, replace(FIRST.result, metrics=metrics))))["outcome"]  # type: ignore[type-var]
    assert told.endswith("fitness -50 ± 2.5, means and standard deviation of 3 trainings with a seed each.")


def test_a_dropped_one_is_no_failure() -> None:
    assert said(case(DROPPED))["outcome"] == (
        "It was trained at a lower rung only (evaluation.rungs), and dropped: not among the 3 that passed rung 0."
    )


def test_who_is_selected_after_the_last_round_is_no_parent() -> None:
    told = said(case(THIRD, SearchConfig(survivors=2, rounds=2)))["selection"]
    assert told.startswith("Selected after round 1, as number 2 of 2: the search ends there.")
    told = said(case(SEED, SearchConfig(survivors=2, rounds=5, variant="naive")))["selection"]
    assert told.startswith("Selected after the evaluation of the seeds, as number 1 of 1: a parent of round 0.")


def test_children_are_counted_by_outcome() -> None:
    assert said(case(FIRST))["children"] == (
        "Drawn from prompts that showed it: 1 (1 trained). The fittest is r1a, fitness -40. Further descendants: 1."
    )
    assert said(case(SECOND))["children"] == "None was drawn from a prompt that showed it."


def test_what_a_budget_left_unevaluated_says_so() -> None:
    told = said(case(WAITING, early_end=EarlyEnd("evaluations", 5, 5, 2)))["outcome"]
    assert told == (
        "It was not evaluated, for the search has stopped: 5 of 5 evaluations, in round 2 (search.stop.evaluations)."
    )
    assert said(case(WAITING))["outcome"] == "It waits for its evaluation, or is being evaluated."


@pytest.mark.parametrize(
    ("status", "beginning"),
    [
        (Status.TIMEOUT, "It failed, by its own fault (timeout): why."),
        (Status.DROPPED, "It was trained at a lower rung only"),
        (Status.TASK_ERROR, "The task's own code failed on it (task_error): why."),
        (Status.SCREENED, "It was refused before any of it was executed (screened): why."),
    ],
)
def test_whose_fault_it_was_is_told(status: Status, beginning: str) -> None:
    entry = Entry(candidate("r0x", status=status, detail="why"), None)
    assert said(case(entry, every=(*EVERY, entry)))["outcome"].startswith(beginning)


def test_who_is_late_takes_part_in_the_selection_that_knew_its_outcome() -> None:
    family = Family(case(SECOND).family)
    late = case(THIRD, selections=Selections(family, SURVIVORS, SEARCH, {0: ["r0c"]}))
    assert said(late)["selection"] == (
        "It was late: its outcome was not known when round 0 closed (search.close_at). "
        "Selected after round 1, as number 2 of 2: a parent of round 2. "
        "With that it left the pool: a parent is selected once (search.retire_parents)."
    )
    assert (facts(late)["pool_rank"], facts(late)["pool_size"]) == (2, 2)
    still = case(SECOND, selections=Selections(family, {**SURVIVORS, 0: ["r0a"]}, SEARCH, {0: ["r0b"], 1: ["r0b"]}))
    assert said(still)["selection"].endswith("Not selected yet: round 2 is still open.")
