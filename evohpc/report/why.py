"""Why a candidate is what it is: where it comes from, what was asked of it, what became of it, in sentences. Pure."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evohpc.evolution.entry import NUM_PARAMS, sized
from evohpc.evolution.population import Budget, passes
from evohpc.evolution.stopping import EarlyEnd
from evohpc.messages import SEED_ROUND, Result, Status
from evohpc.report.early_end import in_words
from evohpc.report.kinship import Family
from evohpc.report.origin import completion
from evohpc.report.selection import Selections
from evohpc.report.tables import number, outcome
from evohpc.store.rows import Entry, Kin

_METRICS = re.compile(r'"""Metrics:\n(\{.*\})\n"""')


@dataclass(frozen=True)
class Case:
    """All that is known of one candidate."""

    entry: Entry
    attempts: Sequence[Result]
    original: Kin | None
    """The candidate whose program a duplicate repeats."""
    selections: Selections
    metric: str
    """Name of the task's metric."""
    prompt: str | None
    """The text that the language model completed; None where it cannot be read."""
    size_name: str = NUM_PARAMS
    """What the task calls the size of a program."""
    early_end: EarlyEnd | None = None
    """Why the search ended before its last round, if it did."""

    @property
    def kin(self) -> Kin:
        """Its place in the family."""
        return self.family[self.entry.id]

    @property
    def family(self) -> Family:
        """All candidates of the search."""
        return self.selections.family

    @property
    def asked(self) -> dict[str, float]:
        """The metrics that its prompt asked for; empty where that is not known."""
        found = _METRICS.findall(self.prompt or "")
        return {name: float(value) for name, value in ast.literal_eval(found[-1]).items()} if found else {}


def sentences(case: Case) -> Iterator[tuple[str, str]]:
    """Yield (topic, what there is to say of it)."""
    yield "origin", " ".join(_origin(case))
    if case.asked:
        yield "asked for", _asked(case)
    yield "outcome", " ".join(_outcome(case))
    yield "selection", " ".join(_selection(case))
    yield "best", _best(case)
    yield "children", _children(case)


def facts(case: Case) -> dict[str, Any]:
    """Return the same as plain values."""
    kin, best = case.kin, [one.id for one in case.selections.best()]
    pool = _first_pool(case)
    return {
        **{"id": kin.id, "round": kin.round, "parents": list(kin.parents), "asked": case.asked},
        **{"status": str(kin.status), "outcome": outcome(kin.status), "detail": case.entry.candidate.detail},
        **{"error": kin.error, "fitness": kin.fitness, "attempts": len(case.attempts)},
        "selected_after": case.selections.selected_after(kin.id),
        "pool_rank": pool.index(kin.id) + 1 if kin.id in pool else None,
        "pool_size": len(pool) or None,
        "rank": best.index(kin.id) + 1 if kin.id in best else None,
        "ranked": len(best),
        "children": len(case.family.children(kin.id)),
        "descendants": len(case.family.descendants(kin.id)),
    }


def _origin(case: Case) -> Iterator[str]:
    candidate = case.entry.candidate
    if candidate.round == SEED_ROUND:
        yield "It is a seed: a program that the search was given."
        return
    yield (
        f"It is a child of round {candidate.round}: completion {candidate.sample} of prompt {candidate.prompt}, "
        f"{completion(candidate)}."
    )
    shown = Counter(candidate.parents)
    yield f"Its prompt showed {_listed([_parent(case, *item) for item in shown.items()])}."


def _parent(case: Case, name: str, times: int) -> str:
    text = f"{name}{_became(case.family[name])}" if name in case.family else name
    return text if times == 1 else f"{text} {times} times"


def _became(shown: Kin) -> str:
    if shown.fitness is not None:
        return f" (fitness {number(shown.fitness)})"
    # What failed is shown to be repaired (`prompt.repairs`).
    return f", which failed ({shown.status}), and what it raised" if shown.status.is_candidate_fault else ""


def _asked(case: Case) -> str:
    said, result = [], case.entry.result
    for name, value in case.asked.items():
        is_size = name == case.size_name
        text = sized(round(value), name) if is_size else f"{name} {value:g}"
        measured = None if result is None else result.num_params if is_size else result.metrics.get(name)
        if measured is not None:
            text += f" (it has {measured:,})" if is_size else f" (it has {measured:.4g})"
        said.append(text)
    return f"Its prompt asked for {_listed(said)}."


def _outcome(case: Case) -> Iterator[str]:
    candidate, result = case.entry.candidate, case.entry.result
    faults = [attempt for attempt in case.attempts if attempt.status.is_machine_fault]
    for fault in faults if candidate.status.is_machine_fault or result is None else faults[: result.attempt - 1]:
        reason = f": {fault.detail}" if fault.detail else ""
        yield f"Attempt {fault.attempt} was a machine fault, {fault.status}{reason}."
    if candidate.status is Status.PENDING:
        if case.early_end is None:
            yield "It waits for its evaluation, or is being evaluated."
        else:
            yield f"It was not evaluated, for the search has stopped: {in_words(case.early_end)}."
    elif candidate.status is Status.TRAINED and result is not None and result.fitness is not None:
        yield (
            f"It was trained: {sized(result.num_params or 0, case.size_name)}, error {result.error:.4g}, fitness "
            f"{number(result.fitness)}{_spread(result)}."
        )
    elif candidate.status is Status.DROPPED:
        yield f"It was trained at a lower rung only (evaluation.rungs), and dropped: {candidate.detail}."
    elif candidate.status is Status.DUPLICATE:
        yield f"It was not evaluated: it is a duplicate ({candidate.detail})." + _of_original(case.original)
    elif candidate.status.is_refused:
        yield f"It was refused before any of it was executed ({candidate.status}): {candidate.detail}."
    elif candidate.status.is_machine_fault:
        is_closed = candidate.round in case.selections.survivors
        more = "its round has closed, so it gets none" if is_closed else "`evohpc retry` gives it more"
        yield f"No attempt is left, so it has no outcome of its own; {more}."
    elif candidate.status is Status.TASK_ERROR:
        yield f"The task's own code failed on it ({candidate.status}): {candidate.detail}."
    else:
        yield f"It failed, by its own fault ({candidate.status}): {candidate.detail}."


def _spread(result: Result) -> str:
    """Return over how many trainings the figures are means (`evaluation.repeats`); '' where there was one."""
    trainings, deviation = result.metrics.get("trainings"), result.metrics.get("fitness_sd")
    if trainings is None or deviation is None:
        return ""
    return f" ± {number(deviation)}, means and standard deviation of {trainings:g} trainings with a seed each"


def _of_original(original: Kin | None) -> str:
    if original is None:
        return ""
    fitness = "" if original.fitness is None else f", fitness {number(original.fitness)}"
    return f" What became of that one: {original.status}{fitness}."


def _selection(case: Case) -> Iterator[str]:
    kin, search = case.kin, case.selections.search
    selected, first = case.selections.selected_after(kin.id), case.selections.known_with(kin)
    if first > kin.round:
        yield f"It was late: its outcome was not known when {_round(first - 1)} closed (search.close_at)."
    for round in selected:
        ids = case.selections.survivors[round]
        place = f"number {ids.index(kin.id) + 1} of {len(ids)}"
        is_last = round + 1 == Budget.of(search).rounds
        then = "the search ends there" if is_last else f"a parent of round {round + 1}"
        yield f"Selected after {_round(round)}, as {place}: {then}."
    if selected and kin.round != SEED_ROUND and search.retire_parents:
        yield "With that it left the pool: a parent is selected once (search.retire_parents)."
    if selected and kin.round == SEED_ROUND and not search.seeds_in_pool:
        yield "A seed is a parent of round 0 and does not enter the pool (search.seeds_in_pool: false)."
    if not selected:
        yield _not_selected(case)


def _not_selected(case: Case) -> str:
    kin, search = case.kin, case.selections.search
    first = case.selections.known_with(kin)
    if kin.status is Status.PENDING:
        return "Not selected: it has no outcome yet."
    if kin.status is Status.DROPPED:
        return "Not selected: only what passes the last rung can be."
    if kin.fitness is None:
        return "Not selected: only what was trained can be."
    if not passes(kin, search):
        limit = f"search.error_threshold, {search.error_threshold:g}"
        return f"Not selected: its error, {kin.error:.4g}, is not below {limit}."
    if first not in case.selections.survivors:
        return f"Not selected yet: {_round(first)} is still open."
    pool, taken = _first_pool(case), case.selections.survivors[first]
    if not taken or not pool:
        return f"Not selected after {_round(first)}."
    if search.variant == "random_parents":
        return f"Not selected after {_round(first)}: parents are drawn at random, {len(taken)} of {len(pool)}."
    last = case.family[taken[-1]]
    rank = pool.index(kin.id) + 1
    said = f"Not selected after {_round(first)}: it was number {rank} of the {len(pool)} in the pool, "
    if by_lot := search.random_survivors:
        greedy = search.survivors - by_lot
        return f"{said}where the fittest ({greedy}) were selected, and {by_lot} by lot (search.random_survivors)."
    return (
        said + f"and {len(taken)} were selected; the last of them is {last.id}, fitness {number(last.fitness or 0.0)}."
    )


def _first_pool(case: Case) -> list[str]:
    """Return the pool of the first selection that a candidate could take part in, if it did."""
    kin, first = case.kin, case.selections.known_with(case.kin)
    if first not in case.selections.survivors or not case.selections.was_in_pool(kin, first):
        return []
    return [one.id for one in case.selections.pool(first)]


def _best(case: Case) -> str:
    kin, best = case.kin, case.selections.best()
    if not best:
        return "Nothing counts among the best yet: nothing was trained with an error below search.error_threshold."
    leader = f"{best[0].id}, fitness {number(best[0].fitness or 0.0)}"
    if kin.fitness is None:
        return f"It has no fitness. The best is {leader}."
    if not passes(kin, case.selections.search):
        is_fitter = kin.fitness > (best[0].fitness or 0.0)
        than = "It is fitter than the best but" if is_fitter else "It"
        return f"{than} does not count among the best, for its error is too high. The best is {leader}."
    rank = best.index(kin) + 1
    if rank == 1:
        return f"It is the best of the {len(best)} that count."
    return f"It is number {rank} of the {len(best)} that count. The best is {leader}."


def _children(case: Case) -> str:
    children = case.family.children(case.kin.id)
    if not children:
        return "None was drawn from a prompt that showed it."
    counted = Counter(outcome(case.family[name].status) for name in children)
    fittest = case.family[children[0]]
    shown = f" The fittest is {fittest.id}, fitness {number(fittest.fitness)}." if fittest.fitness is not None else ""
    further = len(case.family.descendants(case.kin.id)) - len(children)
    more = f" Further descendants: {further}." if further else ""
    outcomes = ", ".join(f"{count} {name}" for name, count in counted.items())
    return f"Drawn from prompts that showed it: {len(children)} ({outcomes}).{shown}{more}"


def _round(round: int) -> str:
    return "the evaluation of the seeds" if round == SEED_ROUND else f"round {round}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
