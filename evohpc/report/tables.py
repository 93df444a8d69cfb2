"""Tables for people and rows for machines, from a read-only snapshot of a search."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.markup import escape as escape_markup
from rich.table import Table

from evohpc.evolution.entry import size_column
from evohpc.messages import SEED_ROUND, Candidate, Result, Status, TaskInterface
from evohpc.report.documents import head
from evohpc.report.origin import completion
from evohpc.report.terminal import of_all, plain_table, printable
from evohpc.store.rows import Entry, Score
from evohpc.store.store import Store

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_LONGEST = 8
"""Decimals of a number; a smaller one has an exponent."""
MANY_ROUNDS = 40
"""Lines that the table of rounds has for rounds of children, and one for all earlier ones together."""
Measure: TypeAlias = tuple[str, Callable[[Entry], float | None]]
"""Name of a column, and what a candidate has in it."""

OUTCOMES = ("trained", "dropped", "failed", "duplicate", "refused", "machine fault", "pending")
"""What `outcomes` sorts candidates into."""
LATE = "late"  # pending, in a round that has closed without it (search.close_at)


def outcomes(counts: Mapping[Status, int]) -> dict[str, int]:
    """Return the number of candidates by outcome: the classes of `OUTCOMES`, in that order."""
    found = dict.fromkeys(OUTCOMES, 0)
    for status, count in counts.items():
        found[outcome(status)] += count
    return found


def sentence(counts: Mapping[Status, int]) -> str:
    """Return how many children had which outcome, e.g. '32 children: 12 trained (38 %), 20 duplicate (62 %)'."""
    total = sum(counts.values())
    shares = [f"{n} {name} ({n / total:.0%})" for name, n in outcomes(counts).items() if n] if total else []
    return f"{total} children" + (f": {', '.join(shares)}" if shares else "")


def not_counted(fitter: Sequence[Score], error_below: float, *, is_any_counted: bool) -> str:
    """Return what there is to say of those that are fitter than the best but have too high an error; '' if none."""
    if not fitter:
        return ""
    fittest = f"{printable(fitter[0].id)} with {number(fitter[0].fitness)}"
    if len(fitter) == 1:
        who = f"1 candidate, {fittest}, {'is fitter than the best' if is_any_counted else 'was trained'}"
    else:
        what = "are fitter than the best" if is_any_counted else "were trained"
        who = f"{len(fitter)} candidates, the fittest {fittest}, {what}"
    return f"{who} but not counted: an error is not below {error_below:g} (search.error_threshold)"


def number(value: float) -> str:
    """Return a fitness for people: '-2,886.3', '-1.613'."""
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value + 0.0:.4g}"


def spread(mean: float | None, sd: float | None, decimals: int) -> str:
    """Return a mean and its standard deviation for people, '-133.1 ± 2.4', '-0.0599 ± 0.0012'; '' for None.

    Args:
        decimals: at least so many; more where the mean is small.
    """
    if mean is None:
        return ""
    if mean:
        decimals = max(decimals, 2 - math.floor(math.log10(abs(mean))))
    form = f",.{decimals}f" if decimals <= _LONGEST else ".3g"
    return format(mean, form) + ("" if sd is None else f" ± {sd:{form}}")


def rounds_table(store: Store, task: TaskInterface, error_below: float, *, brief: bool = False) -> Table:
    """Return one line per round: what became of its children, and the best of them. Of more than `MANY_ROUNDS`, the
    earlier ones share a line.

    Args:
        brief: for a terminal of 80 columns: show only the fitness of the best.
    """
    lines = list(_round_lines(store.counts_by_round(), store.rounds_with_late()))
    named = [name for name in (*OUTCOMES, LATE) if any(counts[name] for _, counts in lines)]
    measures = ("best fitness>", f"its {task.metric}>", f"its {size_column(task.size_name)}>")[: 1 if brief else 3]
    table = plain_table("round", *(f"{name}>" for name in named), *measures, "id")
    for rounds, counts in lines:
        scores = store.scores(rounds[0] if len(rounds) == 1 else None)
        good = (s for s in scores if s.error < error_below and rounds[0] <= s.round <= rounds[-1])
        best = next((store.entry(score.id) for score in good), None)
        row = [_rounds_name(rounds), *(str(counts[name] or "") for name in named)]
        table.add_row(*row, *_measured(best, task.metric)[: len(measures)], _id(best))
    return table


def _round_lines(
    counts: Mapping[int, Mapping[Status, int]], closed: Sequence[int]
) -> Iterator[tuple[Sequence[int], dict[str, int]]]:
    """Yield (rounds, number of their candidates by outcome) for each line; who is pending in a closed round is late."""
    seeds, children = [r for r in counts if r == SEED_ROUND], [r for r in counts if r != SEED_ROUND]
    several = children[:-MANY_ROUNDS]
    for rounds in (seeds, several, *([round] for round in children[len(several) :])):
        if rounds:
            found = {name: sum(outcomes(counts[round])[name] for round in rounds) for name in OUTCOMES}
            late = sum(counts[round].get(Status.PENDING, 0) for round in rounds if round in closed)
            yield rounds, {**found, "pending": found["pending"] - late, LATE: late}


def _rounds_name(rounds: Sequence[int]) -> str:
    if rounds[0] == SEED_ROUND:
        return "seeds"
    return str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]}-{rounds[-1]}"


def best_table(entries: Sequence[Entry], task: TaskInterface) -> Table:
    """Return the fittest candidates with their parents."""
    table = plain_table("", "id", "fitness>", f"{task.metric}>", f"{size_column(task.size_name)}>", "parents")
    for rank, entry in enumerate(entries, start=1):
        parents = _text(", ".join(entry.candidate.parents))
        table.add_row(str(rank), _id(entry), *_measured(entry, task.metric), parents)
    return table


def candidates_table(entries: Iterable[Entry], task: TaskInterface, instead: Measure | None = None) -> Table:
    """Return candidates with their outcome and its reason. A column for what none of them has is left out.

    Args:
        instead: a column in the place of the task's metric; 80 columns have not room enough for both.
    """
    rows = []
    for entry in entries:
        cells = list(_measured(entry, task.metric))
        if instead is not None:
            cells[1] = "" if (value := instead[1](entry)) is None else number(value)
        rows.append((_id(entry), entry.candidate.status, cells, _text(entry.candidate.detail)))
    names = ("fitness", task.metric if instead is None else instead[0], size_column(task.size_name))
    kept = [place for place in range(3) if not rows or any(cells[place] for _, _, cells, _ in rows)]
    table = plain_table("id", "outcome", *(f"{names[place]}>" for place in kept), "detail")
    for id, status, cells, detail in rows:
        table.add_row(id, status, *(cells[place] for place in kept), detail)
    return table


def text_table(lines: Sequence[Sequence[str]]) -> Table:
    """Return a table of plain text; the first line is its header, and all columns but the first hold numbers."""
    header, *rows = lines
    table = plain_table(header[0], *(f"{name}>" for name in header[1:]))
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def csv_text(kind: type[DataclassInstance], rows: Iterable[DataclassInstance]) -> str:
    """Return dataclasses of one kind as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def groups_table(groups: Sequence[Mapping[str, Any]]) -> Table:
    """Return groups of searches with the means of their best fitness."""
    table = plain_table("group", "runs>", "best fitness>", "at equal evaluations>", "at equal hours>")
    for row in groups:
        names = ("best_fitness", "best_at_equal_evaluations", "best_at_equal_hours")
        table.add_row(_text(row["group"]), str(row["runs"]), *(_mean(row, name) for name in names))
    return table


def details(entry: Entry, attempts: Sequence[Result], size_name: str, training: str = "") -> Table:
    """Return all that is known of one candidate, except its source.

    Args:
        size_name: as the task calls the size (`TaskInterface.size_name`).
        training: how it went (`curves.in_words`); '' if that is not known.
    """
    measured = [] if entry.result is None else _measures(entry.result, size_name, training)
    return _grid([*_descent(entry.candidate), *measured, *map(_attempt, attempts)])


def result_details(result: Result, size_name: str, training: str = "") -> Table:
    """Return all that one evaluation found; see `details`."""
    outcome = ("outcome", f"{result.status}" + (f": {result.detail}" if result.detail else ""))
    attempts = [_attempt(result)] if result.seconds else []  # none if it was refused
    return _grid([outcome, *_measures(result, size_name, training), *attempts])


def row(entry: Entry) -> dict[str, Any]:
    """Return a candidate and its result as one flat row of plain values; `metrics.*` and `seconds.*` are columns."""
    candidate = _plain(entry.candidate)
    candidate["parents"] = " ".join(entry.candidate.parents)
    result = _plain(entry.result) if entry.result else {}
    flat: dict[str, Any] = {**candidate}
    for name in ("attempt", "num_params", "error", "fitness", "isolation", "host", "finished_at"):
        flat[name] = result.get(name)
    for group in ("metrics", "seconds", "versions"):
        flat.update({f"{group}.{name}": value for name, value in result.get(group, {}).items()})
    return flat


def document(entry: Entry) -> dict[str, Any]:
    """Return a candidate and its result as plain values (`documents.Evaluated`)."""
    result = _plain(entry.result) if entry.result else None
    return {"candidate": _plain(entry.candidate), "result": result}


def line(entry: Entry, run: str, **more: Any) -> str:
    """Return the same, and more, of a run's candidate as one line of JSON (`documents.CandidateDocument`)."""
    return json.dumps({**head("candidate", run), **document(entry), **more}, ensure_ascii=False)


def _plain(value: Candidate | Result) -> dict[str, Any]:
    """Return the fields of a value: `asdict` without its copies, which take longer than reading the row."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _text(value: str) -> str:
    """Return text for a cell, whoever wrote it: a candidate's own, or that of its exceptions."""
    return escape_markup(printable(value))


def outcome(status: Status) -> str:
    """Return the class of `OUTCOMES` that a status belongs to."""
    if status in (Status.TRAINED, Status.DROPPED, Status.DUPLICATE, Status.PENDING):
        return str(status)
    if status.is_refused:
        return "refused"
    return "machine fault" if status.is_machine_fault else "failed"


def _grid(facts: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        table.add_row(_text(name), _text(value))
    return table


def _descent(candidate: Candidate) -> Iterator[tuple[str, str]]:
    yield "id", candidate.id
    yield "outcome", f"{candidate.status}" + (f": {candidate.detail}" if candidate.detail else "")
    if candidate.round != SEED_ROUND:
        yield "drawn", f"round {candidate.round}, prompt {candidate.prompt}, sample {candidate.sample}"
        yield "parents", ", ".join(candidate.parents)
        yield "completion", completion(candidate)


def _measures(result: Result, size_name: str, training: str) -> Iterator[tuple[str, str]]:
    if result.fitness is not None:
        yield "fitness", number(result.fitness)
    if result.num_params is not None:
        yield size_column(size_name), f"{result.num_params:,}"
    if result.metrics:
        yield "metrics", ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
    if training:
        yield "training", training


def _attempt(result: Result) -> tuple[str, str]:
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
    return (
        f"attempt {result.attempt}",
        f"{result.status} on {result.host or 'an unknown host'}, {result.isolation}; {stages}",
    )


def _measured(entry: Entry | None, metric: str) -> tuple[str, str, str]:
    result = entry.result if entry else None
    if result is None or result.fitness is None:
        return "", "", ""
    quality = result.metrics.get(metric)
    return number(result.fitness), "" if quality is None else f"{quality:.4f}", f"{result.num_params:,}"


def _mean(row: Mapping[str, Any], name: str) -> str:
    """Return a mean with its interval, e.g. '-133 [-140, -121]'."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if low is None else escape_markup(f" [{number(low)}, {number(high)}]")
    return ("" if row[name] is None else number(row[name])) + interval + of_all(row[f"{name}_runs"], row["runs"])


def _id(entry: Entry | None) -> str:
    return _text(entry.candidate.id) if entry else ""
