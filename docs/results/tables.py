"""Writes the tables of README.md and docs/results/*.md from the CSV files here: `python docs/results/tables.py`.

A page has a comment where a table belongs, `<!-- searches: FOLDER -->`, so too `arms`, `pairs`, `other_pairs`,
`parents`, `gains`, `costs`, `rates` and `claim`, or `<!-- verified: FILE -->`, `winners`, `again`, `forms`, `transfer`,
`ranks`, `moved`, `results` and `copies`. With `--check` nothing is written, and it fails if a table is not what its
files say. Needs nothing but evohpc's own intervals and features of CLRS-30, and numpy.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import copies
from claim import OURS, claim
from rates import rates
from searches import COSTLY, MAIN, OUTCOMES, STRICT, Row, Search, fewest, read, read_searches, share
from transfers import moved, ranks, transfer

from evohpc.report.intervals import bootstrap, permutation

HERE = Path(__file__).parent
PAIRED = 3
"""Of how many seeds two arms must both have a search to be compared."""


def searches(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a search: shares of its children, and its fittest."""
    yield "search", "children", *OUTCOMES, "fittest", f"fittest, error < {STRICT}"
    for search in read_searches(folder):
        outcomes, total = Counter(row["outcome"] for row in search.children), len(search.children)
        shares = [share(outcomes[name], total) for name in OUTCOMES]
        fittest = _fittest(search.counted()), _fittest(search.counted(STRICT))
        yield f"{search.arm}-{search.seed}", str(total), *shares, *fittest


def arms(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row an arm: its searches' means, of all children and of equally many that cost as much."""
    found = read_searches(folder)
    least = fewest(found)
    equal = [f"fittest of the first {count} {kind}" for kind, count in least.items()]
    yield "arm", "searches", "fittest of all children", f"error < {STRICT}", *equal, "trained children", "steps"
    for arm in dict.fromkeys(search.arm for search in found):
        of_arm = [search for search in found if search.arm == arm]
        trained = sum(len(search.costly(["trained"])) for search in of_arm)
        means = [_mean([search.best_of_first(least[kind], kind) for search in of_arm]) for kind in COSTLY]
        children = sum(len(search.children) for search in of_arm)
        whole = [_mean([search.best(error_below=bound) for search in of_arm]) for bound in (1.0, STRICT)]
        steps = f"{sum(search.steps() for search in of_arm) / len(of_arm) / 1000:.0f},000"
        yield arm, str(len(of_arm)), *whole, *means, share(trained, children), steps


def pairs(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row for each pair with the extensions or with the paper's method: see `_pairs`."""
    return _pairs(folder, lambda pair: not pair.isdisjoint(MAIN))


def other_pairs(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row for each of the other pairs: see `_pairs`."""
    return _pairs(folder, lambda pair: pair.isdisjoint(MAIN))


def _pairs(folder: Path, shown: Callable[[set[str]], bool]) -> Iterator[Sequence[str]]:
    """Yield the cells of a row for two arms: how much fitter the first is, by all measures of `measures`."""
    yield (
        "arms",
        "seeds",
        "all children",
        "of each seed",
        "p",
        f"error < {STRICT}",
        *(f"equally many {kind}" for kind in COSTLY),
    )
    found = {(search.arm, search.seed): search for search in read_searches(folder)}
    for first, second in combinations(dict.fromkeys(arm for arm, _ in found), 2):
        seeds = [seed for arm, seed in found if arm == first and (second, seed) in found]
        if len(seeds) >= PAIRED and shown({first, second}):
            ours, theirs = ([found[arm, seed] for seed in seeds] for arm in (first, second))
            cells = list(_leads(ours, theirs))
            of_each = ", ".join(f"{a.best() - b.best():+.0f}" for a, b in zip(ours, theirs, strict=True))
            p = f"{permutation(*(_bests(found.values(), arm) for arm in (first, second))):.3f}"
            yield f"{first} - {second}", ", ".join(map(str, seeds)), cells[0], of_each, p, *cells[1:]


def _bests(searches: Iterable[Search], arm: str) -> list[float]:
    return [search.best() for search in searches if search.arm == arm]


def _leads(ours: Sequence[Search], theirs: Sequence[Search]) -> Iterator[str]:
    """Yield, for each measure, the mean lead over the seeds with its interval, and for how many there is one."""
    for label, best in measures([*ours, *theirs]):
        leads = [best(a) - best(b) for a, b in zip(ours, theirs, strict=True)]
        yield f"{label}{_mean(leads, '+')}, {sum(lead > 0 for lead in leads)} of {len(leads)}"


def measures(searches: Sequence[Search]) -> list[tuple[str, Callable[[Search], float]]]:
    """Return by what searches are compared: all their children, the accurate ones, and equally many that cost as much;
    of these with their number."""
    equal = [
        (f"{count}: ", partial(Search.best_of_first, count=count, kind=kind))
        for kind, count in fewest(searches).items()
    ]
    return [("", Search.best), ("", partial(Search.best, error_below=STRICT)), *equal]


def parents(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row an arm and a kind of prompt: how its children ended, by how many parents it shows."""
    yield "arm", "different parents in the prompt", "children", *OUTCOMES
    found = read_searches(folder)
    for arm in dict.fromkeys(search.arm for search in found):
        children = [row for search in found if search.arm == arm for row in search.children]
        for count in sorted({_parents(row) for row in children}):
            alike = [row for row in children if _parents(row) == count]
            outcomes = Counter(row["outcome"] for row in alike)
            yield arm, str(count), str(len(alike)), *(share(outcomes[name], len(alike)) for name in OUTCOMES)


def gains(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a search: its fittest seed beside its fittest child, in the units of its task."""
    yield "search", "children", *OUTCOMES, "fittest seed: fitness (error, size)", "fittest child", "is it fitter"
    for search in read_searches(folder):
        outcomes, total = Counter(row["outcome"] for row in search.children), len(search.children)
        counted = search.counted(math.inf)
        groups = [[row for row in counted if (row["round"] == "-1") == is_seed] for is_seed in (True, False)]
        seed, child = (max(rows, key=lambda row: float(row["fitness"]), default=None) for rows in groups)
        is_fitter = seed is None or (child is not None and float(child["fitness"]) > float(seed["fitness"]))
        shares = [str(outcomes[name]) for name in OUTCOMES]
        found = _measured(seed), _measured(child), "yes" if is_fitter else "no"
        yield f"{search.arm}-{search.seed}", str(total), *shares, *found


def costs(folder: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a search: what its seeds and children took."""
    yield "search", "seeds trained", "children trained", "CPU minutes of the evaluations", "tokens drawn", "a child"
    for search in read_searches(folder):
        trained = Counter(row["round"] == "-1" for row in search.rows if row["outcome"] == "trained")
        minutes = sum(float(row["seconds.cpu"] or 0) for row in search.rows) / 60
        tokens = sum(int(row["tokens"] or 0) for row in search.children)
        drawn = f"{tokens:,}", f"{tokens / len(search.children):.0f}"
        yield f"{search.arm}-{search.seed}", str(trained[True]), str(trained[False]), f"{minutes:.1f}", *drawn


def _measured(row: Row | None) -> str:
    if row is None:
        return "none"
    return f"{float(row['fitness']):.4g} ({float(row['error']):.3g}, {int(row['num_params']):,}): {row['id']}"


def _parents(child: Row) -> int:
    return len(set(child["parents"].split()))


def again(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a finalist, in the units of its task: in the search, and with several fresh seeds."""
    yield "program", "size", "in the search: fitness (error)", "fitness with fresh seeds", "error", "trained"
    for row in read(path):
        yield (
            row["id"],
            f"{int(row['num_params']):,}",
            f"{float(row['search_fitness']):.3g} ({float(row['search_error']):.3g})",
            f"{float(row['fitness']):.3g} ± {float(row['fitness_sd']):.2g}",
            f"{float(row['error']):.3g} ± {float(row['error_sd']):.2g}",
            f"{row['trained']} of {row['seeds']}",
        )


def verified(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a finalist: what it reached with several fresh seeds, mean and standard deviation."""
    yield "finalist", "parameters", "fitness in the search", "fitness", "worst to best", "validation", "test", "trained"
    for row in read(path):
        yield (
            row["id"],
            f"{int(row['num_params']):,}",
            f"{float(row['search_fitness']):.4g}",
            f"{float(row['fitness']):.1f} ± {float(row['fitness_sd']):.1f}",
            f"{float(row['fitness_min']):.1f} to {float(row['fitness_max']):.1f}",
            f"{100 * (1 - float(row['error'])):.1f} ± {100 * float(row['error_sd']):.1f} %",
            f"{100 * float(row['test_accuracy']):.1f} ± {100 * float(row['test_accuracy_sd']):.1f} %",
            f"{row['trained']} of {row['seeds']}",
        )


def forms(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row a form of prompt: how its children ended."""
    yield "prompt", "children", *OUTCOMES, "tokens a child"
    rows = read(path)
    for form in dict.fromkeys(row["prompt"] for row in rows):
        alike = [row for row in rows if row["prompt"] == form]
        outcomes, tokens = Counter(row["outcome"] for row in alike), sum(int(row["tokens"]) for row in alike)
        shares = [share(outcomes[name], len(alike)) for name in OUTCOMES]
        yield form, str(len(alike)), *shares, f"{tokens / len(alike):.0f}"


def winners(path: Path) -> Iterator[Sequence[str]]:
    """Yield the cells of a row an arm: its winners with fresh seeds, and how far those of the claim lead."""
    found: dict[str, dict[str, Row]] = {}
    for row in read(path):
        arm, _, seed = row["id"].partition("/")[0].rpartition("-")
        found.setdefault(arm, {})[seed] = row
    yield "arm", "searches", "fitness in the search", "with fresh seeds", f"`{OURS}` is fitter by", "of each seed", "p"
    for arm, of_arm in sorted(found.items()):
        selected, again = (
            [float(of_arm[seed][key]) for seed in sorted(of_arm)] for key in ("search_fitness", "fitness")
        )
        ahead = [float(found[OURS][seed]["fitness"]) - float(of_arm[seed]["fitness"]) for seed in sorted(of_arm)]
        leads = _mean(ahead, "+"), ", ".join(f"{value:+.0f}" for value in ahead)
        p = permutation([float(row["fitness"]) for row in found[OURS].values()], again)
        paired = ("", "", "") if arm == OURS else (*leads, f"{p:.3f}")
        yield arm, str(len(of_arm)), _mean(selected), _mean(again), *paired


def _mean(values: Sequence[float], sign: str = "") -> str:
    """Return a mean with its bootstrap interval, if there are at least two values."""
    mean, low, high = bootstrap(values)
    return f"{mean:{sign}.0f}" + (f" ({low:{sign}.0f} to {high:{sign}.0f})" if len(values) > 1 else "")


def _fittest(rows: Sequence[Row]) -> str:
    if not rows:
        return "none"
    best = max(rows, key=lambda row: float(row["fitness"]))
    accuracy = 100 * (1 - float(best["error"]))
    return (
        f"{float(best['fitness']):.4g}: {int(float(best['num_params'])):,} parameters, {accuracy:.1f} % ({best['id']})"
    )


MAKERS: dict[str, Callable[[Path], Iterator[Sequence[str]]]] = {
    "searches": searches,
    "arms": arms,
    "claim": claim,
    "pairs": pairs,
    "other_pairs": other_pairs,
    "parents": parents,
    "gains": gains,
    "costs": costs,
    "verified": verified,
    "winners": winners,
    "again": again,
    "forms": forms,
    "results": copies.results,
    "copies": copies.rules,
    "transfer": transfer,
    "ranks": ranks,
    "moved": moved,
    "rates": rates,
}
_MARK = re.compile(rf"(<!-- ({'|'.join(MAKERS)}): (\S+) -->\n)(?:\|.*\n)*")


def with_tables(text: str) -> str:
    """Return a page with its tables as their files say."""

    def table(match: re.Match[str]) -> str:
        header, *rows = MAKERS[match[2]](HERE / match[3])
        lines = [header, ["---"] * len(header), *rows]
        return match[1] + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    return _MARK.sub(table, text)


def main() -> None:
    stale = []
    for page in (HERE.parents[1] / "README.md", *sorted(HERE.glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        if (made := with_tables(text)) != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(made, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"not what the files say: {', '.join(stale)}; run python docs/results/tables.py")


if __name__ == "__main__":
    main()
