"""From what stages left to a verdict."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from evohpc import envelopes
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.task_name import TaskName
from evohpc.errors import TaskCodeError
from evohpc.evaluation import verdict
from evohpc.evaluation.stage.protocol import Report
from evohpc.evaluation.verdict import Failed
from evohpc.messages import Status, TaskInterface
from evohpc.sandbox.base import Ending, Outcome, Processor
from evohpc.tasks.base import Score, load_task

CONFIG = EvaluationConfig(time_limit_s=7, memory_mb=11, disk_mb=1, max_params=100)


def outcome(ending: Ending, code: int = 0) -> Outcome:
    return Outcome(ending, code, 1.0, 0, b"")


class Told:
    """A task whose methods return what they are told."""

    interface = TaskInterface("toy", "Model", "class Model:", "", (), "accuracy")

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def score(self, predictions: Any, labels: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    fitness = score


def told(answer: Any) -> Any:
    return Told(answer)


@pytest.mark.parametrize(
    ("cpu_s", "waited_s", "threads", "status"),
    [
        (6.9, 0.1, 1, Status.TIMEOUT),
        (0.1, 0.2, 1, Status.TIMEOUT),
        (3.0, 4.0, 1, Status.TIMEOUT),
        (2.0, 5.0, 1, Status.LOST),
        (6.0, 40.0, 1, Status.TIMEOUT),
        (6.0, 40.0, 4, Status.LOST),
    ],
    ids=["slow", "asleep", "half", "starved", "more threads than its own", "starved on four"],
)
def test_who_runs_out_of_time_because_others_had_the_processor_is_not_to_blame(
    cpu_s: float, waited_s: float, threads: int, status: Status
) -> None:
    config = CONFIG.model_copy(update={"threads": threads})
    with pytest.raises(Failed) as failed:
        verdict.check_ending("train", outcome(Ending.TIMEOUT), config, Processor(cpu_s, waited_s), 7.0)
    assert failed.value.status is status
    assert failed.value.detail.startswith("not done after evaluation.time_limit_s = 7")
    limit = outcome(Ending.SIGNALLED, -signal.SIGXCPU)
    with pytest.raises(Failed) as spent:
        verdict.check_ending("train", limit, config, Processor(cpu_s, waited_s), 7.0)
    assert spent.value.status is Status.TIMEOUT


@pytest.mark.parametrize(
    ("ending", "code", "status", "detail"),
    [
        (Ending.TIMEOUT, 0, Status.TIMEOUT, "not done after evaluation.time_limit_s = 7, in the train stage"),
        (Ending.SIGNALLED, -signal.SIGXCPU, Status.TIMEOUT, "not done after"),
        (Ending.OUT_OF_MEMORY, 0, Status.OUT_OF_MEMORY, "over evaluation.memory_mb = 11"),
        (Ending.DISK_LIMIT, 0, Status.DISK_LIMIT, "over evaluation.disk_mb = 1"),
        (Ending.PROCESS_LIMIT, 0, Status.PROTOCOL_VIOLATION, "too many processes"),
        (Ending.SIGNALLED, -signal.SIGSEGV, Status.TRAIN_ERROR, "died of SIGSEGV"),
        (Ending.SIGNALLED, -60, Status.TRAIN_ERROR, "died of signal 60"),
    ],
)
def test_every_bad_ending_has_its_status(ending: Ending, code: int, status: Status, detail: str) -> None:
    with pytest.raises(Failed) as caught:
        verdict.check_ending("train", outcome(ending, code), CONFIG)
    assert caught.value.status is status
    assert detail in caught.value.detail


def test_an_exit_is_no_failure_yet() -> None:
    verdict.check_ending("train", outcome(Ending.EXITED, 1), CONFIG)


@pytest.mark.parametrize("status", ["trained", "lost", "preempted", "task_error", "screened", "pending", "nonsense"])
def test_a_report_cannot_claim_what_is_not_its_to_claim(tmp_path: Path, status: str) -> None:
    (tmp_path / "report.json").write_text(envelopes.encode(Report(status)))
    with pytest.raises(Failed, match=f"reports the status '{status}'") as caught:
        verdict.check_report("train", tmp_path)
    assert caught.value.status is Status.PROTOCOL_VIOLATION


def test_a_report_may_confess(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(envelopes.encode(Report("shape_error", "RuntimeError:\n\x1b[31m bad")))
    with pytest.raises(Failed) as caught:
        verdict.check_report("train", tmp_path)
    assert caught.value.status is Status.SHAPE_ERROR
    assert caught.value.detail == "RuntimeError: \\u001b[31m bad"


def test_a_curve_has_few_values_under_names_that_can_be_printed(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(envelopes.encode(Report("ok", last_row={"\x1b[31m" + "x" * 90: 1.0, "a\nb": 2.0})))
    assert verdict.check_report("train", tmp_path).last_row == {"\\u001b[31m" + "x" * 50: 1.0, "a b": 2.0}
    path.write_text(envelopes.encode(Report("ok", last_row={str(number): 0.0 for number in range(101)})))
    with pytest.raises(Failed, match="reports 101 values of its curve, at most 100 are kept"):
        verdict.check_report("train", tmp_path)


def test_one_line_is_short_and_printable() -> None:
    line = verdict.one_line("a\u202eb\x00\n" * 1000)
    assert len(line) <= 300
    assert line.isprintable()
    assert line.isascii()


def test_a_log_keeps_its_lines_and_loses_its_escapes() -> None:
    assert verdict.printable(b"one\n\x1b[2Jtwo\xff\ttab") == "one\n\ufffd[2Jtwo\ufffd\ttab".encode()


def test_only_the_numbers_of_checkpoints_are_kept(tmp_path: Path) -> None:
    weights = tmp_path / "left"
    weights.mkdir()
    for name in ("b.any name", "a"):
        np.arange(30, dtype=np.int32).tofile(weights / name)
        os.utime(weights / name, (1, 2))
        os.chmod(weights / name, 0o400)
    size, files = verdict.take_checkpoints(weights, tmp_path / "own", CONFIG)
    assert size == 30
    assert [path.name for path in files] == ["00000", "00001"]
    assert [path.read_bytes() for path in files] == [np.arange(30, dtype=np.int32).tobytes()] * 2
    assert all(path.stat().st_mtime > 2 and path.stat().st_mode & 0o600 == 0o600 for path in files)


@pytest.mark.parametrize(
    ("lengths", "detail"),
    [
        ([], "left no weights"),
        ([0], "the weights hold no number"),
        ([404], r"the weights hold 101 numbers, evaluation\.max_params is 100"),
        ([39], "differ in size"),
        ([40, 44], "differ in size"),
    ],
)
def test_checkpoints_that_no_model_leaves_are_refused(tmp_path: Path, lengths: list[int], detail: str) -> None:
    weights = tmp_path / "left"
    weights.mkdir()
    for number, length in enumerate(lengths):
        (weights / str(number)).write_bytes(bytes(length))
    with pytest.raises(Failed, match=detail) as caught:
        verdict.take_checkpoints(weights, tmp_path / "own", CONFIG)
    assert caught.value.status is Status.PROTOCOL_VIOLATION


def test_predictions_must_match_the_checkpoints(tmp_path: Path) -> None:
    save_file({"p": np.zeros(3)}, tmp_path / "00000.safetensors")
    (predictions,) = verdict.read_predictions(tmp_path, ["00000.safetensors"], CONFIG)
    assert predictions["p"].tolist() == [0, 0, 0]
    with pytest.raises(Failed, match="not one file of predictions for each that was asked for"):
        verdict.read_predictions(tmp_path, ["00000.safetensors", "00001.safetensors"], CONFIG)
    save_file({"p": np.array([np.nan])}, tmp_path / "00000.safetensors")
    with pytest.raises(Failed, match="not finite") as caught:
        verdict.read_predictions(tmp_path, ["00000.safetensors"], CONFIG)
    assert caught.value.status is Status.NONFINITE


def test_a_wrong_shape_is_the_candidate_s() -> None:
    with pytest.raises(Failed, match="must be") as caught:
        verdict.score(told(ValueError("must be (3,)")), [], {})
    assert caught.value.status is Status.SHAPE_ERROR


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (KeyError("y"), "task toy: score raised KeyError"),
        (Score(-0.5, {"accuracy": 1}), "the error of a score must be 0 or more; it is Score"),
        (Score(0.5, {"loss": 1}), "has no metric 'accuracy'"),
        (Score(0.5, {"accuracy": 1}, checkpoint=1), "score chose checkpoint 1 of 0"),
        (None, "must return a Score of numbers; it is None"),
        (Score(0.5, {"accuracy": 1}, curve=[0.9, 0.5]), "must return a Score of numbers"),  # type: ignore[arg-type]
        (Score(0.5, {"accuracy": 1}, curve={"first": 0.9}), "must return a Score of numbers"),  # type: ignore[dict-item]
        (Score("little", {"accuracy": 1}), "must return a Score of numbers; it is Score"),  # type: ignore[arg-type]
    ],
)
def test_a_broken_score_is_the_task_s(answer: object, message: str) -> None:
    with pytest.raises(TaskCodeError, match=message):
        verdict.score(told(answer), [], {})


def test_an_error_may_be_large() -> None:
    assert verdict.score(told(Score(1e6, {"accuracy": -3e9})), [], {}).error == 1e6


def test_a_score_that_is_no_number_is_the_candidate_s_end() -> None:
    for score in (Score(math.nan, {"accuracy": 1.0}), Score(0.5, {"accuracy": math.inf})):
        with pytest.raises(Failed, match=r"(error is nan|accuracy is inf)") as caught:
            verdict.check_finite(verdict.score(told(score), [], {}), {})
        assert caught.value.status is Status.NONFINITE


def test_a_fault_of_the_task_says_where(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from evohpc import TaskInterface\n"
        "class Mine:\n"
        "    interface = TaskInterface('mine', 'Model', 'class Model:', '', (), 'accuracy')\n"
        "    def score(self, predictions, labels):\n"
        "        return labels['z']\n"
        "    def prepare(self, *arguments): ...\n"
        "    build = train = predict = fitness = prepare\n"
    )
    task = load_task(TaskName("Mine", tmp_path / "mine.py"), {})
    with pytest.raises(TaskCodeError, match=rf"score raised KeyError: 'z' \({tmp_path}/mine.py, line 5\)"):
        verdict.score(task, [], {"y": np.zeros(1)})


def test_a_score_may_hold_numbers_of_numpy() -> None:
    number: Any = np.float32(0.25)
    found = verdict.score(told(Score(number, {"accuracy": number})), [], {})
    assert [type(value) for value in (found.error, found.metrics["accuracy"])] == [float, float]


@pytest.mark.parametrize("answer", [ZeroDivisionError(), "text", float("-inf")])
def test_a_broken_fitness_is_the_task_s(answer: object) -> None:
    with pytest.raises(TaskCodeError, match=r"task toy: fitness\(5, 0\.5\)"):
        verdict.fitness(told(answer), 5, 0.5)


def test_the_number_of_checkpoints_is_the_recipe_s(tmp_path: Path) -> None:
    weights = tmp_path / "left"
    weights.mkdir()
    for number in range(3):
        (weights / str(number)).write_bytes(bytes(40))
    with pytest.raises(Failed, match="left 3 checkpoints, the task's training keeps 2") as caught:
        verdict.take_checkpoints(weights, tmp_path / "own", CONFIG, expected=2)
    assert caught.value.status is Status.PROTOCOL_VIOLATION
