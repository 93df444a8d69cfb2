"""The transfer of finished models to the algorithms of CLRS-30, and its table (EvoPrompting, Table 3).

A transfer is a run without rounds. Its seed programs are the models, one copy for each algorithm and each seed; its
task (evohpc/tasks/clrs/transfer.py) trains each copy on the algorithm that the copy names. So a transfer has the jobs,
the sandbox, the retries and the exactly-once results of a search, and the commands for runs work on it.
"""

from __future__ import annotations

import io
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.search import Config, load_config
from evohpc.config.site import Site
from evohpc.config.task_name import TaskName
from evohpc.errors import ConfigError, RunFolderError
from evohpc.files import read_input_text
from evohpc.messages import Status
from evohpc.report.reader import Reading
from evohpc.run_folder import RunDir
from evohpc.search import creation
from evohpc.search.search import Search
from evohpc.store.rows import Entry

TASK = TaskName("clrs_transfer")
BASELINE = "baseline"
"""Name of the model that the others are compared with."""
LIMITS = EvaluationConfig(time_limit_s=86_400, memory_mb=16_384)
"""A training has five times the steps of a child of the search."""


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one algorithm."""

    algorithm: str
    model: str
    num_params: int | None
    """Of the whole network; None before any training is over."""
    accuracy: float | None
    """CLRS score at 64 nodes in percent, the mean over the seeds that were trained."""
    standard_error: float | None
    """Of that mean; None for fewer than two."""
    trained: int
    seeds: int
    failure: str
    """Status and reason of the first training that failed, e.g. 'timeout: ...'."""


@dataclass(frozen=True, slots=True)
class Models:
    """What is transferred."""

    sources: Mapping[str, str]
    """Whole modules by name."""
    evaluation: EvaluationConfig = LIMITS
    """The limits of the search that the models come from."""


def gather(files: Iterable[Path], *, baseline: Path | None = None, search: Path | None = None, best: int = 1) -> Models:
    """Return models of files and of a search.

    Args:
        files: models; their names are the files' stems.
        baseline: the model that the others are compared with.
        search: run folder of a search on CLRS-30, whose `best` fittest candidates are models, too.

    Raises:
        ConfigError: a file that cannot be read, or two models of one name, one of them of the search, it may be.
        RunFolderError: there is no such search, it is on another task, or none of its candidates is good enough.
    """
    models: dict[str, str] = {}
    for file in files:
        if file.stem in models:
            raise ConfigError(f"{file}: two models are called {file.stem}; rename one")
        models[file.stem] = _source(file)
    if baseline is not None:
        if BASELINE in models:
            raise ConfigError(f"--baseline {baseline}: a model is called {BASELINE} already; rename one")
        models[BASELINE] = _source(baseline)
    if search is None:
        return Models(models)
    found = _best_of_search(search, best)
    if twice := sorted(models.keys() & found.sources.keys()):
        raise ConfigError(f"a file and a candidate of {search} are both called {twice[0]}; rename the file")
    return Models({**models, **found.sources}, found.evaluation)


def programs(models: Mapping[str, str], algorithms: Sequence[str], seeds: int) -> dict[str, str]:
    """Return the sources of all trainings by candidate name, e.g. 'concat_rep-bfs-0'."""
    plain = {model: io.StringIO(source, newline=None).read().rstrip() for model, source in models.items()}
    return {  # with the ends of line that the files of seeds have: a language model may write others
        f"{model}-{algorithm}-{seed}": f'{source}\n\n\nALGORITHM = "{algorithm}"\nREPEAT = {seed}\n'
        for model, source in plain.items()
        for algorithm in algorithms
        for seed in range(seeds)
    }


def create(
    out: Path,
    trainings: Mapping[str, str],
    *,
    overrides: Sequence[str] = (),
    evaluation: EvaluationConfig = LIMITS,
    site: Site | None = None,
) -> Search:
    """Make the run folder of a transfer, or open the one that an earlier call with the same trainings made.

    Args:
        trainings: as `programs` returns them.
        overrides: changes of the config, e.g. 'task_options.steps=1000'.

    Raises:
        RunFolderError: the folder holds something else.
        ConfigError, TaskError: an unknown algorithm or a wrong option; nothing was made.
    """
    run = RunDir(out)
    if creation.exists(run):
        _check_same(run, trainings)
    with tempfile.TemporaryDirectory(prefix="evohpc-transfer-") as folder:
        return Search.create(out, _config(Path(folder), trainings, overrides, evaluation), site=site)


def open_transfer(out: Path) -> Search:
    """Open the run folder of a transfer.

    Raises:
        RunFolderError: it is a search, not a transfer.
    """
    search = Search.open(out)
    if search.config.task != TASK:
        raise RunFolderError(f"{out} is a search on {search.config.task}, and no transfer; take a new folder")
    return search


def read_table(out: Path) -> list[Row]:
    """Return the table of the trainings that are over.

    Raises:
        RunFolderError: this is no transfer, or it has not begun.
    """
    open_transfer(out)
    with Reading(out) as reading:
        return table(reading.store.every())


def table(entries: Iterable[Entry]) -> list[Row]:
    """Return a row for each algorithm and model, from the trainings that are over; the baseline comes first.

    Of models that are the same program one is trained; what it reached is what each of them has.
    """
    entries = list(entries)
    trained = {e.candidate.code_hash: e for e in entries if e.candidate.status is not Status.DUPLICATE}
    groups: dict[tuple[str, bool, str], list[Entry]] = {}
    for entry in entries:
        model, algorithm, _ = entry.candidate.id.removeprefix("seed-").rsplit("-", 2)
        is_alike = entry.candidate.status is Status.DUPLICATE
        of_it = trained[entry.candidate.code_hash] if is_alike else entry
        groups.setdefault((algorithm, model != BASELINE, model), []).append(of_it)
    return [_row(algorithm, model, group) for (algorithm, _, model), group in sorted(groups.items())]


def as_markdown(rows: Sequence[Row]) -> str:
    """Return Table 3 in Markdown."""
    header, *lines = table_3(rows)
    return "\n".join(["| " + " | ".join(line) + " |" for line in (header, ("---",) * len(header), *lines)]) + "\n"


def table_3(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the paper's table: a header, then the best model for each algorithm beside the baseline.

    As in the paper, the scores that are shown also choose the best model, so its score is biased upwards, and more so
    with more models. Without a baseline, the columns of the baseline are missing.
    """
    baselines = {row.algorithm: row for row in rows if row.model == BASELINE}
    others = [row for row in rows if row.model != BASELINE] or list(rows)
    header = ("algorithm", "best model", "its size", "its accuracy, %")
    lines: list[tuple[str, ...]] = [(*header, "baseline size", "baseline accuracy, %") if baselines else header]
    for algorithm in dict.fromkeys(row.algorithm for row in rows):
        best = max((row for row in others if row.algorithm == algorithm), key=_rank)
        beside = _cells(baselines[algorithm]) if baselines else ()
        lines.append((algorithm, best.model, *_cells(best), *beside))
    return lines


def _rank(row: Row) -> float:
    return -1 if row.accuracy is None else row.accuracy  # 0 is that of a training, and better than none


def _source(file: Path) -> str:
    try:
        return read_input_text(file)
    except OSError as error:
        raise ConfigError(f"{file}: cannot read the model: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: the model is not UTF-8 text") from None


def _best_of_search(run: Path, count: int) -> Models:
    with Reading(run) as reading:
        if reading.config.task != TaskName("clrs"):
            raise RunFolderError(f"{run} is a search on {reading.config.task}; models transfer from one on clrs")
        best = reading.best(count)
        if not best:
            raise RunFolderError(f"{run} has no candidate with an error below {reading.error_below:g} yet")
        return Models({entry.candidate.id: entry.candidate.source for entry in best}, reading.config.evaluation)


def _check_same(run: RunDir, trainings: Mapping[str, str]) -> None:
    open_transfer(run.path)
    there = {path.stem: path.read_text(encoding="utf-8") for path in run.seeds.glob("*.py")}
    if there != trainings:
        changed = next((name for name in sorted(there.keys() & trainings.keys()) if there[name] != trainings[name]), "")
        what = f"{changed} is another program there" if changed else "it has other models, algorithms or seeds"
        raise RunFolderError(
            f"{run.path} holds another transfer: {what}; take another folder, or name no model to go on with that one"
        )


def _config(
    folder: Path, trainings: Mapping[str, str], overrides: Sequence[str], evaluation: EvaluationConfig
) -> Config:
    seeds = folder / "seeds"
    seeds.mkdir()
    for name, source in trainings.items():
        (seeds / f"{name}.py").write_text(source, encoding="utf-8")
    limits = {name: max(getattr(evaluation, name), getattr(LIMITS, name)) for name in ("time_limit_s", "memory_mb")}
    document = {
        "task": str(TASK),
        "task_options": {"algorithms": sorted({name.rsplit("-", 2)[1] for name in trainings})},
        "seeds": seeds.name,
        "search": {"rounds": 0, "error_threshold": 1.0},
        "lm": {"engine": "scripted"},
        "evaluation": evaluation.model_copy(update=limits).model_dump(mode="json"),
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_config(path, overrides)


def _row(algorithm: str, model: str, entries: Sequence[Entry]) -> Row:
    scores = [100 * score for score in _scores(algorithm, entries)]
    failed = [entry.candidate for entry in entries if entry.candidate.status not in (Status.TRAINED, Status.PENDING)]
    sizes = [entry.result.num_params for entry in entries if entry.result and entry.result.num_params]
    return Row(
        algorithm,
        model,
        num_params=max(sizes, default=None),
        accuracy=round(statistics.mean(scores), 2) if scores else None,
        standard_error=round(statistics.stdev(scores) / len(scores) ** 0.5, 2) if len(scores) > 1 else None,
        trained=len(scores),
        seeds=len(entries),
        failure=f"{failed[0].status}: {failed[0].detail}" if failed else "",
    )


def _scores(algorithm: str, entries: Iterable[Entry]) -> Iterator[float]:
    """Yield the scores on this algorithm; a program that was trained on another one has none."""
    for entry in entries:
        if entry.result is not None and algorithm in entry.result.metrics:
            yield entry.result.metrics[algorithm]


def _cells(row: Row) -> tuple[str, str]:
    """Return size and accuracy for people, e.g. '497,969' and '93.46 ± 1.77 (2 of 3)'."""
    size = "" if row.num_params is None else f"{row.num_params:,}"
    if row.accuracy is None:
        return size, row.failure.partition(":")[0]
    spread = "" if row.standard_error is None else f" ± {row.standard_error:.2f}"
    missing = "" if row.trained == row.seeds else f" ({row.trained} of {row.seeds})"
    return size, f"{row.accuracy:.2f}{spread}{missing}"
