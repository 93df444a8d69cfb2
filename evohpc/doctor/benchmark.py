"""Whether a search can begin with the config's task and seeds: by making what it would make, in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from evohpc.config.lm import LMConfig
from evohpc.config.search import Config
from evohpc.config.site import Site
from evohpc.doctor.base import Finding, attempt, fault, ok, warning
from evohpc.doctor.own_task import programs
from evohpc.errors import EvohpcError
from evohpc.evaluation.first_batch import try_first_batch
from evohpc.evaluation.verdict import Failed
from evohpc.evaluation.worker import evaluator
from evohpc.evolution import screening
from evohpc.messages import Candidate
from evohpc.run_folder import RunDir
from evohpc.search import cost, creation
from evohpc.tasks import data


def examine_benchmark(config: Config, site: Site | None = None, *, trains: bool) -> Iterator[Finding]:
    """Make the task's data and screen the seeds, as a search does before its first job. Takes as long.

    Args:
        trains: whether candidates are evaluated on this host: then a seed is trained for one batch.
    """
    return attempt("task and seeds", "making a run in a temporary folder", lambda: _examined(config, site, trains))


def _examined(config: Config, site: Site | None, trains: bool) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="evohpc-doctor-") as folder:
        run = RunDir(Path(folder) / "run")
        try:
            creation.create(run, config.model_copy(update={"lm": LMConfig(engine="scripted")}), site)
        except EvohpcError as error:
            yield fault("task and seeds", str(error), "mend it, and ask again")
            return
        task = data.interface(run)
        yield ok("task", f"{config.task} made its data")
        sources = {path.stem: path.read_text(encoding="utf-8") for path in run.seeds.glob("*.py")}
        seeds = screening.seeds(sources, task, config.screening)
        most = cost.lines(cost.bound(config, len(seeds), site))
        yield ok("cost", "; ".join(f"{what} {text}" for what, text in most))
        yield _seeds(seeds)
        good = [seed for seed in seeds if not seed.status.is_refused]
        for seed in good:
            yield from programs.examine(seed, task)
        if trains and good:
            yield from attempt("training", "starting a sandbox", lambda: _first_batch(run, good[0]))


def _first_batch(run: RunDir, seed: Candidate) -> Finding:
    try:
        with evaluator(run) as ready:
            seconds = try_first_batch(ready, seed.source)
    except Failed as failure:
        return fault("training", f"{seed.id}: {failure.status}: {failure.detail}", "mend the seed, or the task")
    return ok("training", f"{seed.id} was trained for one batch, in {seconds:.1f} s")


def _seeds(seeds: list[Candidate]) -> Finding:
    refused = [f"{seed.id} ({seed.detail})" for seed in seeds if seed.status.is_refused]
    if not refused:
        return ok("seeds", f"{len(seeds)} programs, none refused")
    finding = fault if len(refused) == len(seeds) else warning
    return finding("seeds", f"screening refuses {', '.join(refused)}", "mend them; a refused seed is no parent")
