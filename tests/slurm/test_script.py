"""Users' setup lines, run where a job would run them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from evohpc.slurm.script import after_setup, claim


def run(setup: list[str], command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        after_setup(setup, command), env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_a_function_that_the_login_shell_exports_is_there() -> None:
    """Lmod and Environment Modules hand `module` and `ml` down to jobs that way."""
    module = {"BASH_FUNC_module%%": '() { export LOADED="$2"; }', "BASH_FUNC_ml%%": '() { module load "$1"; }'}
    assert run(["ml cuda"], ["printenv", "LOADED"], **module).stdout == "cuda\n"


def test_the_environment_and_the_folder_of_setup_are_the_command_s() -> None:
    done = run(["cd /", "export SEEN='a b'"], ["sh", "-c", 'echo "$PWD $SEEN $1"', "sh", "it's $HOME"])
    assert done.stdout == "/ a b it's $HOME\n"


def test_an_environment_that_cannot_be_activated_is_said_and_the_command_runs() -> None:
    done = run(["conda activate mine"], ["echo", "ran"], PATH="/usr/bin:/bin")
    assert (done.stdout, "conda: command not found" in done.stderr) == ("ran\n", True)


def test_without_setup_the_command_stands_alone() -> None:
    assert after_setup([], ["python3", "-P"]) == ["python3", "-P"]


def claimed(folder: Path, job: str) -> subprocess.CompletedProcess[str]:
    lines = [*claim(folder, "SLURM_JOB_ID"), "echo begins"]
    environment = {**os.environ, "SLURM_JOB_ID": job}
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)], env=environment, capture_output=True, text=True, check=False
    )


def test_the_first_job_does_the_work_and_again_when_it_is_requeued(tmp_path: Path) -> None:
    assert [claimed(tmp_path, job).stdout for job in ("7", "7", "8")] == [
        "begins\n",
        "begins\n",
        "job 7 does this work; nothing to do for 8\n",
    ]
    assert claimed(tmp_path, "8").returncode == 0


def test_a_node_that_cannot_write_the_run_folder_says_so_and_fails(tmp_path: Path) -> None:
    """Its file system may be read-only or not there. It said that job "" does the work, and ended with 0."""
    done = claimed(tmp_path / "not mounted", "7")
    assert done.returncode == 1
    assert "cannot write to the run folder: ln: failed to create symbolic link" in done.stdout
    assert "begins" not in done.stdout
