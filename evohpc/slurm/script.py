"""What the sbatch scripts of all kinds of jobs have in common."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

CLAIM = "claim"
"""In a job's folder: a link whose target is the id of the Slurm job that does its work; made when that starts."""


def directives(options: Mapping[str, str | int | bool]) -> str:
    """Return the #SBATCH lines for options by their long names; True is an option without a value."""
    lines = [name if value is True else f"{name}={shlex.quote(str(value))}" for name, value in options.items()]
    return "\n".join(f"#SBATCH --{line}" for line in lines)


def claim(folder: Path, variable: str) -> list[str]:
    """Return the lines that fence off a second Slurm job with the same work: its sbatch was taken for lost.

    Args:
        variable: of Slurm, with the id that names the job as a whole.
    """
    link = f"{shlex.quote(str(folder))}/{CLAIM}"
    return [
        f'refused=$(ln -sT "${variable}" {link} 2>&1)',
        f"owner=$(readlink {link})",
        'if [ -z "$owner" ]; then',
        '  echo "error: $(hostname) cannot write to the run folder: $refused"; exit 1',
        f'elif [ "$owner" != "${variable}" ]; then',
        f'  echo "job $owner does this work; nothing to do for ${variable}"; exit 0',
        "fi",
    ]


def after_setup(setup: Sequence[str], command: Sequence[str]) -> list[str]:
    """Return the command that runs a user's shell lines and then another command, in a shell of its own.

    What such lines leave behind (`set -eu`, traps, functions, a changed PATH, an unbalanced quote) must not reach the
    shell that supervises; their environment and folder reach the command. They may end it by `exit`.
    """
    lines = [*setup, f"exec {shlex.join(command)}"]
    return ["/bin/bash", "-c", "\n".join(lines)] if setup else list(command)
