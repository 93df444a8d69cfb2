"""Makes run folders, and takes a config that is given again for one.

A run folder holds copies of all that the search depends on but the language model: config, seeds, the user's task file,
DeepSpeed's settings, the task's data. provenance.json is written last; a folder without it is an unfinished creation
and is made anew, so a mistake that only the task finds out can be mended and the same command given again.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from evohpc.config.lm import is_partitioning, read_deepspeed_config
from evohpc.config.search import Config
from evohpc.config.site import Site
from evohpc.driver import lease
from evohpc.errors import ConfigError, RunFolderError, TaskError
from evohpc.files import check_free, is_utf8, write_atomic, write_once
from evohpc.lm_job.model_folder import check_model_folder
from evohpc.run_folder import RunDir, read_provenance
from evohpc.search import given_again, provenance
from evohpc.search.seed_files import read_seeds
from evohpc.slurm.client import check_folder
from evohpc.store.store import Store
from evohpc.tasks.data import draw_secret, prepare

log = logging.getLogger(__name__)

UNFINISHED = ".unfinished"
"""Marks a folder that a creation has begun to fill; only then may the next one replace what it finds there."""


def create(run: RunDir, config: Config, site: Site | None = None) -> None:
    """Make a run folder.

    Args:
        site: where the search is to run as Slurm jobs; None for this machine.

    Raises:
        RunFolderError: the folder holds something else, or another process makes it just now.
        ConfigError, TaskError, LMError: what the config names is missing or unusable; the folder can be used again.
    """
    if config.lm.needs_a_model and config.lm.path is not None:
        check_model_folder(config.lm.path)
    if site is not None:
        _check_site(run, config, site)
    copies = dict(_copies(run, config))
    _check_free(run)
    write_atomic(run.path / UNFINISHED, "")
    with lease.acquire(run, waiting=log.warning) as held:
        _clear(run)
        for path, content in copies.items():
            write_atomic(path, content)
        save_config(run, config)
        if site is not None:
            write_atomic(run.site, site.dump())
        draw_secret(run)
        prepare(run, config.task.file)
        held.beat()
        if not write_once(run.provenance, json.dumps(provenance.of_new_run(run, config), indent=1) + "\n"):
            raise _made_meanwhile(run)
        (run.path / UNFINISHED).unlink()


def rehearse(run: RunDir, config: Config, site: Site) -> None:
    """Check all that `create`, or `reconfigure` for a run that exists, would check; leave nothing.

    Raises:
        RunFolderError, ConfigError, TaskError, LMError: as these.
    """
    _check_site(run, config, site)
    if exists(run):
        given_again.accepted(run, config)
        return
    _check_free(run)
    with tempfile.TemporaryDirectory(prefix="evohpc-run-") as folder:
        create(RunDir(Path(folder) / run.path.name), config, site)


def _check_site(run: RunDir, config: Config, site: Site) -> None:
    if config.evaluation.runtime == "apptainer" and site.container.image is None:
        raise ConfigError("evaluation.runtime is apptainer, and the site profile has no container.image")
    check_folder(run.path)


def save_config(run: RunDir, config: Config) -> None:
    """Write a run's config. It names the run's own copies by their place in the folder, which can thus be moved.

    Raises:
        StorageError: the file system refused.
    """
    own = {
        "seeds": Path(run.seeds.name),
        "task": config.task.moved(Path(run.task_file.name)),
        "lm": config.lm.model_copy(update={"deepspeed": config.lm.deepspeed and Path(run.deepspeed.name)}),
    }
    write_atomic(run.config, config.model_copy(update=own).dump())


def exists(run: RunDir) -> bool:
    """Say whether this is a run folder whose creation was finished."""
    return run.provenance.is_file()


def run_id(run: RunDir) -> str:
    """Return the id that every file of a run carries.

    Raises:
        RunFolderError: this is no run folder.
    """
    return str(read_provenance(run)["run_id"])


def reconfigure(run: RunDir, config: Config, site: Site | None = None) -> None:
    """Accept a config, and a site, that are given again for a run that exists.

    Raises:
        RunFolderError: it differs where results already depend on it, so this is another search.
        ConfigError, EvaluationError: jobs by this site could not run.
        LeaseError: it differs, and a living driver goes by the old one.
    """
    if site is not None:
        _check_site(run, config, site)
    config, changes = given_again.accepted(run, config)
    is_other_site = site is not None and not (run.site.is_file() and run.site.read_text() == site.dump())
    if not changes and not is_other_site:
        return
    with lease.acquire(run, forgotten=partial(Store.last_epoch, run.database), waiting=log.warning):
        if changes:
            save_config(run, config)
        if site is not None:
            write_atomic(run.site, site.dump())


def _copies(run: RunDir, config: Config) -> Iterator[tuple[Path, bytes | str]]:
    """Yield what a run keeps a copy of: its place in the run, and its content."""
    for name, source in read_seeds(config.seeds).items():
        yield run.seeds / name, source
    if (file := config.task.file) is not None:
        if not file.is_file():
            raise TaskError(f"task: {file}: no such file; write a built-in task's name, or path/to/file.py:ClassName")
        yield run.task_file, file.read_bytes()
    if config.lm.deepspeed is not None:
        yield run.deepspeed, json.dumps(_deepspeed_settings(config), indent=1) + "\n"


def _deepspeed_settings(config: Config) -> dict[str, object]:
    """Read the file that `lm.deepspeed` names; see whether the rest of the config allows its ZeRO stage."""
    settings = read_deepspeed_config(config.lm.deepspeed)
    names = f"lm.deepspeed names {config.lm.deepspeed}, with ZeRO stage 3"
    if is_partitioning(settings) and config.tuning.method == "lora":
        raise ConfigError(
            f"tuning.method is lora, and {names}: a LoRA needs the whole model on each rank; take stage 0 or 2, or "
            "tuning.method soft_prompt"
        )
    if is_partitioning(settings) and config.lm.tensor_parallel:
        raise ConfigError(
            f"lm.tensor_parallel is true, and {names}: either divides the model among the processes, not both; take "
            "stage 0 or 2, or lm.tensor_parallel false"
        )
    return settings


def _check_free(run: RunDir) -> None:
    """Check that a run can be made in a folder.

    Raises:
        RunFolderError: it holds something else.
    """
    if run.path.exists() and not run.path.is_dir():
        raise RunFolderError(f"{run.path} is a file; a run needs a folder")
    if not is_utf8(run.path.absolute()):
        raise RunFolderError(f"{run.path}: a name in this path is not UTF-8, which SQLite needs; take another folder")
    if not (run.path / UNFINISHED).exists():
        check_free(run.path)


def _clear(run: RunDir) -> None:
    """Remove what an unfinished creation left, perhaps of another config.

    Raises:
        RunFolderError: another process has finished it meanwhile.
    """
    if exists(run):
        raise _made_meanwhile(run)
    for folder in (run.seeds, run.data, run.labels.parent):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (run.config, run.site, run.task_file, run.deepspeed):
        file.unlink(missing_ok=True)


def _made_meanwhile(run: RunDir) -> RunFolderError:
    return RunFolderError(f"{run.path} was made by another process just now; run the same command again")
