"""A candidate's way from its source to a result file."""

from __future__ import annotations

import codecs
import dataclasses
import errno
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from support.evaluating import CONFIG, HONEST, PRELUDE, RUN_ID, broken, make_run, prepare_once, run_source
from support.paths import MNIST1D_SEEDS as SEEDS
from support.written_programs import EXPANDED, UNUSUAL

from evohpc import envelopes
from evohpc.config.rungs import Rung
from evohpc.config.search import load_config
from evohpc.config.task_name import TaskName
from evohpc.doctor.attacks import too_busy
from evohpc.errors import EvaluationError, StorageError, TaskError
from evohpc.evaluation import worker
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.stage.protocol import Order, Report
from evohpc.files import write_atomic
from evohpc.messages import Attempt, EvaluationJob, Isolation, Result, Status
from evohpc.run_folder import RunDir
from evohpc.sandbox import confine, landlock, process_tree
from evohpc.sandbox.base import Outcome, Runtime, Stage
from evohpc.tasks.data import prepare

OWN_TASK = """
import numpy as np
import torch
from evohpc.messages import TaskInterface
from evohpc.tasks.base import Score, Splits

class Sums:
    '''Predict the sum of three numbers.'''
    interface = TaskInterface("sums", "Net", "class Net:", "", ("torch",), "closeness")
    def prepare(self, seed):
        x = np.random.default_rng(seed).normal(size=(64, 3)).astype(np.float32)
        return Splits({"x": x, "y": x.sum(1)}, {"x": x}, {"y": x.sum(1)})
    def build(self, module):
        return module.Net()
    def train(self, model, data, seed):
        x, y = torch.tensor(data["x"]), torch.tensor(data["y"])
        model(x)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(40):
            if step % 20 == 0:
                yield {"step": step}
            loss = (model(x)[:, 0] - y).square().mean()
            optimizer.zero_grad(); loss.backward(); optimizer.step()
        yield {"step": 40}
    def predict(self, model, inputs):
        with torch.no_grad():
            return {"y": model(torch.tensor(inputs["x"]))[:, 0].numpy()}
    def score(self, predictions, labels):
        error = min(float(np.abs(p["y"] - labels["y"]).mean().clip(0, 1)) for p in predictions)
        return Score(error, {"closeness": 1 - error})
    def fitness(self, num_params, error):
        return -error
"""


def test_the_result_says_what_ran_where(evaluator: Evaluator) -> None:
    result, log = run_source(evaluator, "print('hello')\n" + HONEST)
    assert (result.candidate_id, result.attempt, result.status, result.detail) == ("c", 1, Status.TRAINED, "")
    assert result.num_params == 410
    assert result.error is not None
    assert result.fitness == pytest.approx(-410 * result.error)
    assert result.metrics["val_accuracy"] == pytest.approx(1 - result.error)
    assert result.metrics["reported_step"] == 20
    wall = {name: seconds for name, seconds in result.seconds.items() if name != "cpu"}
    assert wall.keys() == {"start", "check", "train", "predict", "score", "total"}
    assert sum(wall.values()) <= 2 * wall["total"] + 0.1
    assert result.seconds["cpu"] > 0
    assert result.isolation is evaluator.runtime.isolation is not Isolation.NONE
    assert result.source_sha256 == hashlib.sha256(("print('hello')\n" + HONEST).encode()).hexdigest()
    assert {"python", "torch", "numpy", "evohpc"} <= result.versions.keys()
    assert log == "hello\n" * 4


def test_the_same_candidate_gets_the_same_score(evaluator: Evaluator) -> None:
    source = (SEEDS / "cnn.py").read_text().replace("F.relu(self.conv1(x))", "F.dropout(F.relu(self.conv1(x)), 0.5)")
    one, other = (run_source(evaluator, source)[0] for _ in range(2))
    assert one.status is Status.TRAINED, one.detail
    assert (one.error, one.metrics) == (other.error, other.metrics)


def test_ordinary_nets_are_the_same_in_every_batch(evaluator: Evaluator) -> None:
    norms = HONEST.replace("x)\n", "self.more(x))\n").replace(
        "super().__init__()", "super().__init__(); self.more = nn.Sequential(nn.BatchNorm1d(40), nn.LayerNorm(40))"
    )
    for source in (norms, (SEEDS / "gru.py").read_text(), (SEEDS / "large_cnn.py").read_text()):
        result, _ = run_source(evaluator, source)
        assert result.status is Status.TRAINED, result.detail


@pytest.mark.parametrize("part", ["train", "inputs", "labels"])
def test_data_that_is_gone_is_no_candidate_s_fault(evaluator: Evaluator, tmp_path: Path, part: str) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(getattr(evaluator.benchmark, part).read_bytes()[:-1])
    for path in (torn, tmp_path / "gone"):
        changed: dict[str, Any] = {part: path}
        benchmark = dataclasses.replace(evaluator.benchmark, **changed)
        without = dataclasses.replace(evaluator, benchmark=benchmark)
        with pytest.raises(EvaluationError, match=f"{path} is missing or not whole; the next driver of the run makes"):
            run_source(without, HONEST)


def test_a_task_file_that_is_gone_is_no_candidate_s_fault(evaluator: Evaluator, tmp_path: Path) -> None:
    without = dataclasses.replace(
        evaluator, benchmark=dataclasses.replace(evaluator.benchmark, task=TaskName("Own", tmp_path / "task.py"))
    )
    with pytest.raises(TaskError, match=r"task\.py: no such task file"):
        run_source(without, HONEST)


@pytest.mark.parametrize("left", [{"f_bavail": 9}, {"f_favail": 0}], ids=["bytes", "files"])
def test_a_disk_that_others_filled_is_no_candidate_s_fault(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch, left: dict[str, int]
) -> None:
    free = {"f_bavail": 10**6, "f_frsize": 4096, "f_files": 10**6, "f_favail": 10**6, **left}
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(**free))
    with pytest.raises(EvaluationError, match=r"/.* on .* is full"):
        run_source(evaluator, "x = 1")


def test_threads_change_nothing_but_speed(evaluator: Evaluator) -> None:
    result, _ = run_source(evaluator, HONEST, threads=2)
    assert result.status is Status.TRAINED, result.detail


@pytest.mark.parametrize(
    ("source", "status", "detail"),
    [
        ("import nothing_of_that_name", Status.BUILD_ERROR, "ModuleNotFoundError: No module named 'nothing_of"),
        ("x = 1", Status.BUILD_ERROR, "AttributeError: module 'candidate' has no attribute 'Model'"),
        ("def broken(:", Status.BUILD_ERROR, "SyntaxError"),
        ("class Model: pass", Status.BUILD_ERROR, "TypeError: Model is no nn.Module"),
        (HONEST.replace("nn.LazyLinear(10)", "nn.GatedLinear(10)"), Status.BUILD_ERROR, "(line 7)"),
        (HONEST.replace("LazyLinear(10)", "Linear(7, 10)"), Status.SHAPE_ERROR, "mat1 and mat2 shapes cannot be"),
        (HONEST.replace("LazyLinear(10)", "LazyLinear(9)"), Status.SHAPE_ERROR, "the output has shape (128, 9)"),
        (broken("return torch.zeros(len(x), 10)"), Status.SHAPE_ERROR, "does not require grad"),
        (broken("return self.out(x) / 0"), Status.NONFINITE, "loss is nan"),
        (
            broken("self.n = getattr(self, 'n', 0) + 1; assert self.n < 5, 'tired'; return self.out(x)"),
            Status.TRAIN_ERROR,
            "AssertionError: tired (line 9)",
        ),
        (
            broken("return self.out(x) if self.training else self.gone(x)"),
            Status.TRAIN_ERROR,
            "has no attribute 'gone'",
        ),
        (broken("return self.out(x).squeeze()"), Status.SHAPE_ERROR, "(10,) for a batch of 1, though not in the whole"),
        (broken("return self.out(x) if self.training else self.out(x)[:-1]"), Status.SHAPE_ERROR, "it is float32 (499"),
        (
            broken("self.late = getattr(self, 'late', None) or nn.Linear(40, 10); return self.late(x)"),
            Status.TRAINED,
            "",
        ),
    ],
)
def test_a_failure_has_its_status_and_place(evaluator: Evaluator, source: str, status: Status, detail: str) -> None:
    result, _ = run_source(evaluator, source)
    assert result.status is status, result.detail
    assert detail in result.detail
    assert (result.fitness is None) == (status is not Status.TRAINED)


MASKED = (
    PRELUDE
    + """
class Model(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.embed = nn.Linear(1, width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.register_buffer("mask", torch.triu(torch.full((40, 40), float("-inf")), diagonal=1))
        self.out = nn.Linear(width, 10)
    def forward(self, x):
        h = self.embed(x.unsqueeze(-1))
        return self.out(self.attention(h, h, h, attn_mask=self.mask, need_weights=False)[0][:, -1])
"""
)
FOURIER = (
    PRELUDE
    + """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(21, dtype=torch.cfloat))
        self.out = nn.Linear(40, 10)
    def forward(self, x):
        return self.out(torch.fft.irfft(torch.fft.rfft(x) * self.weight, n=40))
"""
)
COMPILED = (
    PRELUDE
    + """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = torch.compile(nn.Linear(40, 10), mode="max-autotune", fullgraph=True)
        self.out.compile()
    @torch.compile
    def forward(self, x):
        return self.out(x)
"""
)
EXPANDED_BUFFER = (
    PRELUDE
    + """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1, 40).expand(10, 40))
        self.register_buffer("shift", None)
        self.out = nn.LazyLinear(10)
    def forward(self, x):
        if self.shift is None:
            self.shift = torch.zeros(1, 40).expand(2, 40)
        return self.out(x * self.scale[0] + self.shift[0])
"""
)
SPARSE = (
    PRELUDE
    + """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("graph", torch.eye(40).to_sparse())
        self.out = nn.Linear(40, 10)
    def forward(self, x):
        return self.out((self.graph @ x.T).T)
"""
)


@pytest.mark.parametrize(
    ("source", "numbers"),
    [(MASKED, 2890), (FOURIER, 452), (COMPILED, 410), (EXPANDED_BUFFER, 890)],
    ids=["masked", "fourier", "compiled", "expanded buffers"],
)
def test_programs_as_language_models_write_them_are_trained(evaluator: Evaluator, source: str, numbers: int) -> None:
    result, _ = run_source(evaluator, source)
    assert (result.status, result.num_params) == (Status.TRAINED, numbers), result.detail


@pytest.mark.slow
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_models_are_trained(evaluator: Evaluator, name: str) -> None:
    source, numbers = UNUSUAL[name]
    result, _ = run_source(evaluator, source)
    assert (result.status, result.num_params) == (Status.TRAINED, numbers), result.detail


@pytest.mark.slow
def test_a_parameter_that_nothing_can_train_fails_and_the_next_program_does_not(evaluator: Evaluator) -> None:
    result, _ = run_source(evaluator, EXPANDED)
    assert result.status.is_candidate_fault, result.detail
    assert run_source(evaluator, HONEST)[0].status is Status.TRAINED


def test_what_the_checkpoint_cannot_hold_is_said_in_words(evaluator: Evaluator) -> None:
    result, _ = run_source(evaluator, SPARSE)
    assert result.status is Status.PROTOCOL_VIOLATION
    assert result.detail.startswith("graph in the state dict is a tensor of layout torch.sparse_coo; a checkpoint")


def test_a_layer_that_is_never_called_costs_nothing(evaluator: Evaluator) -> None:
    source = HONEST.replace("nn.LazyLinear(10)\n", "nn.LazyLinear(10); self.unused = nn.LazyConv1d(9, 3)\n")
    result, _ = run_source(evaluator, source)
    assert (result.status, result.num_params) == (Status.TRAINED, 410), result.detail


def test_a_layer_that_only_training_has_counts(evaluator: Evaluator) -> None:
    source = HONEST.replace("nn.LazyLinear(10)\n", "nn.LazyLinear(10); self.also = nn.LazyLinear(10)\n").replace(
        "return self.out(x)", "return self.out(x) + self.also(x) if self.training else self.out(x)"
    )
    result, _ = run_source(evaluator, source)
    assert (result.status, result.num_params) == (Status.TRAINED, 820), result.detail


class Hurried:
    """A runtime that notes what time each stage has, and how long it took, and gives the second one next to nothing."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.isolation, self.end_candidate, self.close = runtime.isolation, runtime.end_candidate, runtime.close
        self.expect_another: Callable[[], None] = runtime.expect_another
        self.had: list[float] = []
        self.took: list[float] = []

    def run(self, stage: Stage) -> Outcome:
        self.had.append(stage.limits.wall_s)
        if len(self.had) == 2:
            stage = dataclasses.replace(stage, limits=dataclasses.replace(stage.limits, wall_s=0.2))
        outcome = self._runtime.run(stage)
        self.took.append(outcome.seconds)
        return outcome


def test_predictions_have_the_time_that_training_left(evaluator: Evaluator) -> None:
    slow = PRELUDE + "import time\n" + broken("(self.training or time.sleep(600)); return self.out(x)")
    runtime = Hurried(evaluator.runtime)
    result, _ = run_source(dataclasses.replace(evaluator, runtime=runtime), slow, time_limit_s=200)
    if busy := too_busy(result):
        pytest.skip(busy)  # it was ended in time, but whether by its own fault nobody can say
    assert (result.status, result.detail[-20:]) == (Status.TIMEOUT, "in the predict stage")
    assert runtime.had == [200, pytest.approx(200 - runtime.took[0])]


def own_task(tmp_path: Path, evaluator: Evaluator, source: str) -> Evaluator:
    """Return an evaluator on a task of a user's own."""
    path = tmp_path / "sums.py"
    path.write_text(source)
    given = tmp_path / "given.yaml"
    given.write_text(CONFIG.replace("SEEDS", str(SEEDS)).replace("mnist1d", f"{path}:Sums").replace("{steps", "#"))
    run = RunDir(tmp_path / "run")
    document = given.read_text().replace("task_options: #: 20, eval_every: 10}\n", "")
    given.write_text(document)
    config = load_config(given)
    write_atomic(run.config, config.dump())
    write_atomic(run.task_file, source)
    prepare(run)
    benchmark = dataclasses.replace(
        evaluator.benchmark,
        task=TaskName("Sums", run.task_file),
        task_options={},
        train=run.train,
        inputs=run.inputs,
        labels=run.labels,
    )
    return Evaluator(benchmark, evaluator.runtime)


OWN = HONEST.replace("Model", "Net").replace("10", "1")


def test_a_task_of_one_s_own(tmp_path: Path, evaluator: Evaluator) -> None:
    result, _ = run_source(own_task(tmp_path, evaluator, OWN_TASK), OWN)
    assert result.status is Status.TRAINED, result.detail
    assert result.num_params == 4
    assert result.error is not None
    assert result.error < 0.1


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")
def test_a_task_of_one_s_own_hides_what_it_names(tmp_path: Path, evaluator: Evaluator) -> None:
    # iniconfig stands for a package that knows the answers: installed, and imported by nothing in a sandbox.
    hiding = OWN_TASK.replace("    interface", "    hidden_modules = {'predict': ['iniconfig']}\n    interface")
    looks = "try:\n    import iniconfig; print('found')\nexcept OSError:\n    print('hidden')\n"
    result, log = run_source(own_task(tmp_path, evaluator, hiding), looks + OWN)
    assert result.status is Status.TRAINED, result.detail
    assert log == "found\nhidden\nhidden\n"


@pytest.mark.slow
def test_a_broken_fork_server_is_the_machine_s_fault_and_replaced(evaluator: Evaluator) -> None:
    run_source(evaluator, HONEST)
    server = next(
        pid
        for pid in process_tree.children(os.getpid())
        if b"evohpc.evaluation.stage.main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(server, signal.SIGKILL)
    with pytest.raises(EvaluationError, match=r"fork server .* ended \(SIGKILL\)|fork server broke"):
        run_source(evaluator, HONEST)
    assert run_source(evaluator, HONEST)[0].status is Status.TRAINED


def array(run: RunDir, *ids: str) -> EvaluationJob:
    job = EvaluationJob(f"{RUN_ID}-003-00", 3, (tuple(Attempt(id, 2) for id in ids),))
    for id in ids:
        write_atomic(run.round(3).candidate(id), "print('out')\n" + HONEST)
    write_atomic(run.round(3).job(job.name), envelopes.seal(RUN_ID, 9, job))
    return job


def test_an_array_task_leaves_sealed_results_and_logs(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    job = array(run, "a", "b")
    worker.run_array_task(str(run.path), 3, job.name, 0)
    for id in ("a", "b"):
        data = run.round(3).result(id, 2).read_bytes()
        result = envelopes.unseal(data, RUN_ID, Result)
        assert (result.candidate_id, result.attempt, result.status) == (id, 2, Status.TRAINED)
        assert result.seconds["cpu"] > 0.5 * result.seconds["train"] > 0
        assert b'"epoch":9' in data
        assert run.round(3).log(id, 2).read_text() == "out\n" * 4


@pytest.mark.slow
def test_a_task_that_starts_after_its_round_was_packed_has_nothing_to_do(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    job = array(run, "a")
    run.round(3).job(job.name).unlink()
    with pytest.raises(FileNotFoundError):
        worker.run_array_task(str(run.path), 3, job.name, 0)
    run.round(3).archive.touch()
    worker.run_array_task(str(run.path), 3, job.name, 0)
    assert not run.round(3).results.exists()


def test_a_host_that_cannot_says_so_in_every_result(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", CONFIG.replace("{time_limit_s", "{minimum_isolation: container, time_limit_s"))
    job = array(run, "a", "b")
    worker.run_array_task(str(run.path), 3, job.name, 0)
    for id in ("a", "b"):
        result = envelopes.unseal(run.round(3).result(id, 2).read_bytes(), RUN_ID, Result)
        assert result.status is Status.CONTAINER_ERROR
        assert result.status.is_machine_fault
        assert "minimum_isolation is 'container'" in result.detail


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), StorageError("no room")])
def test_a_node_that_cannot_start_says_so_in_every_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run = make_run(tmp_path / "run")
    job = array(run, "a", "b")
    monkeypatch.setattr(worker, "probe", MagicMock(side_effect=error))
    worker.run_array_task(str(run.path), 3, job.name, 0)
    for id in ("a", "b"):
        result = envelopes.unseal(run.round(3).result(id, 2).read_bytes(), RUN_ID, Result)
        assert (result.status, result.status.is_machine_fault) == (Status.CONTAINER_ERROR, True)
        assert result.detail.endswith(f"cannot start evaluating: {error}")


def test_a_node_without_scratch_says_so_in_every_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    job = array(run, "a")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    worker.run_array_task(str(run.path), 3, job.name, 0)
    result = envelopes.unseal(run.round(3).result("a", 2).read_bytes(), RUN_ID, Result)
    assert result.status is Status.CONTAINER_ERROR
    assert "No such file or directory" in result.detail


@pytest.mark.parametrize("is_followed", [True, False])
def test_and_tells_it_where_candidates_run(evaluator: Evaluator, is_followed: bool) -> None:
    runtime = Hurried(evaluator.runtime)
    runtime.expect_another = told = MagicMock()
    ready = dataclasses.replace(evaluator, runtime=runtime)
    ready.evaluate(Attempt("c", 1), b"1 / 0", is_followed=is_followed)
    assert told.called is is_followed


def test_labels_in_a_readable_place_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr(confine, "libraries", lambda: [tmp_path])
    said = f"{run.path} lies in {tmp_path}, which candidates may read"
    with pytest.raises(EvaluationError, match=said), worker.evaluator(run):
        pass


@pytest.mark.slow
def test_one_file_without_a_run(tmp_path: Path) -> None:
    given = tmp_path / "given.yaml"
    given.write_text(CONFIG.replace("SEEDS", str(SEEDS)))
    result = worker.evaluate_file(SEEDS / "mlp.py", load_config(given))
    assert (result.candidate_id, result.status, result.num_params) == ("mlp", Status.TRAINED, 15210)
    with pytest.raises(TaskError, match=r"nowhere\.py: cannot read the candidate: No such file"):
        worker.evaluate_file(tmp_path / "nowhere.py", load_config(given))


def test_one_file_is_screened_as_a_search_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "prepare", prepare_once)
    given, program = tmp_path / "given.yaml", tmp_path / "mine.py"
    given.write_text(CONFIG.replace("SEEDS", str(SEEDS)))
    program.write_text(f"import os\n{HONEST}")
    result = worker.evaluate_file(program, load_config(given))
    assert (result.status, result.detail) == (Status.SCREENED, "line 1: imports os; allowed: math, torch")


def test_one_file_may_begin_with_a_mark_and_have_a_name_in_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "prepare", prepare_once)
    given, program = tmp_path / "given.yaml", tmp_path / "mine.py"
    given.write_text(CONFIG.replace("SEEDS", str(SEEDS)))
    program.write_bytes(codecs.BOM_UTF8 + f"import os\n{HONEST}".encode())
    result = worker.evaluate_file(program, load_config(given))
    assert result.detail == "line 1: imports os; allowed: math, torch"
    latin = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py"))
    program.rename(latin)
    with pytest.raises(TaskError, match=r"the name '.*/caf.udce9\.py' is no UTF-8 text; rename it"):
        worker.evaluate_file(latin, load_config(given))


@pytest.mark.slow
def test_the_worker_runs_by_itself(small_run: RunDir, tmp_path: Path) -> None:
    # As a container runtime starts it: two folders, no fork server.
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    out.mkdir()
    (inputs / "candidate.py").write_text(HONEST)
    (inputs / "data.safetensors").symlink_to(small_run.train)
    order = Order("train", "mnist1d", {"steps": 2}, seed=1, threads=1, max_params=409)
    (inputs / "order.json").write_text(envelopes.encode(order))
    subprocess.run([sys.executable, "-m", "evohpc.evaluation.stage.main", str(inputs), str(out)], check=True)
    report = envelopes.decode((out / "report.json").read_bytes(), Report)
    assert (report.status, report.detail[:27]) == ("protocol_violation", "the model has 410 numbers, ")


@pytest.mark.parametrize(("rung", "steps"), [(None, 20), (0, 4), (1, 8), (2, 20)])
def test_an_attempt_is_trained_as_its_rung_says(evaluator: Evaluator, rung: int | None, steps: int) -> None:
    lower = tuple(Rung(keep=0.5, task_options={"steps": steps}) for steps in (4, 8))
    config = evaluator.benchmark.config.model_copy(update={"rungs": lower})
    climbing = dataclasses.replace(evaluator, benchmark=dataclasses.replace(evaluator.benchmark, config=config))
    for attempt in (Attempt("c", 1, rung), Attempt("d", 1, rung)):
        result = climbing.evaluate(attempt, HONEST.encode())
        assert (result.status, result.metrics["reported_step"]) == (Status.TRAINED, steps)


def test_each_training_has_a_seed_of_its_own_where_children_are_trained_again(evaluator: Evaluator) -> None:
    def errors(repeats: int, *trainings: int | None) -> list[float | None]:
        config = evaluator.benchmark.config.model_copy(update={"repeats": repeats})
        again = dataclasses.replace(evaluator, benchmark=dataclasses.replace(evaluator.benchmark, config=config))
        return [again.evaluate(Attempt("c", 1, number), HONEST.encode()).error for number in trainings]

    first, second, third, once, second_again = errors(2, 0, 1, 2, None, 1)
    assert (once, second_again) == (first, second)
    assert len({first, second, third}) > 1
    assert errors(0, 1) == [first]
