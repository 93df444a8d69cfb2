"""Users' setup lines, run where a job would run them."""

from __future__ import annotations

import os
import subprocess

from evohpc.slurm.script import after_setup


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
