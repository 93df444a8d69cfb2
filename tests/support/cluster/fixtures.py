"""The clusters of a test session: brought up when the first test asks, taken down at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from evohpc.config.site import ContainerSection, Site
from evohpc.evaluation import worker
from evohpc.evaluation.attempt import Evaluator
from evohpc.files import write_atomic
from evohpc.run_folder import RunDir
from support.cluster import apptainer
from support.cluster.daemons import wait_until
from support.cluster.packages import Unavailable
from support.cluster.slurm import Cluster
from support.evaluating import CONFIG, make_run
from support.paths import ROOT

CONTAINERS = ROOT / "containers"


@pytest.fixture(scope="session")
def bare_cluster() -> Iterator[Cluster]:
    """Four nodes without accounting; MaxArraySize=11, so that arrays of more than 11 tasks have to be split."""
    yield from _cluster(Cluster(max_array_size=11))


@pytest.fixture(scope="session")
def accounting_cluster() -> Iterator[Cluster]:
    """Four nodes with slurmdbd, whose slurmctld forgets jobs soon after their end, so that only sacct knows them."""
    yield from _cluster(Cluster(accounting=True, min_job_age=2))


@pytest.fixture(scope="session")
def containers() -> Iterator[ContainerSection]:
    """A real Apptainer and a base of this machine's Python, which has the packages of this environment bound in."""
    try:
        command = apptainer.install()
    except Unavailable as reason:
        pytest.skip(f"no Apptainer here: {reason}")
    # Not in pytest's folder, which is closed to all other users.
    folder = Path(tempfile.mkdtemp(prefix="evohpc-image-"))
    folder.chmod(0o755)
    image = folder / "base"
    subprocess.run([sys.executable, CONTAINERS / "host_base.py", image], check=True)
    packages = f"{sysconfig.get_path('purelib')}:{_packages_of_base()}"
    yield ContainerSection(apptainer=str(command), image=image, binds=(packages,))
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def contained_run(containers: ContainerSection, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run whose candidates are evaluated in containers."""
    config = CONFIG.replace("evaluation: {", "evaluation: {runtime: apptainer, minimum_isolation: container, ")
    run = make_run(tmp_path_factory.mktemp("contained") / "run", config)
    write_atomic(run.site, Site(container=containers).dump())
    return run


@pytest.fixture(scope="session")
def contained(contained_run: RunDir, planted_environment: dict[str, str]) -> Iterator[Evaluator]:
    """An evaluator that uses real containers."""
    with worker.evaluator(contained_run) as ready:
        yield ready


@pytest.fixture(scope="session")
def built_containers(containers: ContainerSection, tmp_path_factory: pytest.TempPathFactory) -> ContainerSection:
    """The evaluation image, copied to the nodes' own disk."""
    disk = tmp_path_factory.mktemp("disk")
    image = _build("eval-cpu", containers, tmp_path_factory.mktemp("built"))
    return ContainerSection(apptainer=containers.apptainer, image=image, local_folder=str(disk))


@pytest.fixture(scope="session")
def built_lm(containers: ContainerSection, tmp_path_factory: pytest.TempPathFactory) -> ContainerSection:
    """The language model's image."""
    image = _build("lm-cpu", containers, tmp_path_factory.mktemp("built"))
    return ContainerSection(apptainer=containers.apptainer, image=image)


def _packages_of_base() -> str:
    """Return where the base's Python looks for packages; Debian's, for one, has its own mind there."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib', vars={'base': '/usr/local'}))"
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()


def _build(name: str, containers: ContainerSection, folder: Path) -> Path:
    """Return the image that containers/build.sh builds on the bare base from a lock file."""
    output = folder / "image.sif"
    assert containers.image is not None
    build: list[str | Path] = [CONTAINERS / "build.sh", name, output, "--base", containers.image]
    python = Path(sys.executable).parent
    environment = {"APPTAINER": str(apptainer.builder(folder)), "WHEELS": str(folder / "wheels")}
    environment |= {"PATH": f"{python}:{os.environ['PATH']}"}
    done = subprocess.run(build, env={**os.environ, **environment}, capture_output=True, text=True)
    if "No matching distribution found" in done.stderr:
        pytest.skip(f"pip finds no packages of containers/{name}.lock here")
    assert done.returncode == 0, done.stderr[-2000:]
    return output


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a language model of random weights, outside any run, as users have it."""
    from support.tiny_lm import write_tiny_lm

    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_lm(folder)
    return folder


@pytest.fixture
def slurm(bare_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster without accounting, which this process's Slurm commands talk to. No test may leave a job there."""
    yield from _selected(bare_cluster, monkeypatch)


@pytest.fixture
def slurm_with_accounting(accounting_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster with accounting, which this process's Slurm commands talk to. No test may leave a job there."""
    yield from _selected(accounting_cluster, monkeypatch)


def _cluster(cluster: Cluster) -> Iterator[Cluster]:
    try:
        cluster.up()
    except Unavailable as reason:
        pytest.skip(f"no Slurm here: {reason}")
    yield cluster
    cluster.down()


def _selected(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with monkeypatch.context() as context:
        context.setenv("SLURM_CONF", cluster.environment()["SLURM_CONF"])
        yield cluster
        try:
            wait_until(lambda: not cluster.run("squeue", "--noheader"), "the queue is empty", 120)
        finally:
            if left := cluster.run("squeue", "--noheader", "--format=%A").split():
                cluster.run("scancel", *left)
