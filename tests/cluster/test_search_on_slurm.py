"""Whole searches on a real Slurm, in real containers, begun with the commands that docs/cluster.md says."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.cluster import users
from support.cluster.daemons import wait_until
from support.cluster.packages import Unavailable
from support.cluster.slurm import Cluster
from support.cluster.users import User
from support.evaluating import HONEST
from support.paths import ROOT

from evohpc.config.site import ContainerSection
from evohpc.report.reader import Reading
from evohpc.run_folder import RunDir

pytestmark = pytest.mark.slurm

SEEDS = ("cnn.py", "mlp.py")
SEARCH = {
    "task": "mnist1d",
    "task_options": {"steps": 20, "eval_every": 10, "validate_on": "published"},  # else each run has samples of its own
    "seeds": "../seeds",
    "lm": {"engine": "scripted"},
    "search": {
        "rounds": 2,
        "prompts_per_round": 1,
        "samples_per_prompt": 3,
        "survivors": 2,
        "error_threshold": 1.0,
    },
    "evaluation": {
        "runtime": "apptainer",
        "minimum_isolation": "container",
        "time_limit_s": 600,
        "memory_mb": 1500,
        "disk_mb": 32,
        "max_params": 1_000_000,
        "candidates_per_task": 2,
    },
}
COLUMNS = ("id", "status", "attempt", "num_params", "error", "fitness", "parents")


def lay_out(folder: Path, containers: ContainerSection, **changes: object) -> None:
    """Make what a user has of the repository, with a search of seconds and the profile of the test cluster."""
    for name in ("configs", "slurm", "containers"):
        shutil.copytree(ROOT / name, folder / name)
    for name in SEEDS:
        (folder / "seeds").mkdir(exist_ok=True)
        shutil.copy(ROOT / "seeds" / "mnist1d" / name, folder / "seeds")
    (folder / "configs" / "mnist1d.yaml").write_text(yaml.safe_dump(SEARCH | changes))
    profile = yaml.safe_load((folder / "slurm" / "local.yaml").read_text())
    profile["scheduler"].update(poll_s=0.5, poll_max_s=1, settle_s=5)
    profile["container"] = containers.model_dump(mode="json")
    (folder / "slurm" / "mysite.yaml").write_text(yaml.safe_dump(profile))


def table(exported: str) -> list[tuple[str, ...]]:
    """What two runs of the same search have in common: all that does not depend on where and when."""
    rows = csv.DictReader(io.StringIO(exported))
    return sorted(tuple(row[name] for name in COLUMNS) for row in rows)


@pytest.fixture(scope="module")
def expected(containers: ContainerSection, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, ...]]:
    """The table of the same search on this machine."""
    folder = tmp_path_factory.mktemp("here")
    lay_out(folder, containers)
    evohpc = [sys.executable, "-m", "evohpc"]
    local = ["--set", "evaluation.runtime=process", "--set", "evaluation.minimum_isolation=process"]
    subprocess.run([*evohpc, "run", "run", "configs/mnist1d.yaml", *local], cwd=folder, check=True, capture_output=True)
    done = subprocess.run(
        [*evohpc, "export", "run", "--csv", "-"], cwd=folder, check=True, capture_output=True, text=True
    )
    assert len(table(done.stdout)) == len(SEEDS) + 2 * 3
    return table(done.stdout)


@pytest.fixture
def somebody(containers: ContainerSection, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """A user who may do nothing, with a Python that they can reach, which has the packages of this one."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{sysconfig.get_path('purelib')}")
    try:
        with users.made() as somebody:
            command = somebody.home / "bin" / "evohpc"
            command.parent.mkdir()
            command.write_text(f'#!/bin/sh\nexec {containers.image}/usr/local/bin/python3 -m evohpc "$@"\n')
            command.chmod(0o755)
            yield somebody
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_the_cluster_page_word_for_word_as_an_ordinary_user(
    slurm: Cluster, containers: ContainerSection, expected: list[tuple[str, ...]], somebody: User
) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    lines = re.findall(r"^ {7}(\S.*)$", page, re.M)
    install, fetch, build, build_lm, doctor, doctor_on_node, attack, dry_run, submit = lines
    assert " doctor --attack " in attack, "which takes minutes, and has tests of its own"
    status, cancel = re.findall(r"`(evohpc (?:status|cancel) runs/mnist1d)`", page)
    assert install.endswith("pip install -e '.[train,lm,convert]'")
    assert fetch.startswith("evohpc fetch-lm models/")
    lay_out(somebody.home, containers)
    for line in (build, build_lm):
        somebody.type(line.replace("sbatch", "sbatch --test-only", 1))
    for line in (doctor, doctor_on_node):
        assert "fault" not in somebody.type(line).lower()
    shown = somebody.type(dry_run)
    assert "#SBATCH --array=" in shown
    assert "apptainer --quiet exec --containall" in shown
    assert not (somebody.home / "runs").exists()

    job_id = somebody.type(submit).strip()
    assert slurm.run("squeue", "--noheader", "--format=%u", f"--jobs={job_id}").strip() == somebody.name
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "the search is over", 1200, every_s=0.5)
    exported = somebody.type("evohpc export runs/mnist1d --csv -")
    assert table(exported) == expected, (somebody.home / "runs" / "mnist1d" / "driver.log").read_text()
    assert {row["isolation"] for row in csv.DictReader(io.StringIO(exported))} <= {"container", ""}
    assert "done" in somebody.type(status)
    somebody.type(cancel)


def test_with_several_candidates_at_once_a_search_ends_in_the_same_table(
    slurm: Cluster, containers: ContainerSection, expected: list[tuple[str, ...]], tmp_path: Path
) -> None:
    evaluation = SEARCH["evaluation"] | {"candidates_at_once": 2}  # type: ignore[operator]
    lay_out(tmp_path, containers, evaluation=evaluation)
    evohpc = [sys.executable, "-m", "evohpc"]
    submit = ["submit", "run", "configs/mnist1d.yaml", "--site", "slurm/mysite.yaml"]
    subprocess.run([*evohpc, *submit], cwd=tmp_path, check=True, capture_output=True)
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "the search is over", 1200, every_s=0.5)
    export = [*evohpc, "export", "run", "--csv", "-"]
    exported = subprocess.run(export, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert table(exported) == expected, (tmp_path / "run" / "driver.log").read_text()


def test_a_language_model_has_jobs_of_its_own(
    slurm: Cluster, containers: ContainerSection, tiny_model: Path, tmp_path: Path
) -> None:
    lm = {"path": str(tiny_model), "max_new_tokens": 16, "threads": 1}
    search = {
        "rounds": 1,
        "error_threshold": 1.0,
        "prompts_per_round": 1,
        "samples_per_prompt": 2,
        "examples_per_prompt": 1,
    }
    lay_out(tmp_path, containers, lm=lm, search=search, evaluation={"memory_mb": 1500, "time_limit_s": 600})
    for name in SEEDS:  # longer than this model's context
        (tmp_path / "seeds" / name).unlink()
    (tmp_path / "seeds" / "linear.py").write_text(HONEST)
    submit = ["-m", "evohpc", "submit", "run", "configs/mnist1d.yaml", "--site", "slurm/mysite.yaml"]
    subprocess.run([sys.executable, *submit], cwd=tmp_path, check=True, capture_output=True)
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "the search is over", 1200, every_s=0.5)
    with zipfile.ZipFile(RunDir(tmp_path / "run").round(0).archive) as archive:
        log = archive.read("logs/lm.log").decode()
        (job_id,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("-lm/0/job_id"))
    assert f"job {job_id} starts on " in log
    assert f"loading {tiny_model}" in log  # what it says at its end may come after the driver has packed the log


def test_a_round_closes_while_some_of_its_children_are_at_work(
    slurm: Cluster, containers: ContainerSection, tmp_path: Path
) -> None:
    """One array task runs at a time, so that at half of the children the other half cannot have been evaluated."""
    search = SEARCH["search"] | {"rounds": 3, "samples_per_prompt": 6, "close_at": 0.5}  # type: ignore[operator]
    lay_out(tmp_path, containers, search=search, evaluation={"memory_mb": 1500, "time_limit_s": 600})
    profile = yaml.safe_load((tmp_path / "slurm" / "mysite.yaml").read_text())
    profile["evaluation"]["max_parallel"] = 1
    (tmp_path / "slurm" / "mysite.yaml").write_text(yaml.safe_dump(profile))

    def evohpc(*words: str) -> str:
        command = [sys.executable, "-m", "evohpc", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    evohpc("submit", "run", "configs/mnist1d.yaml", "--site", "slurm/mysite.yaml")
    wait_until(lambda: not slurm.run("squeue", "--noheader"), "the search is over", 1200, every_s=0.5)
    assert "done" in evohpc("status", "run")
    with Reading(tmp_path / "run") as reading:
        late = reading.selections().late
    assert late
    exported = evohpc("export", "run", "--csv", "-")
    assert "pending" not in {row["status"] for row in csv.DictReader(io.StringIO(exported))}
    evohpc("rebuild", "run")
    assert table(evohpc("export", "run", "--csv", "-")) == table(exported)
