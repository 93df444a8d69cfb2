"""Where a run comes from: what made it, of what, when and on which host."""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from evohpc.config.search import Config
from evohpc.run_folder import RunDir
from evohpc.tasks.data import secret_digest


def of_new_run(run: RunDir, config: Config) -> dict[str, Any]:
    """Return what provenance.json says of a run that is made now, by this process."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", run.path.resolve().name).strip("-").lower()[:24] or "run"
    return {
        "run_id": f"{slug}-{secrets.token_hex(4)}",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "command": sys.argv,
        "evohpc": metadata.version("evohpc"),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "secret_sha256": secret_digest(run),
        "seeds_from": str(config.seeds),
        "task_from": str(config.task),
    }


def _git_commit() -> str:
    """Return the commit that evohpc runs from, '' if it is installed from a package."""
    git, repository = shutil.which("git"), Path(__file__).parents[2]
    if git is None or not (repository / ".git").exists():  # the latter: it may lie within a repository of the user's
        return ""
    answer = subprocess.run(
        [git, "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        check=False,
    )
    return answer.stdout.strip()
