"""Whether a search can begin with the config's task and seeds: by making what it would make, in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from evohpc.config.lm import LMConfig
from evohpc.config.search import Config
from evohpc.doctor.base import Finding, attempt, fault, ok, warning
from evohpc.errors import EvohpcError
from evohpc.evolution import screening
from evohpc.messages import Candidate
from evohpc.run_folder import RunDir
from evohpc.search import creation
from evohpc.tasks import data


def examine_benchmark(config: Config) -> Iterator[Finding]:
    """Make the task's data and screen the seeds, as a search does before its first job. Takes as long."""
    return attempt("task and seeds", "making a run in a temporary folder", lambda: _examined(config))


def _examined(config: Config) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="evohpc-doctor-") as folder:
        run = RunDir(Path(folder) / "run")
        try:
            creation.create(run, config.model_copy(update={"lm": LMConfig(engine="scripted")}))
        except EvohpcError as error:
            yield fault("task and seeds", str(error), "mend it, and ask again")
            return
        task = data.interface(run)
        yield ok("task", f"{config.task} made its data")
        sources = {path.stem: path.read_text(encoding="utf-8") for path in run.seeds.glob("*.py")}
        yield _seeds(screening.seeds(sources, task, config.screening))


def _seeds(seeds: list[Candidate]) -> Finding:
    refused = [f"{seed.id} ({seed.detail})" for seed in seeds if seed.status.is_refused]
    if not refused:
        return ok("seeds", f"{len(seeds)} programs, none refused; evohpc evaluate FILE --config CONFIG trains one")
    finding = fault if len(refused) == len(seeds) else warning
    return finding("seeds", f"screening refuses {', '.join(refused)}", "mend them; a refused seed is no parent")
