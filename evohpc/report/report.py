"""The report of one run: `evohpc report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import yaml

from evohpc import envelopes
from evohpc.errors import EnvelopeError
from evohpc.evolution.entry import sized
from evohpc.messages import LMRequest
from evohpc.report import curves, logs, page
from evohpc.report.colours import OUTCOME_COLOURS
from evohpc.report.columns import Columns, columns, payload
from evohpc.report.early_end import in_words
from evohpc.report.intervals import wilson
from evohpc.report.origin import BY_RULE
from evohpc.report.rounds import UNSETTLED, VALID_NOVEL, evaluation_hours, late_counts, round_rows, valid_novel
from evohpc.report.runs import Run
from evohpc.report.tables import OUTCOMES, number
from evohpc.report.text import MINUS, in_hours
from evohpc.run_folder import RunDir

if TYPE_CHECKING:
    from evohpc.report.figures.style import Figure

SCRIPTS = ("dom.js", "filters.js", "table.js", "candidate.js", "parents.js", "charts.js", "lineage.js", "main.js")


def report(run: Run, *, target: float | None = None) -> str:
    """Return the report of a run as one HTML file.

    Args:
        target: a fitness to be reached, drawn as a line.
    """
    table = columns(run)
    data = {
        "figures": page.embedded(_figures(table, target)),
        "candidates": payload(table),
        "rounds": [{**row, "run": None} for row in round_rows(run)],
        "metric": run.metric,
        "size": run.size_name,
        "outcomes": OUTCOMES,
        "valid_novel": VALID_NOVEL,
        "unsettled": UNSETTLED,
        "colours": OUTCOME_COLOURS,
        "by_rule": BY_RULE,
        "prompts": dict(_prompts(run)),
        "curves": curves.packed(run.curves),
        "logs": {} if run.folder is None else logs.tails(RunDir(run.folder), run.entries),
        "subtitle": _subtitle(run),
        "tiles": list(_tiles(table)),
        "provenance": list(_provenance(run)),
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True) if run.config else "",
        "footer": f"Made by evohpc report at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    }
    sources = [entry.candidate.source for entry in run.entries]
    return page.render(f"evohpc report: {run.name}", "report.html", SCRIPTS, data, sources)


def _figures(table: Columns, target: float | None) -> dict[str, Figure | None]:
    from evohpc.report.figures import hours, lineage, outcomes, tradeoff, training, worth

    return {
        "best_by_children": worth.by_children(table, target),
        "best_by_hours": worth.by_hours(table, target),
        "valid_novel": worth.valid_novel(table.run),
        "tradeoff": tradeoff.tradeoff(table),
        "outcomes": outcomes.by_round(table),
        "temperatures": outcomes.by_temperature(table),
        "failures": outcomes.failures(table),
        "stages": hours.by_stage(table),
        "clock": hours.by_clock(table),
        "at_work": hours.at_work(table),
        "lineage": lineage.lineage(table),
        "curve": training.training(table.run.curves),
    }


def _subtitle(run: Run) -> str:
    search = run.config.get("search", {})
    what = f"{search['variant']} on {run.config['task']}, seed {search['seed']}; " if search else ""
    if run.early_end is not None:
        return f"{what}stopped: {in_words(run.early_end)}"
    return f"{what}{'all rounds are closed' if run.is_done else 'not finished'}"


def _tiles(table: Columns) -> Iterator[tuple[str, str, str]]:
    run, best = table.run, table.best
    children = [entry for entry in run.entries if entry.candidate.round >= 0]
    if best is not None:
        yield (
            "best fitness",
            _people(table.fitness[best]),
            f"{table.id[best]}; {sized(table.params[best] or 0, run.size_name)}",
        )
    seed = max((table.fitness[p] for p in table.seeds if table.counts[p]), default=None)
    if seed is not None:
        yield "best seed", _people(seed), _gain(seed, None if best is None else table.fitness[best])
    if children:
        yield "children", f"{len(children):,}", f"in {len({e.candidate.round for e in children})} rounds"
        yield from _share(table)
    if run.late_until:
        late = late_counts(run)
        yield (
            "late children",
            f"{late['late']:,}",
            f"{late['late_entered']:,} of them entered the pool of a later round",
        )
    yield "last improvement", *_last_improvement(table)
    cores = f"{run.threads} core{'s' * (run.threads > 1)} each"
    yield "evaluation time", in_hours(evaluation_hours(run, run.entries)), f"wall clock, summed; {cores}"


def _share(table: Columns) -> Iterator[tuple[str, str, str]]:
    novel, settled = valid_novel(Counter(o for o, r in zip(table.outcome, table.round, strict=True) if r >= 0))
    if settled:
        low, high = wilson(novel, settled)
        yield (
            "valid novel children",
            f"{100 * novel / settled:.1f} %",
            f"95 % interval {100 * low:.1f} to {100 * high:.1f}\N{NO-BREAK SPACE}%",
        )


def _people(value: float) -> str:
    return number(value).replace("-", MINUS)


def _gain(seed: float, best: float | None) -> str:
    if best is None or best <= seed:
        return "no child is fitter"
    return (
        f"the best is {seed / best:.3g} times as fit"
        if seed < 0 and best < 0
        else f"the best is {best - seed:.4g} fitter"
    )


def _last_improvement(table: Columns) -> tuple[str, str]:
    if table.best is None:
        return "none", "nothing was trained with an error below alpha"
    round, last = table.round[table.best], max(table.round)
    if round < 0:
        return "none", "the best seed is still the fittest"
    return (
        f"round {round}",
        "the last one so far" if round == last else f"{last - round} round{'s' * (last - round > 1)} ago",
    )


def _prompts(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the prompts by 'round/prompt', of a run folder's rounds that can be read."""
    if run.folder is None:
        return
    for round in sorted({entry.candidate.round for entry in run.entries if entry.candidate.round >= 0}):
        try:
            request = envelopes.decode(RunDir(run.folder).round(round).request.read_bytes(), LMRequest)
        except (OSError, EnvelopeError):
            continue
        for prompt in request.prompts:
            yield f"{round}/{prompt.index}", prompt.text


def _provenance(run: Run) -> Iterator[tuple[str, str]]:
    yield "run", run.name
    yield "folder", str(run.path)
    for name, value in run.provenance.items():
        if name != "run_id":
            yield name.replace("_", " "), " ".join(value) if isinstance(value, list) else str(value)
    yield "runs in this report", "1 (one seed of the search; compare several with evohpc aggregate)"
    for name in ("isolation", "host"):
        yield name, _counted(Counter(str(getattr(result, name) or "unknown") for result in run.attempts))
    if run.faulty_nodes:
        faults = ", ".join(f"{node.name} ({node.faults:,})" for node in run.faulty_nodes)
        yield "nodes excluded", f"{faults}: attempts in a row that were the machine's fault"
    versions = Counter(f"{name} {version}" for r in run.attempts for name, version in r.versions.items())
    yield "evaluated with", _counted(versions)


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(found.items())[:40])
