"""An offline run of Weights & Biases: one a search, in one file, written anew from the results as rounds close.

So a search that was killed and goes on is one run without a step twice; `wandb sync` takes it to a server.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from evohpc.config.search import Config
from evohpc.errors import ConfigError
from evohpc.files import write_atomic
from evohpc.linux import python
from evohpc.messages import SEED_ROUND
from evohpc.run_folder import RunDir, read_provenance
from evohpc.search import wandb_run
from evohpc.search.scalars import Scalars, Told

FOLDER = "wandb"
"""In the run folder."""

AT_MOST_S = 120.0
"""What writing may take; with 16,000 children it takes seconds."""


class WeightsAndBiases:
    """Writes a search as one offline run."""

    def __init__(self, run: RunDir, config: Config, scalars: Scalars) -> None:
        """Look whether it can be done.

        Raises:
            ConfigError: the package wandb is not installed here.
            RunFolderError: the provenance of the run cannot be read.
        """
        if find_spec("wandb") is None:
            raise ConfigError("wandb is not there: pip install 'evohpc[wandb]'")
        provenance = read_provenance(run)
        self._id, self._created = provenance["run_id"], datetime.fromisoformat(provenance["created_at"])
        self._folder, self._name = run.path / FOLDER, run.path.resolve().name
        self._config, self._scalars = config, scalars
        self._rounds: dict[int, Told] = {}

    @property
    def path(self) -> Path:
        """The run, where `wandb sync` looks for it."""
        return self._folder / f"offline-run-{self._created:%Y%m%d_%H%M%S}-{self._id}" / f"run-{self._id}.wandb"

    def has(self, round: int) -> bool:
        """Say no: each driver begins by writing all of it again."""
        return False

    def tell(self, rounds: Sequence[int]) -> None:
        """Write the run up to the last of these rounds.

        Raises:
            ConfigError: wandb failed.
            StorageError: the file system refused.
        """
        last = max(rounds)
        for round in range(SEED_ROUND, last + 1):
            if round in rounds or round not in self._rounds:
                self._rounds[round] = self._scalars.of(round)
        write_atomic(self.path, self._written(last))

    def _written(self, last: int) -> bytes:
        with tempfile.TemporaryDirectory(prefix="evohpc-wandb-") as folder:
            _write(json.dumps({**self._given(last), "folder": folder}), folder)
            for path in Path(folder).glob("wandb/offline-run-*/run-*.wandb"):
                return path.read_bytes()
        raise ConfigError("wandb: nothing was written")

    def _given(self, last: int) -> dict[str, object]:
        told = [self._rounds[round] for round in range(SEED_ROUND, last + 1)]
        return {
            "id": self._id,
            "name": self._name,
            "config": self._config.model_dump(mode="json"),
            "scalars": [(*scalar, each.finished_at) for each in told for scalar in each.scalars],
        }


def _write(given: str, folder: str) -> None:
    """Let another process write a run; end it, and what it has started, if that takes too long.

    Raises:
        ConfigError: it failed.
    """
    command = [*python(), "-m", wandb_run.__name__, str(os.getpid())]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=wandb_run.environment(folder),
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, said = process.communicate(given, AT_MOST_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ConfigError(f"wandb was not done after {AT_MOST_S:.0f} s") from None
            raise
    if process.returncode != 0:
        raise ConfigError(f"wandb: {(said.strip().splitlines() or [f'exit code {process.returncode}'])[-1]}")
