"""Checks that a config given again for a run means the same search, and says what it changes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evohpc.config.lm import read_deepspeed_config
from evohpc.config.search import BEFORE_0_2, Config, load_resolved
from evohpc.config.stop import StopConfig
from evohpc.errors import RunFolderError
from evohpc.run_folder import RunDir
from evohpc.search.seed_files import read_seeds

log = logging.getLogger(__name__)

CHANGEABLE = (
    *("search.rounds", "evaluation.workers", "evaluation.retries", "evaluation.minimum_isolation", "trackers"),
    *(f"search.stop.{name}" for name in StopConfig.model_fields),
)
"""What may change while a search goes on: no earlier result depends on it. Rounds may only grow, and a config given
again lowers no retries."""

COPIED = ("seeds", "task", "lm.deepspeed")
"""What a run has a copy of, compared by content."""


def accepted(run: RunDir, config: Config) -> tuple[Config, list[tuple[str, Any, Any]]]:
    """Return a config that is given again, as the run takes it, and (key, before, now) of what changes.

    Raises:
        RunFolderError: something differs where results already depend on it.
    """
    old = load_resolved(run.config)
    config = _keeping_attempts(run, _inheriting(config, old), old)
    changes = list(_differences(old.model_dump(mode="json"), _comparable(run, config)))
    refused = [change for change in changes if not _is_allowed(old, *change)]
    if refused:
        key, before, now = refused[0]
        how = ", with other content" if key in COPIED and "/" in str(now) else ""
        raise RunFolderError(
            f"{run.path} holds another search: {key} is {before!r} there and {now!r} in this config{how}; "
            f"take another folder, or leave the config away to go on with that search"
        )
    return config, changes


def _inheriting(config: Config, old: Config) -> Config:
    """Return a config with a run's own settings where it says nothing, and an older evohpc could be told nothing."""
    for name, settings in BEFORE_0_2.items():
        section, its = getattr(config, name), getattr(old, name)
        kept = {key: getattr(its, key) for key in settings if key not in section.model_fields_set}
        config = config.model_copy(update={name: section.model_copy(update=kept)})
    return config


def _keeping_attempts(run: RunDir, config: Config, old: Config) -> Config:
    """Return a config that takes no attempts back: one given again knows nothing of those that `evohpc retry` gave.

    Who lowers evaluation.retries on purpose changes the run's own config: --set, without a config.
    """
    kept, given = old.evaluation.retries, config.evaluation.retries
    if given >= kept or config.seeds.resolve() == run.seeds.resolve():  # the latter: it is the run's own
        return config
    log.warning(
        "evaluation.retries stays %d, as %s/config.yaml has it, and is not lowered to the %d of the config given: "
        "to lower it, leave that config away and give --set evaluation.retries=%d",
        *(kept, run.path, given, given),
    )
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"retries": kept})})


def _comparable(run: RunDir, config: Config) -> dict[str, Any]:
    """Return a config as the run's own would look: with the run's copies in place of files of the same content."""
    document = config.model_dump(mode="json")
    if config.seeds.is_dir() and read_seeds(config.seeds) == read_seeds(run.seeds):
        document["seeds"] = str(run.seeds.resolve())
    if config.task.file is not None and _same(config.task.file, run.task_file):
        document["task"] = str(config.task.moved(run.task_file.resolve()))
    settings = config.lm.deepspeed
    if settings and run.deepspeed.is_file() and read_deepspeed_config(settings) == read_deepspeed_config(run.deepspeed):
        document["lm"]["deepspeed"] = str(run.deepspeed.resolve())
    return document


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def _is_allowed(old: Config, key: str, before: Any, now: Any) -> bool:
    if key == "search.rounds":
        return bool(now > before) and old.search.variant != "naive"  # which draws all rounds' samples in its one
    return key in CHANGEABLE


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict) and key != "task_options":
        for name in {**old, **new}:
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield key, old, new
