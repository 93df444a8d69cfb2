from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.rows import candidate, trained

from evohpc.messages import Result, Status, TaskInterface
from evohpc.report import tables
from evohpc.report.reader import Reading
from evohpc.store.rows import Entry
from evohpc.store.store import Store

TASK = TaskInterface("t", "Model", "class Model:", "", (), "acc")


def text(renderable: object) -> str:
    console = Console(width=200, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_every_status_is_one_outcome_and_none_is_lost() -> None:
    counts = {status: 1 for status in Status}
    found = tables.outcomes(counts)
    assert sum(found.values()) == len(Status)
    assert list(found) == list(tables.OUTCOMES)
    assert found["refused"] == 2
    assert found["machine fault"] == 4


def test_the_shares_are_honest() -> None:
    counts = {Status.TRAINED: 1, Status.DUPLICATE: 2, Status.SYNTAX: 1}
    assert tables.sentence(counts) == "4 children: 1 trained (25%), 2 duplicate (50%), 1 refused (25%)"
    assert tables.sentence({}) == "0 children"


@pytest.mark.parametrize(
    ("value", "expected"), [(-2886.34, "-2,886.3"), (-1.6127, "-1.613"), (-0.0, "0"), (-335.2, "-335.2")]
)
def test_numbers_are_as_long_as_people_need(value: float, expected: str) -> None:
    assert tables.number(value) == expected


@pytest.mark.parametrize(
    ("mean", "sd", "decimals", "expected"),
    [
        (-133.08, 2.41, 1, "-133.1 ± 2.4"),
        (-2886.34, None, 1, "-2,886.3"),
        (-0.05991, 0.00118, 1, "-0.0599 ± 0.0012"),
        (0.0912, 0.004, 4, "0.0912 ± 0.0040"),
        (0.0, 0.0, 1, "0.0 ± 0.0"),
        (1.23e-12, 4e-13, 4, "1.23e-12 ± 4e-13"),
        (None, None, 1, ""),
    ],
)
def test_a_mean_is_shown_beside_its_spread(mean: float | None, sd: float | None, decimals: int, expected: str) -> None:
    assert tables.spread(mean, sd, decimals) == expected


def test_tables_hold_what_the_store_holds(finished_run: Path) -> None:
    with Reading(finished_run) as reading:
        best = reading.best(3)
        rounds = text(tables.rounds_table(reading.store, reading.task, 1.0))
        assert [line.split()[0] for line in rounds.splitlines()[4:] if line.strip()] == ["seeds", "0", "1"]
        assert best[0].candidate.id in rounds
        table = text(tables.best_table(best, reading.task))
        positions = [table.index(entry.candidate.id) for entry in best]
        assert positions == sorted(positions)


def test_sizes_are_called_as_the_task_calls_them(tmp_path: Path) -> None:
    program = replace(TASK, metric="excess", size_name="nodes")
    entry = Entry(candidate("a", status=Status.TRAINED), trained("a", fitness=-1))
    with closing(Store(tmp_path / "search.db", epoch=1)) as store:
        store.add_candidates([entry.candidate])
        made = [
            tables.best_table([entry], program),
            tables.candidates_table([entry], program),
            tables.details(entry, [], program.size_name),
            tables.result_details(trained("a", fitness=-1), program.size_name),
            tables.rounds_table(store, program, 1.0),
        ]
    shown = list(map(text, made))
    assert all("nodes" in one for one in shown), shown
    assert not any("params" in one for one in shown), shown
    assert "params" in text(tables.best_table([entry], TASK))


@pytest.mark.parametrize("name", ["F1 [macro]", "F1 [/macro]"])
def test_brackets_in_the_name_of_a_metric_are_shown(name: str) -> None:
    task, entry = replace(TASK, metric=name, size_name=name), Entry(candidate("a"), trained("a", fitness=-1))
    shown = text(tables.best_table([entry], task))
    assert shown.split().count(name.split()[1]) == 2
    assert name in text(tables.result_details(trained("a", fitness=-1), name))


def test_a_list_without_a_fitness_leaves_its_columns_to_the_reasons() -> None:
    failed = Entry(candidate("a", status=Status.TIMEOUT, detail="too slow"), None)
    header = text(tables.candidates_table([failed], TASK)).splitlines()[1]
    assert header.split() == ["id", "outcome", "detail"]
    known = Entry(candidate("b", status=Status.TRAINED), trained("b", fitness=-1))
    for entries in ([], [failed, known]):
        header = text(tables.candidates_table(entries, TASK)).splitlines()[1]
        assert header.split() == ["id", "outcome", "fitness", "acc", "params", "detail"]


def test_what_a_list_is_sorted_by_is_a_column() -> None:
    entries = [Entry(candidate("a", status=Status.TIMEOUT, tokens=7), None)]
    shown = text(tables.candidates_table(entries, TASK, ("tokens", lambda entry: entry.candidate.tokens)))
    assert shown.splitlines()[1].split() == ["id", "outcome", "tokens", "detail"]
    assert shown.splitlines()[3].split() == ["a", "timeout", "7"]


def test_the_earlier_ones_of_many_rounds_share_a_line(tmp_path: Path) -> None:
    """Round 1 has the fittest, whose error is too large."""
    with closing(Store(tmp_path / "search.db", epoch=1)) as store:
        for round in range(-1, tables.MANY_ROUNDS + 3):
            store.add_candidates([candidate(f"r{round}{name}", round=round) for name in "ab"])
            found = [trained(f"r{round}a", fitness=-abs(round - 1.0) - 1, error=0.9 if round == 1 else 0.5)]
            store.add_results(found)
            store.conclude(found)
        good, none = (text(tables.rounds_table(store, TASK, below)) for below in (0.7, 0.1))
    lines = [line.split() for line in good.splitlines()[4:] if line.strip()]
    assert [line[0] for line in lines] == ["seeds", "0-2", *map(str, range(3, tables.MANY_ROUNDS + 3))]
    assert lines[1] == ["0-2", "3", "3", "-2", "0.5000", "100", "r0a"]
    assert lines[-1][-1] == f"r{tables.MANY_ROUNDS + 2}a"
    assert "r0a" not in none


def test_markup_in_a_candidates_words_is_shown_not_obeyed(finished_run: Path) -> None:
    with Reading(finished_run) as reading:
        entry = reading.best(1)[0]
    shouted = Entry(replace(entry.candidate, detail="[red]you lost[/red] [/]"), entry.result)
    assert "[red]you lost[/red] [/]" in text(tables.candidates_table([shouted], TASK))
    assert "[red]you lost[/red] [/]" in text(tables.details(shouted, [], "num_params"))
    failed = Result("x", 1, Status.BUILD_ERROR, "[bold]NameError[/bold]")
    assert "build_error: [bold]NameError[/bold]" in text(tables.result_details(failed, "num_params"))


def test_a_candidate_without_a_result_has_a_row_too(finished_run: Path) -> None:
    with Reading(finished_run) as reading:
        refused = next(entry for entry in reading.store.every() if entry.candidate.status is Status.DUPLICATE)
    row = tables.row(Entry(refused.candidate, None))
    assert row["fitness"] is None
    assert row["parents"] == " ".join(refused.candidate.parents)
    assert '"result": null' in tables.line(Entry(refused.candidate, None), "run-1")
