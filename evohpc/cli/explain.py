"""Commands that explain one candidate: why, diff, lineage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evohpc.cli.shared import Decorator, json_option, run_argument, stdout_console
from evohpc.errors import RunFolderError

if TYPE_CHECKING:
    from evohpc.report.difference import Difference
    from evohpc.report.kinship import Family
    from evohpc.report.reader import Reading
    from evohpc.report.why import Case
    from evohpc.store.rows import Entry

id_argument: Decorator = click.argument("candidate_id", metavar="[ID]", default="best")
_LOG_LINES = 15
"""Of a log, beside all that is known of a candidate."""
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command(
    epilog="""\b
Examples:
  evohpc why runs/first r003p07s012
  evohpc why runs/first                                   the best"""
)
@run_argument
@id_argument
@json_option
def why(run: Path, candidate_id: str, as_json: bool) -> None:
    """Say where a candidate comes from and what became of it.

    What its prompt showed and asked for, its outcome with the reason, why it was selected or not, its rank, its
    children. ID is `best` if it is left away.
    """
    from evohpc.report.reader import Reading
    from evohpc.report.terminal import printable
    from evohpc.report.why import facts, sentences

    with Reading(run) as reading:
        case = _case(reading, candidate_id)
        if as_json:
            said = dict(sentences(case))
            _print_json("why", reading, **facts(case), sentences=said)
            return
        click.echo(printable(case.entry.id))
        for topic, text in sentences(case):
            _print_hanging(topic, printable(text.replace("\n", " ")))


@click.command(
    epilog="""\b
Examples:
  evohpc diff runs/first best                             to each of its parents
  evohpc diff runs/first best seed-cnn
  evohpc diff runs/first best | less -R"""
)
@run_argument
@id_argument
@click.argument("other_id", required=False, metavar="[OTHER]")
@click.option("-U", "--unified", "context", type=click.IntRange(min=0), default=3, help="Lines around a change.")
@json_option
def diff(run: Path, candidate_id: str, other_id: str | None, context: int, as_json: bool) -> None:
    """Show what is new in a program, as a unified diff.

    From each of its parents to ID, or from OTHER to ID. Either may be `best`.
    """
    from evohpc.report.reader import Reading

    with Reading(run) as reading:
        entry = reading.candidate(candidate_id)
        found = _differences(reading, entry, other_id, context)
        if as_json:
            _print_json("diff", reading, id=entry.id, differences=[asdict(difference) for difference in found])
            return
        for difference in found:
            _print_difference(difference)


@click.command(
    epilog="""\b
Examples:
  evohpc lineage runs/first                               of the best
  evohpc lineage runs/first r003p07s012 --depth 3
  evohpc lineage runs/first seed-cnn --down
  evohpc lineage runs/first --path"""
)
@run_argument
@id_argument
@click.option("--down", is_flag=True, help="Its descendants instead of its ancestors.")
@click.option("--path", "only_path", is_flag=True, help="Only the fittest parent of each, back to a seed.")
@click.option("--depth", type=click.IntRange(min=0), default=5, show_default=True, help="Generations; 0: all.")
@json_option
def lineage(run: Path, candidate_id: str, down: bool, only_path: bool, depth: int, as_json: bool) -> None:
    """Draw the ancestors or the descendants of a candidate as a tree.

    With fitness and error. What can be reached by several ways has its branches once; elsewhere it is marked with `^`.
    ID is `best` if it is left away.
    """
    from evohpc.report import trees
    from evohpc.report.kinship import tree
    from evohpc.report.reader import Reading

    if down and only_path:
        raise click.UsageError("--path goes back to a seed; it has no --down")
    with Reading(run) as reading:
        id = reading.candidate(candidate_id).id
        family = reading.selections().family
        if as_json:
            _print_json("lineage", reading, id=id, **_relatives(family, id))
        elif only_path:
            stdout_console().print(*trees.path_lines(family, family.path(id)), sep="\n")
        elif down:
            step = partial(trees.continued, family)
            stdout_console().print(trees.descendants_tree(tree(id, step, depth or None), family))
        else:
            stdout_console().print(trees.ancestors_tree(tree(id, family.parents, depth or None), family))


COMMANDS = (why, diff, lineage)


def print_what_is_known(reading: Reading, entry: Entry) -> None:
    """Print all that is known of a candidate but its program; of one that failed, the end of its log."""
    from evohpc.report.curves import in_words
    from evohpc.report.remarks import remarked
    from evohpc.report.tables import details
    from evohpc.report.terminal import printable

    training = in_words(reading.curve(entry))
    attempts = reading.store.results(entry.id)
    said = remarked(entry, reading.error_below, reading.late_until)
    stdout_console().print(details(said, attempts, reading.task.size_name, training))
    if entry.fitness is None and (log := reading.log(entry)) is not None:
        lines = log.text.splitlines()[-_LOG_LINES:]
        click.echo(f"\nlog {log.place}, its end:")
        click.echo(printable("\n".join(f"  {line}" for line in lines)), color=True)
    click.echo()


def print_differences_to_parents(reading: Reading, entry: Entry) -> None:
    """Print what is new in a program beside each of its parents.

    Raises:
        RunFolderError: it is a seed.
    """
    for difference in _differences(reading, entry):
        _print_difference(difference)


def _differences(reading: Reading, entry: Entry, other_id: str | None = None, context: int = 3) -> Sequence[Difference]:
    from evohpc.report.difference import differences

    parents = reading.store.with_ids(dict.fromkeys(entry.candidate.parents))
    others = parents if other_id is None else [reading.candidate(other_id)]
    if not others:
        raise RunFolderError(f"{entry.id} is a seed and has no parents; name another candidate to compare it with")
    return list(differences(entry.candidate, [other.candidate for other in others], context))


def _case(reading: Reading, candidate_id: str) -> Case:
    from evohpc.report.why import Case

    entry, selections = reading.candidate(candidate_id), reading.selections()
    first = reading.store.known_hashes([entry.candidate.code_hash] if entry.candidate.code_hash else [])
    original = first.get(entry.candidate.code_hash, entry.id)
    return Case(
        entry=entry,
        attempts=reading.store.results(entry.id),
        original=None if original == entry.id else selections.family[original],
        selections=selections,
        metric=reading.task.metric,
        prompt=reading.prompt(entry.candidate),
        size_name=reading.task.size_name,
        early_end=reading.early_end,
    )


def _print_json(kind: str, reading: Reading, **values: Any) -> None:
    from evohpc.report.documents import head

    document = {**head(kind, reading.run_id), **values}
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def _print_hanging(topic: str, text: str) -> None:
    """Print a paragraph with its topic before it, at most as wide as the terminal."""
    console = stdout_console()
    width = min(console.width, 100)
    click.echo(click.wrap_text(text, width, initial_indent=f"  {topic:11}", subsequent_indent=" " * 13))


def _print_difference(difference: Difference) -> None:
    from evohpc.report.terminal import printable

    if not difference.lines:
        click.echo(f"{difference.after} has the same text as {difference.before}", err=True)
    for number, line in enumerate(difference.lines):
        is_header = number < 2
        click.secho(printable(line), fg=None if is_header else _COLOURS.get(line[:1]), bold=is_header or None)


def _relatives(family: Family, id: str) -> dict[str, Any]:
    """Return all ancestors and descendants as plain values, the nearest first."""

    def rows(ids: Sequence[str]) -> list[dict[str, Any]]:
        return [{**family[name]._asdict(), "status": str(family[name].status)} for name in ids]

    return {
        "path": family.path(id),
        "ancestors": rows(family.ancestors(id)),
        "descendants": rows(family.descendants(id)),
    }
