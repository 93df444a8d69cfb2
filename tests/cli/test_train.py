"""A network that was trained again is loaded by plain PyTorch, in a process that knows nothing of evohpc."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.cluster.slurm import Cluster
from support.command_line import call
from support.paths import MNIST1D_SEEDS, ROOT
from support.programming import write_project

from evohpc.config.search import load_config
from evohpc.linux import python
from evohpc.messages import Result, Status
from evohpc.report.reader import Reading
from evohpc.search.search import Search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unsynced")]  # each trains a network or more

CONFIG = """
task: mnist1d
task_options: {steps: 20, eval_every: 10}
seeds: seeds
search: {rounds: 0, error_threshold: 1.0}
lm: {engine: scripted}
evaluation: {workers: 1, time_limit_s: 250, memory_mb: 1500, disk_mb: 64}
"""
CHECK = """
import json, sys
sys.path.insert(0, {folder!r})
from load import model
import numpy as np, torch
from safetensors.numpy import load_file
x, y = (next(iter(load_file({run!r} + "/" + name).values())) for name in ("data/inputs.safetensors", LABELS))
with torch.no_grad():
    right = (model(torch.tensor(x)).argmax(1).numpy() == y).mean()
print(json.dumps({"right": float(right), "evohpc": any(name.startswith("evohpc") for name in sys.modules)}))
""".replace("LABELS", '"labels/labels.safetensors"')


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose seeds are a convolution and one with lazy layers, trained for some steps."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "c.yaml").write_text(CONFIG)
    (folder / "seeds").mkdir()
    for name, file in {"cnn": "cnn", "mlp": "mlp 2.x"}.items():
        source = (MNIST1D_SEEDS / f"{name}.py").read_text()
        (folder / f"seeds/{file}.py").write_text(source.replace("nn.Linear(40, ", "nn.LazyLinear("))
    assert "LazyLinear" in (folder / "seeds/mlp 2.x.py").read_text()
    subprocess.run([sys.executable, "-m", "evohpc", "run", "r", "c.yaml"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["seed-cnn", "seed-mlp 2.x"])
def test_the_weights_are_those_that_were_scored_and_plain_pytorch_loads_them(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(project)
    code, out, err = call(capsys, "train", "r", name)
    assert code == 0, err
    folder = project / "trained" / name
    assert err == f"wrote trained/{name}; load it: python trained/{name}/load.py\n"
    assert "trained" in out
    with Reading(project / "r") as reading:
        result = reading.candidate(name).result
    measured = json.loads((folder / "metrics.json").read_text())
    assert result is not None
    assert (measured["error"], measured["num_params"]) == (result.error, result.num_params), "the same data and seed"
    module = re.sub(r"[-. ]", "_", name)
    files = {"config.yaml", "load.py", "metrics.json", "model.safetensors", f"{module}.py"}
    assert {path.name for path in folder.iterdir()} == files
    assert sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values()) == result.num_params
    check = CHECK.replace("{folder!r}", repr(str(folder))).replace("{run!r}", repr(str(project / "r")))
    done = subprocess.run([sys.executable, "-c", check], cwd="/", capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"right": pytest.approx(1 - measured["error"]), "evohpc": False}
    assert call(capsys, "train", "r", name)[0::2] == (
        1,
        f"error: trained/{name} is there already; name a new folder: -o FOLDER\n",
    )


def test_the_fittest_are_exported_with_their_networks(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    asked = ("export", "r", "--best", 2, "--programs", "best", "--keep-weights")
    (project / "best/seed-mlp 2.x").mkdir(parents=True)  # as an interrupted call may leave it
    code, out, err = call(capsys, *asked)
    assert code == 0, err
    assert out.count("trained") == 4  # an outcome and an attempt each
    with Reading(project / "r") as reading:
        results = {entry.id: entry.result for entry in reading.best(2)}
    for name, result in results.items():
        assert result is not None
        measured = json.loads((project / "best" / name / "metrics.json").read_text())
        assert (measured["error"], measured["num_params"]) == (result.error, result.num_params)
        done = subprocess.run([sys.executable, f"best/{name}/load.py"], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == f"{result.num_params} numbers", done.stderr
    assert len(list(load_config("best/config.yaml").seeds.glob("*.py"))) == 2, "the folder can still be seeds"
    again = call(capsys, *asked)
    assert again[:2] == (0, ""), "what is there is not trained again"


@pytest.mark.slurm
def test_a_compute_node_trains_by_srun(slurm: Cluster, project: Path) -> None:
    command = ["srun", "--mem=3G", *python(), "-m", "evohpc", "train", "r", "seed-cnn", "-o", "from-a-node"]
    done = subprocess.run(command, cwd=project, env=slurm.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (project / "from-a-node/model.safetensors").is_file()


def test_another_seed_and_recipe_give_another_network(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    more = ("--seed", "3", "--set", "task_options.steps=30")
    code, _, err = call(capsys, "train", "r", "seed-cnn", "-o", "other", *more)
    assert code == 0, err
    measured = json.loads((project / "other/metrics.json").read_text())
    assert (measured["seed"], measured["metrics"]["reported_step"]) == (3, 30)
    assert "steps: 30" in (project / "other/config.yaml").read_text()
    for mistake, said in {
        "search.rounds=3": "a training can change task_options, evaluation, screening, and nothing else",
        "task_options.stepz=3": "there is no stepz; did you mean steps?",
    }.items():
        code, _, err = call(capsys, "train", "r", "seed-cnn", "-o", "third", "--set", mistake)
        assert code == 1
        assert said in err
    code, _, err = call(capsys, "train", "r", "seed-none")
    assert (code, "has no candidate 'seed-none'" in err) == (1, True)
    assert not (project / "third").exists()


def test_where_nothing_can_be_written_nothing_is_trained(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr("evohpc.evaluation.retraining.retrain", lambda *_: pytest.fail("it trains"))
    code, _, err = call(capsys, "train", "r", "seed-cnn", "-o", "c.yaml/net")
    assert (code, err.partition(";")[0]) == (1, "error: cannot write c.yaml/net: Not a directory")


def test_what_cannot_be_trained_leaves_nothing_but_its_words(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    code, out, _ = call(capsys, "train", "r", "seed-cnn", "-o", "none", "--set", "evaluation.max_params=10")
    assert code == 1
    assert "evaluation.max_params is 10" in out
    assert not (project / "none").exists()


def test_a_network_that_its_task_builds_is_loaded_with_the_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = (ROOT / "docs/own_task/spirals.py").read_text()
    build = "return module.Model()"
    assert build in own
    (tmp_path / "own.py").write_text(
        own.replace(build, "return torch.nn.Sequential(module.Model(), torch.nn.Identity())")
    )
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds/mlp.py").write_text((ROOT / "docs/own_task/seeds/mlp.py").read_text())
    config = CONFIG.replace("task: mnist1d", "task: own.py:TwoSpirals").replace("steps: 20, eval_every: 10", "steps: 5")
    (tmp_path / "c.yaml").write_text(config)
    assert call(capsys, "run", "r", "c.yaml")[0] == 0
    code, _, err = call(capsys, "train", "r", "-o", "net")
    assert code == 0, err
    assert (tmp_path / "net/task.py").exists()
    done = subprocess.run([sys.executable, "net/load.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size = sum(tensor.numel() for tensor in load_file(tmp_path / "net/model.safetensors").values())
    assert done.stdout.splitlines()[-1] == f"{size} numbers"


def test_a_program_has_no_weights_to_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Search.create(tmp_path / "run", load_config(write_project(tmp_path / "project"))) as search:
        (seed,) = search.ask()
        search.tell(Result(seed.id, 1, Status.TRAINED, "", 9, 0.4, -3.6, {"right": 0.6}))
        search.ask()
    code, _, err = call(capsys, "train", tmp_path / "run", "-o", tmp_path / "net")
    assert code == 1
    assert "seed-one is a program, not a network: it has no weights to keep; evohpc export " in err
    assert not (tmp_path / "net").exists()
