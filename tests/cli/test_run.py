"""Searches in places and shells as people have them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.paths import MNIST1D_SEEDS

from evohpc.linux import python
from evohpc.messages import SEED_ROUND, Status
from evohpc.report.reader import Reading
from evohpc.run_folder import RunDir

pytestmark = pytest.mark.slow  # each trains three networks or more

CONFIG = """
task: mnist1d
task_options: {steps: 5, eval_every: 5}
seeds: seeds
search: {rounds: 1, prompts_per_round: 1, samples_per_prompt: 1, error_threshold: 1.0}
lm: {engine: scripted}
evaluation: {workers: 1, time_limit_s: 250, memory_mb: 1500, disk_mb: 64}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a config and seeds of odd names."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "seeds").mkdir()
    for name, seed in (("a b'c $x%20.py", "mlp"), ("-dash.py", "cnn")):
        (tmp_path / "seeds" / name).write_text((MNIST1D_SEEDS / f"{seed}.py").read_text())
    return tmp_path


def search(project: Path, run: str, shell: str = "", **environment: str | None) -> None:
    """Run a search in a shell after these lines; a variable that is None is not set."""
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    command = f'{shell}\nexec "$@"'
    arguments = [*python(), "-m", "evohpc", "run", "--", run, "c.yaml"]
    done = subprocess.run(
        ["bash", "-c", command, "bash", *arguments], cwd=project, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with Reading(project / run) as reading:
        assert reading.store.counts(SEED_ROUND) == {Status.TRAINED: 2}
        assert sum(reading.store.counts(0).values()) == 1


@pytest.mark.parametrize("run", ['ünï cödé "q"', "runs [bold]x/[/red] q'1", "-r $HOME"])
def test_a_run_folder_may_have_any_name(project: Path, run: str) -> None:
    search(project, run)


@pytest.mark.parametrize(
    ("shell", "environment"),
    [
        ("ulimit -n 64; ulimit -s 512", {}),
        ("ulimit -v 8000000", {}),
        ('mkdir -p "it\'s here"', {"TMPDIR": "it's here"}),
        ("", {"TMPDIR": "/nowhere", "HOME": None}),
        ("", {"HOME": "", "LANG": "C", "LC_ALL": "C"}),
    ],
    ids=["few files and a small stack", "little address space", "a quote in TMPDIR", "no TMPDIR", "no HOME"],
)
def test_a_shell_may_be_meagre(project: Path, shell: str, environment: dict[str, str | None]) -> None:
    search(project, "r", shell, **environment)


def test_a_group_may_read_what_the_umask_lets_it_but_no_labels(project: Path) -> None:
    search(project, "r", "umask 027")
    run = RunDir(project / "r")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (run.path, run.config, run.labels.parent, run.labels)}
    assert list(modes.values()) == [0o750, 0o640, 0o700, 0o600], modes
