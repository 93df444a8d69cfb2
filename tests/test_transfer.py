from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import call
from support.paths import SEEDS
from support.searching import finish, make_config

from evohpc import transfer
from evohpc.errors import ConfigError, RunFolderError
from evohpc.messages import Candidate, Result, Status
from evohpc.report.reader import Reading
from evohpc.report.tables import csv_text
from evohpc.search.search import Search
from evohpc.transfer import LIMITS, Row

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")

BASELINE = SEEDS / "clrs" / "v1_standard.py"
OTHER = SEEDS / "clrs_discovered" / "quad_node_min_max.py"
TINY = tuple(
    f"task_options.{option}" for option in ("steps=2", "hidden=8", "samples=2", "eval_every=1", "batch_size=2")
)
ALGORITHMS = ("bfs", "segments_intersect")
ASKED = [str(OTHER), "--baseline", str(BASELINE), "--algorithms", ",".join(ALGORITHMS), "--seeds", "2"]
SET = [argument for option in TINY for argument in ("--set", option)]


def make(out: Path, seeds: int = 2, algorithms: tuple[str, ...] = ALGORITHMS, *overrides: str) -> Search:
    models = transfer.gather([OTHER], baseline=BASELINE)
    trainings = transfer.programs(models.sources, algorithms, seeds)
    return transfer.create(out, trainings, overrides=(*TINY, *overrides), evaluation=models.evaluation)


def outcome(candidate: Candidate, accuracy: float, size: int = 100) -> Result:
    algorithm = candidate.id.rsplit("-", 2)[1]
    metrics = {"test_accuracy": accuracy, algorithm: accuracy}
    return Result(
        candidate.id, 1, Status.TRAINED, num_params=size, error=1 - accuracy, fitness=accuracy - 1, metrics=metrics
    )


def rows(out: Path) -> dict[tuple[str, str], Row]:
    return {(row.algorithm, row.model): row for row in transfer.read_table(out)}


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A transfer of which all is trained but one training, and one has failed."""
    accuracies = iter((0.9, 0.8, 0.7, 0.5, 0.25, 0.3))
    with make(tmp_path / "out", 4, ("bfs",)) as search:
        for candidate in search.ask():
            if candidate.id == "seed-quad_node_min_max-bfs-3":
                continue
            if candidate.id == "seed-quad_node_min_max-bfs-0":
                failed = replace(outcome(candidate, 0), status=Status.TIMEOUT, detail="too slow", metrics={})
                search.tell(replace(failed, error=None, fitness=None, num_params=None))
            else:
                search.tell(outcome(candidate, next(accuracies)))
    return tmp_path / "out"


def test_mean_and_standard_error_over_the_seeds(told: Path) -> None:
    found = rows(told)
    baseline = found["bfs", "baseline"]
    # The mean of 90, 80, 70, 50 is 72.5, their standard deviation 17.078, a half of that 8.54.
    assert (baseline.accuracy, baseline.standard_error, baseline.trained, baseline.seeds) == (72.5, 8.54, 4, 4)
    other = found["bfs", "quad_node_min_max"]
    assert (other.accuracy, other.standard_error, other.trained) == (27.5, 2.5, 2)
    assert other.failure == "timeout: too slow"


def test_table_3_has_the_best_model_beside_the_baseline() -> None:
    def row(algorithm: str, model: str, accuracy: float | None, size: int | None = 1234, error: float = 1.5) -> Row:
        seeds = 0 if accuracy is None else 2
        return Row(algorithm, model, size, accuracy, error, seeds, 2, "" if seeds else "timeout: too slow")

    found = [row("bfs", "baseline", 99), row("bfs", "a", 80), row("bfs", "b", 90, 1000)]
    found += [row("dfs", "baseline", 50), row("dfs", "a", None, None), replace(row("dfs", "b", 60), trained=1)]
    header, *lines = transfer.table_3(found)
    assert header[1:] == ("best model", "its size", "its accuracy, %", "baseline size", "baseline accuracy, %")
    assert lines[0] == ("bfs", "b", "1,000", "90.00 ± 1.50", "1,234", "99.00 ± 1.50")
    assert lines[1][1:4] == ("b", "1,234", "60.00 ± 1.50 (1 of 2)")
    assert transfer.table_3([row("dfs", "a", None, None)])[1] == ("dfs", "a", "", "timeout")
    wrong = transfer.table_3([row("dfs", "a", None), row("dfs", "b", 0)])
    assert wrong[1][1:4] == ("b", "1,234", "0.00 ± 1.50")
    assert transfer.as_markdown(found).splitlines()[2] == f"| {' | '.join(lines[0])} |"
    assert list(csv.DictReader(csv_text(Row, found).splitlines()))[2]["accuracy"] == "90"


def test_models_that_are_one_program_are_trained_once_and_each_has_its_row(tmp_path: Path) -> None:
    copy = tmp_path / "a_copy.py"
    copy.write_text(f"# the fittest of a search, it may be\n{BASELINE.read_text()}")
    models = transfer.gather([OTHER, copy], baseline=BASELINE)
    accuracies = {"seed-quad_node_min_max-bfs-0": 0.5, "seed-quad_node_min_max-bfs-1": 0.6}
    with transfer.create(tmp_path / "out", transfer.programs(models.sources, ("bfs",), 3), overrides=TINY) as search:
        asked = search.ask()
        assert len(asked) == 6
        for candidate in asked:
            if candidate.id.endswith("-2"):  # one of each fails
                failed = replace(outcome(candidate, 0), status=Status.TIMEOUT, detail="too slow", metrics={})
                search.tell(replace(failed, error=None, fitness=None, num_params=None))
            else:
                search.tell(outcome(candidate, accuracies.get(candidate.id, 0.7 + 0.2 * candidate.id.endswith("-1"))))
    found = rows(tmp_path / "out")
    assert found["bfs", "baseline"].accuracy == 80
    assert found["bfs", "baseline"].failure == "timeout: too slow"
    assert replace(found["bfs", "a_copy"], model="baseline") == found["bfs", "baseline"]
    _, (_, best, _, accuracy, _, beside) = transfer.table_3(list(found.values()))
    assert (best, accuracy) == ("a_copy", beside)
    assert beside.startswith("80.00")


def test_of_models_that_are_one_program_none_has_a_score_before_the_first(tmp_path: Path) -> None:
    copy = tmp_path / "a_copy.py"
    copy.write_text(BASELINE.read_text())
    models = transfer.gather([copy], baseline=BASELINE)
    with transfer.create(tmp_path / "out", transfer.programs(models.sources, ("bfs",), 2), overrides=TINY) as search:
        search.ask()
    assert {(row.accuracy, row.trained, row.failure) for row in rows(tmp_path / "out").values()} == {(None, 0, "")}


def test_only_what_was_asked_counts_as_an_answer(tmp_path: Path) -> None:
    with make(tmp_path / "out", 1) as search:
        for candidate in search.ask():
            result = outcome(candidate, 0.5)
            search.tell(replace(result, metrics={"test_accuracy": 1.0, "another": 1.0}))
    assert {row.accuracy for row in rows(tmp_path / "out").values()} == {None}


def test_the_same_call_goes_on_with_what_is_left(told: Path) -> None:
    with make(told, 4, ("bfs",)) as search:
        assert [candidate.id for candidate in search.ask()] == ["seed-quad_node_min_max-bfs-3"]
        search.tell(outcome(search.ask()[0], 1.0))
        assert search.ask() == []
    assert rows(told)["bfs", "quad_node_min_max"].trained == 3
    with Reading(told) as reading:
        assert reading.is_done


def test_a_model_with_other_ends_of_line_goes_on_as_well(tmp_path: Path) -> None:
    source = BASELINE.read_text().replace("\n", "\r\n", 20)
    trainings = transfer.programs({"r001p00s003": source}, ("bfs",), 1)
    for _ in range(2):
        with transfer.create(tmp_path / "out", trainings, overrides=TINY) as search:
            assert search.ask()


def test_a_training_is_the_model_and_what_it_is_trained_on(told: Path) -> None:
    with Reading(told) as reading:
        entry = reading.store.entry("seed-baseline-bfs-3")
    assert entry is not None
    assert entry.candidate.source.startswith(BASELINE.read_text().rstrip())
    assert entry.candidate.source.endswith('\n\n\nALGORITHM = "bfs"\nREPEAT = 3\n')


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": 3}, "holds another transfer: it has other models, algorithms or seeds"),
        ({"algorithms": ("bfs", "dfs")}, "holds another transfer: it has other models"),
    ],
)
def test_a_folder_holds_one_transfer(told: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(RunFolderError, match=said):
        make(told, **{"seeds": 4, "algorithms": ("bfs",), **change})  # type: ignore[arg-type]


def test_a_changed_model_or_option_is_another_transfer(told: Path) -> None:
    models = transfer.gather([OTHER], baseline=BASELINE).sources
    changed = transfer.programs({**models, "baseline": models["baseline"] + "\nx = 1\n"}, ("bfs",), 4)
    with pytest.raises(RunFolderError, match="baseline-bfs-0 is another program there"):
        transfer.create(told, changed, overrides=TINY)
    with pytest.raises(RunFolderError, match="task_options"):
        make(told, 4, ("bfs",), "task_options.steps=3")


def test_models_of_a_search_come_with_its_way_to_evaluate(tmp_path: Path, finished_run: Path) -> None:
    options = "task_options={algorithm: bfs, samples: 2}"
    config = make_config(tmp_path, "task=clrs", f"seeds={BASELINE.parent}", options, "evaluation.threads=2")
    with Search.create(tmp_path / "run", config) as search:
        with pytest.raises(RunFolderError, match="its search has not begun"):
            transfer.gather([], search=tmp_path / "run")
        for candidate in search.ask():
            accuracy = 0.9 if candidate.id == "seed-v3_sum" else 0.8
            search.tell(replace(outcome(candidate, accuracy), metrics={"val_accuracy": accuracy}))
    models = transfer.gather([OTHER], search=tmp_path / "run", best=3)
    assert list(models.sources)[:2] == ["quad_node_min_max", "seed-v3_sum"]
    assert len(models.sources) == 4
    assert models.sources["seed-v3_sum"] == (BASELINE.parent / "v3_sum.py").read_text()
    assert models.evaluation.threads == 2
    own = tmp_path / "seed-v3_sum.py"
    own.write_text(BASELINE.read_text())
    with pytest.raises(ConfigError, match=r"a file and a candidate of .* are both called seed-v3_sum; rename the file"):
        transfer.gather([own], search=tmp_path / "run", best=3)
    with pytest.raises(RunFolderError, match="is a search on mnist1d; models transfer from one on clrs"):
        transfer.gather([], search=finished_run)


def test_a_training_has_the_limits_of_long_ones_at_least(tmp_path: Path) -> None:
    short = LIMITS.model_copy(update={"time_limit_s": 60.0, "memory_mb": 100, "threads": 2})
    trainings = transfer.programs({"m": BASELINE.read_text()}, ("bfs",), 1)
    with transfer.create(tmp_path / "out", trainings, overrides=TINY, evaluation=short) as search:
        evaluation = search.config.evaluation
    assert (evaluation.time_limit_s, evaluation.memory_mb, evaluation.threads) == (86_400, 16_384, 2)


def test_models_must_be_readable_and_have_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.py: cannot read the model: No such file"):
        transfer.gather([tmp_path / "none.py"])
    with pytest.raises(ConfigError, match="two models are called v1_standard; rename one"):
        transfer.gather([BASELINE, BASELINE])
    own = tmp_path / "baseline.py"
    own.write_text("")
    with pytest.raises(ConfigError, match="a model is called baseline already"):
        transfer.gather([own], baseline=BASELINE)


def test_mistakes_on_the_command_line_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], finished_run: Path
) -> None:
    out = tmp_path / "out"
    for arguments, said in (
        (["transfer", out], "is no run folder"),
        (["transfer", finished_run], "is a search on mnist1d, and no transfer"),
        (["transfer", finished_run, OTHER], "is a search on mnist1d, and no transfer"),
        (["transfer", out, OTHER, "--algorithms", "bfs,sort"], "algorithm is 'sort', it must be one of"),
        (["transfer", out, OTHER, "--algorithms", "bfs", "--set", "task_options.stepz=1"], "did you mean steps?"),
        (["transfer", out, OTHER, "--set", "evaluation.threadz=1"], "did you mean evaluation.threads?"),
    ):
        code, _, err = call(capsys, *arguments)
        assert code == 1
        assert said in err
        assert "Traceback" not in err
        assert not (out / "provenance.json").exists()


def test_options_without_models_are_no_request(told: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "transfer", told, "--seeds", 4)
    assert code == 2
    assert "name the models, too" in err
    code, _, err = call(capsys, "transfer", told, "--set", "task_options.steps=3")
    assert code == 1
    assert "task_options is " in err
    code, _, err = call(capsys, "transfer", told, "--submit")
    assert code == 1
    assert "has no site profile yet" in err


def test_the_table_so_far_needs_no_driver(told: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "transfer", told, "--only-table")
    assert code == 0
    assert "72.50 ± 8.54" in out
    assert "table3.csv" in err
    assert len((told / "table3.csv").read_text().splitlines()) == 3


def test_a_run_without_rounds_evaluates_its_seeds_alone(tmp_path: Path) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path, "search.rounds=0")) as search:
        finish(search)
        assert len(search.best()) > 1
    with Reading(tmp_path / "run") as reading:
        assert reading.is_done
        assert {entry.candidate.round for entry in reading.store.every()} == {-1}


def test_where_every_training_failed_the_table_says_how(tmp_path: Path) -> None:
    with make(tmp_path / "out", 1, ("bfs",)) as search:
        for candidate in search.ask():
            search.tell(Result(candidate.id, 1, Status.BUILD_ERROR, "KeyError: 'no'"))
        assert search.ask() == []
    assert {row.failure for row in transfer.read_table(tmp_path / "out")} == {"build_error: KeyError: 'no'"}


INTERRUPTED = """
import os, signal, time
from evohpc import cli
from evohpc.jobs import local

run, begun = local.Worker.run, []

def run_two_and_be_interrupted(worker, task):
    if len(begun) == 2:
        os.kill(os.getpid(), signal.SIGINT)
        while worker.is_alive:
            time.sleep(0.01)
    begun.append(task)
    return run(worker, task)

local.Worker.run = run_two_and_be_interrupted
cli.main()
"""
"""The command line, to which somebody types Ctrl-C when two trainings are over and the third is to begin."""


@pytest.mark.slow
def test_two_models_on_two_algorithms_with_two_seeds_stopped_and_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["transfer", str(out), *ASKED, *SET, "--set", "evaluation.workers=1"]
    first = subprocess.run([sys.executable, "-c", INTERRUPTED, *arguments], capture_output=True, text=True)
    assert first.returncode == 130, first.stderr
    assert f"Go on with: evohpc transfer {out}" in first.stderr
    results = out / "rounds" / "seeds" / "results"
    kept = {path.name: path.read_bytes() for path in results.glob("[!.]*.json")}
    assert len(kept) == 2

    command = [sys.executable, "-m", "evohpc", "transfer", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "± " in done.stdout
    with Reading(out) as reading:
        found = {entry.candidate.id: entry for entry in reading.store.every()}
        attempts = {id: reading.store.results(id) for id in found}
    assert {entry.candidate.status for entry in found.values()} == {Status.TRAINED}
    assert len(found) == 8
    for name, content in kept.items():
        id = name.rsplit(".", 2)[0]
        told = json.loads(content)["payload"]["finished_at"]
        assert attempts[id][0].finished_at == told
    table = rows(out)
    assert [(row.trained, row.standard_error is not None) for row in table.values()] == [(2, True)] * 4
    assert table["bfs", "baseline"].num_params == 3043
    assert (out / "table3.md").read_text().count("\n") == 4
