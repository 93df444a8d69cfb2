"""What `pip install evohpc` gives: built from a source distribution, installed and used far from any checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from support.paths import ROOT

pytestmark = pytest.mark.slow

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "models", "runs", "build", "dist", "*.egg-info", "__pycache__", ".*_cache"
)
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a source distribution unpacks to."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "checkout", ignore=LEFT_OUT, symlinks=True)
    run(sys.executable, "-c", BUILD.format(kind="sdist"), folder, cwd=folder / "checkout")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.glob("evohpc-*") if path.is_dir())


@pytest.fixture(scope="module")
def installed(source: Path) -> Path:
    """The bin/ of an environment with the wheel, beside the packages that it depends on."""
    folder = source.parent
    run(sys.executable, "-c", BUILD.format(kind="wheel"), folder, cwd=source)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    packages = Path(
        run(
            folder / "venv/bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
        ).strip()
    )
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / "venv/bin/python", "--disable-pip-version-check"]
    run(*pip, "install", "--no-deps", "--no-index", "--ignore-installed", *folder.glob("*.whl"), cwd=folder)
    return folder / "venv" / "bin"


def test_a_wheel_has_something_to_run(installed: Path, tmp_path: Path) -> None:
    evohpc = installed / "evohpc"
    where = run(installed / "python", "-c", "import evohpc; print(evohpc.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(installed.parent)
    root = Path(run(evohpc, "configs", "--root", cwd=tmp_path).strip())
    assert root.is_relative_to(installed.parent)
    assert os.access(root / "containers" / "build.sh", os.X_OK)
    run(evohpc, "init", "spirals", "--task", "own", cwd=tmp_path)
    project = tmp_path / "spirals"
    checked = run(evohpc, "check-task", "config.yaml", "--set", "task_options.steps=50", "--seconds", 250, cwd=project)
    assert "ok       prompt: " in checked
    assert (root / "examples" / "regression" / "friedman.csv").is_file()
    few = ["--set", "search.rounds=1", "--set", "task_options.steps=50"]
    run(evohpc, "run", "runs/first", "config.yaml", *few, cwd=project)
    assert "seed-polar" in run(evohpc, "list", "runs/first", cwd=project)
    run(evohpc, "report", "runs/first", cwd=project)
    assert (project / "runs/first/report.html").stat().st_size > 10_000
    assert "#SBATCH" in run(evohpc, "submit", "runs/first", "--site", "site.yaml", "--dry-run", cwd=project)


def test_a_source_distribution_has_all_that_its_tests_read(source: Path) -> None:
    tracked = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    ignored = {".gitignore", ""}
    assert not [name for name in tracked if name not in ignored and not (source / name).exists()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_configs.py", "tests/shipped"]
    assert " passed" in run(*command, cwd=source)
