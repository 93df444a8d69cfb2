"""Every path of a run.

RUN/
  config.yaml            resolved
  site.yaml              the site profile, resolved, if one was given
  provenance.json        run id, versions, git commit, host
  search.db              the ledger; one writer (store/store.py); *.kept-<n> are earlier ones (store/backup.py)
  search.db.left         how a driver left it and the snapshot, for the next one (store/left.py)
  snapshots/search.db    a verified copy; what every reader opens
  progress.json          what the driver did last, for `evohpc status`
  clock.json             seconds that drivers were at work
  stopped.json           why the search has ended before its last round (search.stop), if it has
  lease/<epoch>.json     who drives (driver/lease.py)
  seeds/*.py, task.py, deepspeed.json
                         frozen copies: the run does not depend on files outside it, but for the LM
  data/                  task.json, train.safetensors, inputs.safetensors; given to candidates
  labels/                labels.safetensors, and secret (validation samples come from it); never given to candidates
  driver.sbatch, driver.log, driver.successor, driver.over
                         of the Slurm job that drives the search; the last says that no other is to follow
  slurm/<name>/<k>/      the LM jobs of the whole run, where the site has them wait for requests: script, job id, log
  rounds/seeds/, rounds/000/, ...
    request.json         the request to the LM job
    tuning.json          how the tuning went: outcome, seconds, losses
    lm_times.jsonl       when the language model was loading, tuning and drawing
    adapter/             the soft prompt tuned in this round, or the LoRA (a peft folder)
    completions.jsonl    its answer
    portions/<k>.json    what of it was admitted while the rest was still drawn (driver/portions.py)
    jobs/<name>.json     what was handed out for evaluation, before it was
    candidates/<id>.py, results/<id>.<attempt>.json
    logs/
    slurm/<name>/<k>/    the job arrays: script, pickle, job id, logs
    quarantine/          files that could not be trusted, each with its reason
    rung-<k>.json        who has passed this rung, if there are any (driver/rungs.py)
    late.json            who had no outcome when the round closed, if anyone (search.close_at)
    survivors.json       who was selected; written when the round closes
    archive.zip          candidates/, results/, jobs/, logs/ and slurm/ of a round that is over
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evohpc.envelopes import decode
from evohpc.errors import EnvelopeError, RunFolderError, no_run_folder
from evohpc.files import read_json
from evohpc.messages import SEED_ROUND, LMRequest, Sampling


@dataclass(frozen=True, slots=True)
class RoundDir:
    """The files of one round."""

    path: Path

    @classmethod
    def of_request(cls, path: str | Path) -> RoundDir:
        """Return the round whose request a command line names: RUN/rounds/NNN/request.json."""
        return cls(Path(path).absolute().parent)

    @property
    def name(self) -> str:
        """'seeds', '000', '001', ..."""
        return self.path.name

    @property
    def run(self) -> RunDir:
        """The run that it belongs to."""
        return RunDir(self.path.parent.parent)

    @property
    def request(self) -> Path:
        return self.path / "request.json"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def completions(self) -> Path:
        return self.path / "completions.jsonl"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def candidates(self) -> Path:
        return self.path / "candidates"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def lm_times(self) -> Path:
        """What the language model's processes spent their time on: a line of JSON for each while."""
        return self.path / "lm_times.jsonl"

    @property
    def tuning(self) -> Path:
        return self.path / "tuning.json"

    @property
    def lm_log(self) -> Path:
        return self.logs / "lm.log"

    @property
    def slurm(self) -> Path:
        return self.path / "slurm"

    @property
    def survivors(self) -> Path:
        return self.path / "survivors.json"

    @property
    def late(self) -> Path:
        return self.path / "late.json"

    @property
    def quarantine(self) -> Path:
        return self.path / "quarantine"

    @property
    def archive(self) -> Path:
        return self.path / "archive.zip"

    def job(self, name: str) -> Path:
        """Envelope of the `EvaluationJob` of that name."""
        return self.jobs / f"{name}.json"

    def candidate(self, candidate_id: str) -> Path:
        """Source file of a candidate."""
        return self.candidates / f"{candidate_id}.py"

    def result(self, candidate_id: str, attempt: int) -> Path:
        """Envelope of one attempt."""
        return self.results / f"{candidate_id}.{attempt}.json"

    def log(self, candidate_id: str, attempt: int) -> Path:
        """The end of what the candidate printed."""
        return self.logs / f"{candidate_id}.{attempt}.log"


@dataclass(frozen=True, slots=True)
class RunDir:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def site(self) -> Path:
        return self.path / "site.yaml"

    @property
    def provenance(self) -> Path:
        return self.path / "provenance.json"

    @property
    def database(self) -> Path:
        return self.path / "search.db"

    @property
    def snapshot(self) -> Path:
        return self.path / "snapshots" / "search.db"

    @property
    def progress(self) -> Path:
        """The last progress of the driver; for people only, nothing depends on it."""
        return self.path / "progress.json"

    @property
    def clock(self) -> Path:
        """The seconds in which a driver was at work."""
        return self.path / "clock.json"

    @property
    def stopped(self) -> Path:
        """An `evolution.stopping.EarlyEnd`; there while no driver is to go on, for a budget is spent."""
        return self.path / "stopped.json"

    @property
    def lease(self) -> Path:
        return self.path / "lease"

    @property
    def seeds(self) -> Path:
        return self.path / "seeds"

    @property
    def driver_log(self) -> Path:
        """What the Slurm jobs that drive it print."""
        return self.path / "driver.log"

    @property
    def task_file(self) -> Path:
        return self.path / "task.py"

    @property
    def deepspeed(self) -> Path:
        """Copy of the file that `lm.deepspeed` names, if it names one."""
        return self.path / "deepspeed.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def task_interface(self) -> Path:
        return self.data / "task.json"

    @property
    def train(self) -> Path:
        return self.data / "train.safetensors"

    @property
    def inputs(self) -> Path:
        return self.data / "inputs.safetensors"

    @property
    def labels(self) -> Path:
        return self.path / "labels" / "labels.safetensors"

    @property
    def secret(self) -> Path:
        """The seed of the validation samples, as hexadecimal digits; not there in runs made by evohpc 0.1.0."""
        return self.path / "labels" / "secret"

    @property
    def slurm(self) -> Path:
        return self.path / "slurm"

    @property
    def rounds(self) -> Path:
        return self.path / "rounds"

    def round(self, number: int) -> RoundDir:
        """Folder of a round; `SEED_ROUND` is the seeds' own."""
        name = "seeds" if number == SEED_ROUND else f"{number:03d}"
        return RoundDir(self.rounds / name)


def read_provenance(run: RunDir) -> dict[str, Any]:
    """Return what a run folder says of where it comes from; `run_id` is always there.

    Raises:
        RunFolderError: this is no run folder, or the file is damaged.
    """
    path = run.provenance
    try:
        said = read_json(path)
        if not isinstance(said, dict) or not isinstance(said.get("run_id"), str):
            raise ValueError("it names no run_id")
    except (FileNotFoundError, NotADirectoryError):
        raise no_run_folder(run.path) from None
    except OSError as error:
        raise RunFolderError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise RunFolderError(f"{path}: damaged: {error}; take it from a backup") from None
    return said


def read_request(round: RoundDir) -> LMRequest:
    """Return the request to the language model of a round.

    Raises:
        RunFolderError: `request.json` is missing, torn or altered.
    """
    try:
        return decode(_upgraded(round.request.read_bytes()), LMRequest)
    except OSError as error:
        problem = str(error.strerror)
    except EnvelopeError as error:
        problem = str(error)
    raise RunFolderError(f"cannot read {round.request}: {problem}; try again, or delete it to have it written anew")


def _upgraded(text: bytes) -> bytes:
    """Return the text of a request as it is written today; 0.1.0 had the fields of `sampling` beside the others."""
    try:
        document = json.loads(text)
        names = [field.name for field in fields(Sampling) if field.name in document]
        if "sampling" in document or not names:
            return text
        return json.dumps({**document, "sampling": {name: document.pop(name) for name in names}}).encode()
    except (ValueError, TypeError, RecursionError):
        return text  # whoever decodes it says what is wrong with it
