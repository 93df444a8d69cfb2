"""A run's data: made once, labels private, errors as one line."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from support.cluster.daemons import lives
from support.evaluating import CONFIG
from support.paths import MNIST1D_SEEDS as SEEDS

from evohpc.config.search import load_config
from evohpc.errors import StorageError, TaskError
from evohpc.files import write_atomic
from evohpc.run_folder import RunDir
from evohpc.tasks import data
from evohpc.tasks import prepare as in_process
from evohpc.tasks.data import draw_secret, is_whole, prepare, secret_digest

TASK = """
import numpy as np
from evohpc.messages import TaskInterface
from evohpc.tasks.base import Score, Splits

class Tiny:
    interface = TaskInterface("tiny", "Model", "class Model:", "", ("math",), "accuracy")
    def __init__(self, size=3): self.size = size
    def prepare(self, seed): return Splits({"x": np.ones(self.size)}, {"x": np.zeros(2)}, {"y": np.arange(seed)})
    def build(self, module): ...
    def train(self, model, data, seed): ...
    def predict(self, model, inputs): ...
    def score(self, predictions, labels): ...
    def fitness(self, num_params, error): ...
"""
REFUSING = "    def check_search(self): raise {}\n"


class Here:
    """Does in this process what `data` asks subprocess for: a Python for each would take half a second."""

    DEVNULL = subprocess.DEVNULL

    @staticmethod
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        first, parent = command.index("evohpc.tasks.prepare"), command.index("--parent")
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
            patch.setattr(sys, "argv", command[first:parent])  # without the parent: this process must not end with it
            code = in_process.main()
        return subprocess.CompletedProcess(command, code, "", said.getvalue())


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have data made in this process."""
    monkeypatch.setattr(data, "subprocess", Here)


def run_with(path: Path, task: str, options: str = "{}", source: str = TASK) -> RunDir:
    run = RunDir(path / "run")
    given = path / "given.yaml"
    document = CONFIG.replace("SEEDS", str(SEEDS)).replace("task: mnist1d", f"task: {task}")
    write_atomic(given, document.replace("{steps: 20, eval_every: 10}", options))
    write_atomic(run.config, load_config(given, ["search.seed=5"]).dump())
    write_atomic(run.task_file, source)
    return run


def test_data_is_made_from_the_run_s_own_copy_of_the_task(tmp_path: Path) -> None:
    run = run_with(tmp_path, "gone/elsewhere.py:Tiny", "{size: 4}")
    interface = prepare(run)
    assert interface.name == "tiny"
    assert load_file(run.train)["x"].shape == (4,)
    assert load_file(run.inputs)["x"].tolist() == [0, 0]
    assert load_file(run.labels)["y"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("here")
def test_arrays_of_another_byte_order_keep_their_values(tmp_path: Path) -> None:
    task = TASK.replace("np.arange(seed)", "np.arange(seed).astype('>f4')").replace("np.zeros(2)", "np.ones(2, '>i8')")
    run = run_with(tmp_path, "elsewhere.py:Tiny", source=task)
    prepare(run)
    assert load_file(run.labels)["y"].tolist() == [0, 1, 2, 3, 4]
    assert load_file(run.inputs)["x"].tolist() == [1, 1]


@pytest.mark.usefixtures("here")
def test_a_number_stays_one_without_axes(tmp_path: Path) -> None:
    run = run_with(tmp_path, "task.py:Tiny", source=TASK.replace("np.ones(self.size)", "np.array(self.size)"))
    prepare(run)
    assert load_file(run.train)["x"].shape == ()


@pytest.mark.usefixtures("here")
def test_labels_are_private(tmp_path: Path) -> None:
    run = run_with(tmp_path, "task.py:Tiny")
    prepare(run)
    assert stat.S_IMODE(run.labels.stat().st_mode) == 0o600
    assert stat.S_IMODE(run.labels.parent.stat().st_mode) == 0o700


def test_preparing_again_changes_nothing(tmp_path: Path) -> None:
    run = run_with(tmp_path, "task.py:Tiny")
    prepare(run)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    prepare(run)
    subprocess.run([sys.executable, "-m", "evohpc.tasks.prepare", str(run.path)], check=True)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == before


def test_ctrl_c_ends_it_and_who_waits_for_it(tmp_path: Path) -> None:
    run = run_with(tmp_path, "task.py:Tiny", source="import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    with pytest.raises(KeyboardInterrupt):
        prepare(run)


@pytest.mark.usefixtures("here")
def test_what_a_purge_took_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = run_with(tmp_path, "task.py:Tiny")
    interface = prepare(run)
    made = {path: path.read_bytes() for path in (run.train, run.inputs, run.labels)}
    run.train.unlink()
    run.inputs.write_bytes(made[run.inputs][:-1])
    assert [is_whole(path) for path in made] == [False, False, True]
    assert prepare(run) == interface
    assert {path: path.read_bytes() for path in made} == made
    assert f"{run.train} is missing or not whole; the task makes its data anew" in caplog.text


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["task_interface", "labels"])
def test_what_cannot_be_read_now_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A task that has changed since would have later candidates measured on other data than earlier ones."""
    run = run_with(tmp_path, "task.py:Tiny")
    interface = prepare(run)
    inodes = [path.stat().st_ino for path in (run.task_interface, run.train, run.labels)]

    def stale(path: Path, *args: Any, **kwargs: Any) -> Any:
        if Path(path) == getattr(run, name):
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *args, **kwargs)

    real = io.open
    monkeypatch.setattr(io, "open", stale)
    monkeypatch.setattr(data, "open", stale, raising=False)
    with pytest.raises(StorageError, match="Stale file handle; try again"):
        prepare(run)
    monkeypatch.undo()
    assert prepare(run) == interface
    assert [path.stat().st_ino for path in (run.task_interface, run.train, run.labels)] == inodes


SECRETIVE = TASK.replace("(self, seed): return Splits(", "(self, seed, secret): return Splits(").replace(
    "np.arange(seed)", "np.array([secret >> 64, secret & (1 << 64) - 1], np.uint64)"
)


@pytest.mark.usefixtures("here")
def test_the_secret_of_a_run_reaches_its_task_and_nobody_else(tmp_path: Path) -> None:
    run = run_with(tmp_path, "task.py:Tiny", source=SECRETIVE)
    draw_secret(run)
    prepare(run)
    high, low = (int(number) for number in load_file(run.labels)["y"])
    assert f"{high << 64 | low:032x}\n" == run.secret.read_text()
    assert stat.S_IMODE(run.secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(run.secret.parent.stat().st_mode) == 0o700


@pytest.mark.usefixtures("here")
def test_a_run_made_before_there_were_secrets_has_none(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, "task.py:Tiny", source=SECRETIVE.replace("np.array(", "np.array([secret is None]) if 1 else (")
    )
    write_atomic(run.provenance, '{"run_id": "old-1"}')
    prepare(run)
    assert load_file(run.labels)["y"].tolist() == [True]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("00\n")], ids=["gone", "altered"])
def test_data_is_not_made_again_from_another_secret(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    run = run_with(tmp_path, "task.py:Tiny", source=SECRETIVE)
    draw_secret(run)
    write_atomic(run.provenance, json.dumps({"run_id": "r", "secret_sha256": secret_digest(run)}))
    prepare(run)
    spoil(run.secret)
    prepare(run)
    run.labels.unlink()
    with pytest.raises(TaskError, match=f"{run.secret} is missing or altered; put it back from a backup"):
        prepare(run)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]", b"\x01" + bytes(7) + b"{"])
def test_what_is_no_safetensors_file_is_not_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not is_whole(tmp_path / "x")


DRIVER = """
import sys
from pathlib import Path
from evohpc import run_folder
from evohpc.tasks import data
data.prepare(run_folder.RunDir(Path(sys.argv[1])))
"""


def test_it_ends_with_its_driver_however_that_ends(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    begin = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(600)"
    run = run_with(tmp_path, "task.py:Tiny", source=f"{begin}\n{TASK}")
    with subprocess.Popen([sys.executable, "-c", DRIVER, run.path]) as driver:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.01)
        driver.kill()
    while lives(int(pid.read_text())):
        time.sleep(0.01)


def test_without_its_driver_it_does_not_begin(tmp_path: Path) -> None:
    run = run_with(tmp_path, "task.py:Tiny")
    with subprocess.Popen(["true"]) as driver:
        pass
    command: list[str | Path] = [sys.executable, "-m", "evohpc.tasks.prepare", run.path, "--parent", str(driver.pid)]
    assert subprocess.run(command).returncode == 1
    assert not run.data.exists()


@pytest.mark.parametrize(
    ("task", "options", "source", "message"),
    [
        ("mnist2d", "{}", TASK, "unknown task 'mnist2d'; did you mean mnist1d? write one of mnist1d"),
        (
            "mnist1d",
            "{stepz: 3}",
            TASK,
            "task_options: there is no stepz; did you mean steps? its options: steps, batch",
        ),
        (
            "mnist1d",
            "{steps: 12.5}",
            TASK,
            "steps: input should be a valid integer, got a number",
        ),
        ("mnist1d", "{weight_decay: -1}", TASK, "weight_decay is -1.0, it must be 0 or above"),
        ("mnist1d", "{device: gpu}", TASK, "device is 'gpu', it must be 'cpu', 'cuda', 'cuda:1'"),
        ("mnist1d", "{steps: 0}", TASK, "steps is 0, it must be above 0"),
        ("t.py:Tinny", "{}", TASK, "/given/t.py has no class Tinny; its classes: Tiny"),
        ("t.py:Tiny", "{sice: 3}", TASK, "there is no sice; did you mean size? its options: size"),
        ("t.py:Tiny", "{}", TASK.replace("size=3", "size, **more"), "missing 1 required positional argument: 'size'"),
        ("t.py:Tiny", "{}", "def broken(:", "line 1: "),
        ("t.py:Tiny", "{}", "\nimport nothing_of_that_name", "t.py, line 2: importing it raised ModuleNotFoundError"),
        ("t.py:Tiny", "{}", "raise SystemExit(3)", "t.py, line 1: importing it raised SystemExit: 3"),
        ("t.py:Tiny", "{}", "import os; os._exit(0)", "the task ended Python with exit code 0 while its data was made"),
        ("t.py:Tiny", "{}", "import os; os.kill(os.getpid(), 11)", "ended Python with SIGSEGV"),
        ("t.py:Tiny", "{}", TASK.replace("np.arange(seed)", "int('a\\nb')"), "prepare raised ValueError: invalid"),
        ("t.py:Tiny", "{}", TASK.replace("def score", "def scored"), "is no Task: it lacks score"),
        ("t.py:Tiny", "{}", TASK.replace("return Splits", "return"), "must return Splits, it returned"),
        ("t.py:Tiny", "{}", TASK.replace("np.ones(self.size)", "1 / 0"), "prepare raised ZeroDivisionError"),
        ("t.py:Tiny", "{}", TASK + REFUSING.format("ValueError('size 3\\nfinds nothing')"), "t.py:Tiny: size 3"),
        (
            "t.py:Tiny",
            "{}",
            TASK + REFUSING.format("KeyError(7)"),
            "check_search raised KeyError: 7 (/given/t.py, line",
        ),
        ("clrs", "{algorithm: minimum}", TASK, "algorithm is 'minimum', whose answers no triplet representation"),
        ("t.py:Tiny", "{}", TASK.replace("np.zeros(2)", "'text'"), "inputs must be numpy arrays of numbers"),
        (
            "t.py:Tiny",
            "{}",
            TASK.replace("np.ones(self.size)", "1 / 0"),
            "division by zero (/given/t.py, line",
        ),
        ("t.py:Tiny", "{}", "import helper", "of modules beside the task's file a run has no copy: put the code into"),
        (
            "t.py:Tiny",
            "{}",
            TASK.replace("np.ones(self.size)", "np.load(__file__ + '.npy')"),
            "a copy of the",
        ),
        (
            "t.py:Tiny",
            "{}",
            TASK.replace("np.ones(self.size)", "np.load('x.npy')"),
            "name the data in task_op",
        ),
        ("t.py:Tiny", "{}", TASK.replace('("math",)', '"math"'), "write ('math',)"),
        ("t.py:Tiny", "{}", TASK.replace("class Model:", "class Model"), "and end in a colon, as in"),
        ("t.py:Tiny", "{}", TASK.replace("class Model:", "class Net:"), "must begin the class or function Model"),
        (
            "t.py:Tiny",
            "{}",
            TASK.replace("class Model:", "async def Model():"),
            "must begin the class or function Model",
        ),
        (
            "t.py:Tiny",
            "{}",
            TASK.replace("def build(self, ", "def build(self, other, "),
            "is called as build(module)",
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    request: pytest.FixtureRequest, tmp_path: Path, task: str, options: str, source: str, message: str
) -> None:
    if "os." not in source and "Exit" not in source:
        request.getfixturevalue("here")
    run = run_with(tmp_path, task, options, source)
    with pytest.raises(TaskError) as caught:
        prepare(run, Path("/given/t.py"))
    assert message in str(caught.value)
    assert str(run.task_file) not in str(caught.value), "it would be mended in the wrong place"
    assert "\n" not in str(caught.value)
    assert not run.task_interface.exists()


@pytest.mark.usefixtures("here")
def test_what_a_search_could_not_find_hinders_no_run_that_searches_nothing(tmp_path: Path) -> None:
    run = run_with(tmp_path, "t.py:Tiny", source=TASK + REFUSING.format("ValueError('nothing to find')"))
    write_atomic(run.config, load_config(run.config, ["search.rounds=0"]).dump())
    assert prepare(run, Path("/given/t.py")).name


@pytest.mark.usefixtures("here")
def test_data_that_no_candidate_can_hold_is_told_before_one_tries(tmp_path: Path) -> None:
    run = run_with(tmp_path, "t.py:Tiny", "{size: 200_000}")
    write_atomic(run.config, load_config(run.config, ["evaluation.memory_mb=1"]).dump())
    with pytest.raises(TaskError, match=r"training data are 1 MiB, and evaluation\.memory_mb is 1: each candidate"):
        prepare(run)


@pytest.mark.usefixtures("here")
def test_a_wrong_option_of_a_rung_is_found_before_the_search(tmp_path: Path) -> None:
    run = run_with(tmp_path, "gone/elsewhere.py:Tiny")
    document = load_config(run.config, ["evaluation.rungs=[{keep: 0.5, task_options: {stepz: 2}}]"]).dump()
    write_atomic(run.config, document)
    with pytest.raises(TaskError, match=r"task_options: there is no stepz; its options: size"):
        prepare(run)
