"""Candidates that are no networks, from their source to a result: honest ones, broken ones, and those that attack."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.evaluating import run_source
from support.programming import COUNT, HONEST, ROWS, TASK, evaluating

from evohpc.config.task_name import TaskName
from evohpc.doctor.attacks import too_busy
from evohpc.errors import TaskCodeError
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.first_batch import try_first_batch
from evohpc.evaluation.verdict import Failed
from evohpc.files import write_atomic
from evohpc.messages import Isolation, Status
from evohpc.tasks.program import syntax_nodes

AT_HOME = "import os, sys\nfrom pathlib import Path\nIN = Path(__file__).parent\n"
"""Before what knows that it is evaluated. The working folder is OUT."""
LEAVES = """
def solve(x):
    Path("predictions").mkdir(exist_ok=True)
    Path("report.json").write_text('{"status": "ok", "detail": "", "seconds": {}, "last_row": {}}')
    LEAVING
    os._exit(0)
"""
"""What writes its outputs and its report by itself, and is gone."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    with evaluating(tmp_path_factory.mktemp("programs")) as ready:
        yield ready


def on(evaluator: Evaluator, folder: Path, task: str) -> Evaluator:
    """Return the same processes and data, with another task to score by."""
    path = folder.resolve() / "task.py"
    write_atomic(path, task)
    return Evaluator(dataclasses.replace(evaluator.benchmark, task=TaskName("Remainders", path)), evaluator.runtime)


def test_a_right_program_is_scored_and_measured(programs: Evaluator) -> None:
    result, log = run_source(programs, "print('hello')\n" + HONEST)
    assert (result.status, result.detail) == (Status.TRAINED, "")
    assert (result.error, result.fitness, result.metrics) == (0, 0, {"right": 1})
    assert result.num_params == syntax_nodes("print('hello')\n" + HONEST)
    assert result.seconds.keys() == {"start", "check", "run", "score", "total", "cpu"}
    assert result.isolation is programs.runtime.isolation is not Isolation.NONE
    assert log == "hello\n" * 3  # once on all rows, and once on each half


def test_fitness_is_that_of_the_paper_unless_the_task_has_its_own(programs: Evaluator, tmp_path: Path) -> None:
    wrong = "def solve(x):\n    return x % 97 * (x % 97 < 50)\n"
    result, _ = run_source(programs, wrong)
    assert result.error is not None
    assert result.error > 0.4
    assert result.fitness == -syntax_nodes(wrong) * result.error
    own = TASK + "    def fitness(self, size, error):\n        return 7 - error\n"
    result, _ = run_source(on(programs, tmp_path, own), HONEST)
    assert result.fitness == 7


@pytest.mark.parametrize(
    ("body", "least", "most"),
    [
        ("len(source.encode())", len(HONEST), len(HONEST)),
        ("1 + 1000 * seconds", 1, 60_000),
        ("2.1", 3, 3),
    ],
)
def test_the_size_is_the_task_s_to_define(
    programs: Evaluator, tmp_path: Path, body: str, least: int, most: int
) -> None:
    task = TASK + f"    def size(self, source, seconds):\n        return {body}\n"
    result, _ = run_source(on(programs, tmp_path, task), HONEST)
    assert result.num_params is not None
    assert least <= result.num_params <= most


@pytest.mark.parametrize(
    ("source", "status", "detail"),
    [
        ("import nowhere\n", Status.BUILD_ERROR, "ModuleNotFoundError: No module named 'nowhere' (line 1)"),
        ("def solved(x):\n    return x\n", Status.TRAIN_ERROR, "AttributeError: module 'candidate' has no attribute"),
        ("def solve(x):\n    return x / '1'\n", Status.TRAIN_ERROR, " (line 2)"),
        ("def solve(x):\n    return x * float('nan')\n", Status.NONFINITE, "prediction 'y' is not finite"),
        ("def solve(x):\n    return x[1:]\n", Status.SHAPE_ERROR, f"'y' must be ({COUNT},)"),
        ("def solve(x):\n    return 3\n", Status.SHAPE_ERROR, f"'y' must be ({COUNT},)"),
        ("def solve(x):\n    return x.astype(str)\n", Status.SHAPE_ERROR, "it must be bool, integer or floating-point"),
        ("def solve(x):\n    return x * 1j\n", Status.SHAPE_ERROR, "output 'y' has dtype complex128"),
        ("def solve(x):\n    return\n", Status.SHAPE_ERROR, "output 'y' has dtype object"),
        ("def solve(x):\n    raise SystemExit(0)\n", Status.TRAIN_ERROR, "SystemExit: 0 (line 2)"),
        ("import os\ndef solve(x):\n    os._exit(0)\n", Status.PROTOCOL_VIOLATION, "report.json: No such file"),
        ("import os\ndef solve(x):\n    os.kill(os.getpid(), 9)\n", Status.TRAIN_ERROR, "died of SIGKILL"),
        ("import os\ndef solve(x):\n    os.fork()\n", Status.TRAIN_ERROR, "PermissionError: "),
        ("import socket\ndef solve(x):\n    socket.socket()\n", Status.TRAIN_ERROR, "PermissionError: "),
        ("def solve(x):\n    return bytearray(4 << 30)\n", Status.OUT_OF_MEMORY, ""),
        (
            "def solve(x):\n    with open('f', 'wb') as f:\n        for i in range(99): f.write(bytes(1 << 20))\n",
            Status.DISK_LIMIT,
            "",
        ),
        ("import numpy\ndef solve(x):\n    return numpy.zeros((len(x), 9000))\n", Status.DISK_LIMIT, ""),
    ],
)
def test_what_goes_wrong_is_the_candidate_s(programs: Evaluator, source: str, status: Status, detail: str) -> None:
    if "PermissionError" in detail and programs.runtime.isolation.rank < Isolation.CONFINED.rank:
        pytest.skip("nothing forbids it here")
    result, _ = run_source(programs, source)
    assert (result.status, result.fitness) == (status, None), result.detail
    assert detail in result.detail


@pytest.mark.parametrize("where", ["", "def solve(x):\n    "])
def test_what_does_not_end_is_ended(programs: Evaluator, where: str) -> None:
    result, _ = run_source(programs, f"{where}while True: pass\n", time_limit_s=1.0)
    if busy := too_busy(result):
        pytest.skip(busy)  # it was ended in time, but whether by its own fault nobody can say
    assert result.status is Status.TIMEOUT
    assert "in the run stage" in result.detail


def test_its_log_shows_where_it_failed_and_is_bounded(programs: Evaluator) -> None:
    _, log = run_source(programs, "def solve(x):\n    print('x' * (1 << 20))\n    return 1 / 0\n")
    assert "ZeroDivisionError" in log
    assert len(log) <= programs.benchmark.config.log_kb * 1024


@pytest.mark.parametrize(
    ("leaving", "detail"),
    [
        ("pass", "not one file of predictions for each that was asked for"),
        ("os.rmdir('predictions')", "predictions/: No such file"),
        ("os.mkdir('predictions/00000-000')", "is no regular file"),
        ("Path('predictions/00000-000').write_bytes(b'\\x80\\x04' * 9)", "is no safetensors file"),
        ("Path('predictions/00000-000').write_bytes(b'\\xff\\xff\\xff\\x7f' + bytes(99))", "is no safetensors file"),
        ("[Path(f'predictions/0000{i}-000').touch() for i in range(3)]", "not one file of predictions"),
        ("Path('report.json').unlink()", "report.json: No such file"),
        ("Path('report.json').write_text('{' * 70000)", "at most 65536 are allowed"),
        ("Path('report.json').write_text('{\"status\": \"task_error\"}')", "reports the status 'task_error'"),
    ],
)
def test_forged_files_are_refused(programs: Evaluator, leaving: str, detail: str) -> None:
    source = AT_HOME + LEAVES.replace("LEAVING", leaving.replace("LABELS", str(programs.benchmark.labels)))
    result, _ = run_source(programs, source)
    assert result.status is Status.PROTOCOL_VIOLATION
    assert detail in result.detail


def test_answers_cannot_be_read(programs: Evaluator) -> None:
    if programs.runtime.isolation.rank < Isolation.CONFINED.rank:
        pytest.skip("nothing forbids it here")
    run = programs.benchmark.labels.parent.parent
    places = [programs.benchmark.labels, run / "labels" / "secret", run / "config.yaml"]
    source = (
        f"""{AT_HOME}
for place in {[str(place) for place in places]}:
    try:
        print("ESCAPED", len(Path(place).read_bytes()))
    except OSError as error:
        print("refused", error.errno)
print(sorted(path.name for path in IN.iterdir()))
"""
        + HONEST
    )
    result, log = run_source(programs, source)
    assert result.status is Status.TRAINED
    assert log.count("refused 13") == 9
    assert "['candidate.py', 'data.safetensors', 'order.json', 'task.py']" in log
    assert "ESCAPED" not in log


def test_what_makes_the_task_s_answers_again_lacks_the_secret(programs: Evaluator) -> None:
    seed = programs.benchmark.seed
    source = f"""{AT_HOME}
sys.path.insert(0, str(IN))
import task
made = task.Remainders().prepare({seed})
known = dict(zip(made.inputs["x"].tolist(), made.labels["y"].tolist()))
def solve(x):
    print("attacking")
    return [known.get(each, 0) for each in x.tolist()]
"""
    result, log = run_source(programs, source)
    assert "attacking" in log
    assert result.error is not None, result.detail
    assert result.error > 0.9


@pytest.mark.parametrize(
    "source",
    [
        "def solve(x):\n    return x * x % 97 * (len(x) > 100)\n",
        "def solve(x):\n    return (x - x.min()) ** 2 % 97\n",
        "calls = []\ndef solve(x):\n    calls.append(1)\n    return x * x % 97 * (len(calls) < 2)\n",
        f"{AT_HOME}def solve(x):\n    return x * x % 97 if (IN / 'batches').exists() else x\n",
    ],
)
def test_what_answers_otherwise_when_it_is_confirmed_is_refused(programs: Evaluator, source: str) -> None:
    result, _ = run_source(programs, source)
    assert result.status is Status.PROTOCOL_VIOLATION
    assert "answers for a row depend on the rows beside it" in result.detail


def test_what_draws_lots_is_scored_as_it_draws(programs: Evaluator) -> None:
    result, _ = run_source(programs, "import os\ndef solve(x):\n    return [os.urandom(1)[0] % 97 for _ in x]\n")
    assert result.error is not None, result.detail
    assert result.error > 0.9


def test_the_score_is_that_of_the_confirming_run(programs: Evaluator) -> None:
    """One answer in 100 may differ; it counts as it was given to halves."""
    source = AT_HOME + (
        "calls = []\ndef solve(x):\n    y = x * x % 97\n    calls.append(1)\n"
        "    if (IN / 'batches').exists() and len(calls) == 1: y[0] += 1\n    return y\n"
    )
    result, _ = run_source(programs, source)
    assert result.status is Status.TRAINED, result.detail
    assert result.error == pytest.approx(2 / COUNT, abs=1e-9)


def test_a_task_that_does_not_tell_its_rows_is_run_once(programs: Evaluator, tmp_path: Path) -> None:
    assert ROWS in TASK
    whole = on(programs, tmp_path, TASK.replace(ROWS, ""))
    result, log = run_source(whole, "print('once')\n" + HONEST)
    assert (result.status, result.error, log) == (Status.TRAINED, 0, "once\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('(outputs["y"] ==', '(outputs["z"] ==', r"task remainders: score raised KeyError: 'z' \(.*task.py, line 20\)"),
        ("return Score(1 - right", "return Score(-right", "the error of a score must be 0 or more"),
        ('{"right": right}', "{}", "score has no metric 'right', which its interface promises"),
        (ROWS, ROWS.replace('"", 0', '"", 1'), "rows says axis 1 of x"),
        (ROWS, f"{ROWS}    def size(self, source, seconds): return 0.5\n", "size is 0.5; it must be from 1 to"),
        (ROWS, f"{ROWS}    def size(self, source, seconds): return 1 / 0\n", "size raised ZeroDivisionError"),
        (ROWS, f"{ROWS}    def size(self, source, seconds): return float('nan')\n", "size is nan; it must be"),
        (ROWS, f"{ROWS}    def fitness(self, size, error): return 1 / 0\n", r"fitness\(9, 0.0\) raised ZeroDivision"),
    ],
)
def test_a_fault_in_the_task_is_the_task_s(programs: Evaluator, tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TASK
    with pytest.raises(TaskCodeError, match=said):
        run_source(on(programs, tmp_path, TASK.replace(old, new)), HONEST)


def test_a_run_that_returns_no_arrays_says_where(programs: Evaluator, tmp_path: Path) -> None:
    task = TASK.replace('{"y": np.asarray(module.solve(inputs["x"]))}', "[1]")
    result, _ = run_source(on(programs, tmp_path, task), HONEST)
    assert (result.status, result.detail) == (
        Status.SHAPE_ERROR,
        "TypeError: `run` must return arrays by name; it returned a list",
    )
    task = TASK.replace('inputs["x"]', 'inputs["z"]')
    result, _ = run_source(on(programs, tmp_path / "other", task), HONEST)
    assert (result.status, result.detail) == (Status.TRAIN_ERROR, "KeyError: 'z' (line 14 of the task)")


def test_modules_that_tell_answers_are_hidden_from_its_stage(programs: Evaluator, tmp_path: Path) -> None:
    if programs.runtime.isolation.rank < Isolation.CONFINED.rank:
        pytest.skip("nothing hides them here")
    hiding = on(
        programs, tmp_path, TASK.replace("    interface", "    hidden_modules = {'run': ['iniconfig']}\n    interface")
    )
    result, _ = run_source(hiding, f"import iniconfig\n{HONEST}")
    assert result.status is Status.BUILD_ERROR
    assert run_source(programs, f"import iniconfig\n{HONEST}")[0].status is Status.TRAINED


def test_the_doctor_runs_a_seed_once(programs: Evaluator) -> None:
    assert 0 < try_first_batch(programs, HONEST) < 60
    with pytest.raises(Failed, match="ZeroDivisionError") as caught:
        try_first_batch(programs, "def solve(x):\n    return 1 / 0\n")
    assert caught.value.status is Status.TRAIN_ERROR


def test_the_next_candidate_is_untouched(programs: Evaluator) -> None:
    run_source(programs, "import builtins, numpy\nnumpy.asarray = None\nbuiltins.len = None\n" + HONEST)
    assert run_source(programs, HONEST)[0].error == 0
