"""Makes run folders, and checks that a config given again means the same search.

A run folder holds copies of all that the search depends on but the language model: config, seeds, the user's task file,
the task's data. provenance.json is written last; a folder without it is an unfinished creation and is made anew, so a
mistake that only the task finds out can be mended and the same command given again.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from evohpc import lm_job
from evohpc.config import Config, load_config
from evohpc.errors import ConfigError, RunFolderError, TaskError
from evohpc.preparation import prepare
from evohpc.rundir import RunDir, write_atomic
from evohpc.site import Site

CHANGEABLE = ("search.rounds", "evaluation.workers", "evaluation.retries", "evaluation.minimum_isolation")
"""What may change while a search goes on: no earlier result depends on it. Rounds may only grow."""


def create(run: RunDir, config: Config, site: Site | None = None) -> None:
    """Make a run folder.

    Args:
        site: where the search is to run as Slurm jobs; None for this machine.

    Raises:
        RunFolderError: the folder holds something else.
        ConfigError, TaskError, LMError: what the config names is missing or unusable; the folder can be used again.
    """
    _check(run, config)
    frozen = _freeze_task(run, config)
    for path in sorted(config.seeds.glob("*.py")):
        write_atomic(run.seeds / path.name, path.read_bytes())
    write_atomic(run.config, frozen.model_copy(update={"seeds": run.seeds.resolve()}).dump())
    if site is not None:
        write_atomic(run.site, site.dump())
    run.task_interface.unlink(missing_ok=True)  # of an unfinished creation, perhaps from another config
    prepare(run)
    write_atomic(run.provenance, json.dumps(_provenance(run, config), indent=1) + "\n")


def exists(run: RunDir) -> bool:
    """Say whether this is a run folder whose creation was finished."""
    return run.provenance.is_file()


def run_id(run: RunDir) -> str:
    """Return the id that every file of a run carries.

    Raises:
        RunFolderError: this is no run folder.
    """
    try:
        return str(json.loads(run.provenance.read_text())["run_id"])
    except FileNotFoundError:
        raise RunFolderError(
            f"{run.path} is no run folder (it has no {run.provenance.name}); start one: evohpc run {run.path} CONFIG"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{run.provenance}: damaged: {error}") from None


def reconfigure(run: RunDir, config: Config, site: Site | None = None) -> None:
    """Accept a config, and a site, that are given again for a run that exists.

    Raises:
        RunFolderError: it differs where results already depend on it, so this is another search.
    """
    old = load_config(run.config)
    changes = list(_differences(old.model_dump(mode="json"), _comparable(run, config)))
    refused = [c for c in changes if c[0] not in CHANGEABLE or (c[0] == "search.rounds" and c[2] < c[1])]
    if refused:
        key, before, now = refused[0]
        raise RunFolderError(
            f"{run.path} holds another search: {key} is {before!r} there and {now!r} in this config; "
            f"take another folder, or leave the config away to go on with that search"
        )
    if changes:
        new = {key: now for key, _, now in changes}
        write_atomic(run.config, _updated(old, new).dump())
    if site is not None:
        write_atomic(run.site, site.dump())


def _check(run: RunDir, config: Config) -> None:
    if run.path.exists() and not run.path.is_dir():
        raise RunFolderError(f"{run.path} is a file; a run needs a folder")
    ours = {path.name for path in (run.config, run.site, run.seeds, run.task_file, run.data, run.labels.parent)}
    strangers = sorted(p.name for p in run.path.glob("[!.]*") if p.name not in ours) if run.path.is_dir() else []
    if strangers:
        raise RunFolderError(f"{run.path} holds other files ({', '.join(strangers[:3])}); take a new folder")
    if not any(config.seeds.glob("*.py")):
        raise ConfigError(f"seeds: {config.seeds} has no *.py file; it is the folder of the seed programs")
    if config.lm.engine == "deepspeed" and config.lm.path is not None:
        lm_job.check_model_folder(config.lm.path)


def _freeze_task(run: RunDir, config: Config) -> Config:
    """Copy the user's task file into the run, and return the config that names the copy."""
    file, _, name = config.task.rpartition(":")
    if not file.endswith(".py"):
        return config
    if not Path(file).is_file():
        raise TaskError(f"task: {file}: no such file; write a built-in task's name, or path/to/file.py:ClassName")
    write_atomic(run.task_file, Path(file).read_bytes())
    return config.model_copy(update={"task": f"{run.task_file.resolve()}:{name}"})


def _provenance(run: RunDir, config: Config) -> dict[str, Any]:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", run.path.resolve().name).strip("-").lower()[:24] or "run"
    return {
        "run_id": f"{slug}-{secrets.token_hex(4)}",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "command": sys.argv,
        "evohpc": metadata.version("evohpc"),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "seeds_from": str(config.seeds),
        "task_from": config.task,
    }


def _git_commit() -> str:
    """Return the commit that evohpc runs from, '' if it is installed from a package."""
    git = shutil.which("git")
    if git is None:
        return ""
    here = Path(__file__).parent
    answer = subprocess.run(
        [git, "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        check=False,
    )
    return answer.stdout.strip()


def _comparable(run: RunDir, config: Config) -> dict[str, Any]:
    """Return a config as the run's own would look: same frozen seeds and task if their content is the same."""
    document = config.model_dump(mode="json")
    if _same_seeds(config.seeds, run.seeds):
        document["seeds"] = str(run.seeds.resolve())
    file, _, name = config.task.rpartition(":")
    theirs, ours = Path(file), run.task_file
    if theirs.suffix == ".py" and theirs.is_file() and ours.is_file() and theirs.read_bytes() == ours.read_bytes():
        document["task"] = f"{ours.resolve()}:{name}"
    return document


def _same_seeds(one: Path, other: Path) -> bool:
    return {p.name: p.read_bytes() for p in one.glob("*.py")} == {p.name: p.read_bytes() for p in other.glob("*.py")}


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict) and key != "task_options":
        for name in {**old, **new}:
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield key, old, new


def _updated(config: Config, changes: dict[str, Any]) -> Config:
    document = config.model_dump(mode="json")
    for key, value in changes.items():
        section, _, name = key.partition(".")
        document[section][name] = value
    return Config.model_validate(document)
