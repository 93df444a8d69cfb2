"""The seam between the driver and the language model: hand over a round's request, wait for its completions.

Imports no torch: the model lives in a process of its own (`python -m evohpc.lm.generate`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Protocol

from evohpc.envelopes import decode
from evohpc.errors import EnvelopeError, LMError, storage_error
from evohpc.interpreter import python
from evohpc.lm import journal
from evohpc.records import Completion, LMRequest
from evohpc.rundir import RoundDir

_END_WITHIN_S = 5.0
_ERROR = "error: "
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


class LMJob(Protocol):
    """Draws the completions of one request at a time. All verbs are idempotent."""

    @property
    def held(self) -> str:
        """Why the job will not start without a person, in the scheduler's words; '' if nothing holds it."""

    def start(self, request: Path) -> None:
        """Have `rounds/NNN/request.json` answered. Nothing new starts if it is answered, or being answered, already;
        what an earlier job finished is kept."""

    def poll(self) -> bool:
        """Say whether `completions.jsonl` is complete.

        Raises:
            LMError: the job ended without completing it; names its log.
        """

    def cancel(self) -> None:
        """End the job with all its processes; what it finished is kept."""

    def release(self) -> None:
        """Give back what waits for further requests: there will be none."""

    def close(self) -> None:
        """Release this process's own resources. A local job ends with it; a scheduler's job goes on."""


class LocalLMJob:
    """An `LMJob` as a subprocess of this machine. It ends with the driver, however that ends."""

    held = ""

    def __init__(self) -> None:
        self._request: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self, request: Path) -> None:
        """See `LMJob.start`.

        Raises:
            StorageError: the log cannot be written.
        """
        is_running = self._process is not None and self._process.poll() is None
        if is_running and self._request == request:
            return
        self.cancel()
        self._request = request
        if not is_complete(request):
            self._process, self._log_start = _spawn(request)

    def poll(self) -> bool:
        """See `LMJob.poll`."""
        assert self._request is not None, "poll() before start()"
        # In this order: a job that completes the file between the two questions has ended well.
        code = None if self._process is None else self._process.poll()
        if is_complete(self._request):
            self._reap()
            return True
        if self._process is not None and code is None:
            return False
        raise failure(self._request, _what_happened(self._request, code, self._log_start))

    def _reap(self) -> None:
        """Give a job that has written all it had to a moment to end by itself, and its memory back."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_WITHIN_S)
        self.cancel()

    def cancel(self) -> None:
        """See `LMJob.cancel`."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_WITHIN_S)
                break

    def release(self) -> None:
        """See `LMJob.release`. Nothing waits: each request has a process of its own."""

    def close(self) -> None:
        """See `LMJob.close`."""
        self.cancel()


def read_completions(path: Path, request: LMRequest) -> list[Completion]:
    """Return the completions of a request in the order of its prompts and samples.

    Raises:
        LMError: the file is not complete.
    """
    finished = journal.read(path, request)
    missing = [place for place in journal.places(request) if place not in finished]
    if missing:
        prompt, sample = missing[0]
        raise LMError(f"{path}: {len(missing)} completions are missing, the first is prompt {prompt}, sample {sample}")
    return [finished[place] for place in journal.places(request)]


def progress(request: Path) -> tuple[int, int]:
    """Return (finished completions, completions asked for) of `rounds/NNN/request.json`."""
    asked, path = load_request(request), RoundDir(request.parent).completions
    finished = set(journal.read(path, asked)).union(*journal.read_parts(path, asked).values())
    return len(finished), len(journal.places(asked))


def is_complete(request: Path) -> bool:
    """Say whether all completions that `rounds/NNN/request.json` asks for are there."""
    return journal.is_complete(RoundDir(request.parent).completions, load_request(request))


def load_request(path: Path) -> LMRequest:
    """Read a round's request.

    Raises:
        LMError: it is missing, torn or altered.
    """
    try:
        return decode(path.read_bytes(), LMRequest)
    except (OSError, EnvelopeError) as error:
        raise LMError(f"{path}: {error}; delete it to have it written anew") from None


def last_error(log: str) -> str:
    """Return what the last line says in which an LM job told why it gives up; '' if there is none."""
    lines = [line.strip() for line in log.splitlines()]
    return next((line.removeprefix(_ERROR) for line in reversed(lines) if line.startswith(_ERROR)), "")


def failure(request: Path, reason: str, log: Path | None = None) -> LMError:
    """Return the error for an LM job that ended without completing its request.

    Args:
        log: where it tells more, if not in the round's log.
    """
    where = log or RoundDir(request.parent).lm_log
    return LMError(f"the LM job of {request.parent} failed: {reason}; its log is {where}")


def check_model_folder(path: Path) -> None:
    """Check that a folder looks like a Hugging Face causal LM, without loading it.

    Raises:
        LMError: it is missing, or lacks its config, weights or tokenizer.
    """
    advice = "lm.path must name the folder of a Hugging Face causal LM; evohpc fetch-lm makes one"
    if not path.is_dir():
        raise LMError(f"{path} is {'not a folder' if path.exists() else 'missing'}; {advice}")
    if not (path / "config.json").is_file():
        raise LMError(f"{path} has no config.json; {advice}")
    if missing := _missing_weights(path):
        raise LMError(f"{path} has no {missing}; {advice}")
    if not any((path / name).is_file() for name in _TOKENIZERS):
        raise LMError(f"{path} has no tokenizer ({', '.join(_TOKENIZERS)}); {advice}")


def _missing_weights(path: Path) -> str | None:
    """Return which weights a model folder lacks; None if it lacks none."""
    for index in path.glob("*.index.json"):
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return f"readable {index.name}"
        return next((str(shard) for shard in sorted(shards) if not (path / shard).is_file()), None)
    has_weights = any(path.glob("*.safetensors")) or any(path.glob("pytorch_model*.bin"))
    return None if has_weights else "weights (*.safetensors)"


def _spawn(request: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the job; return it with the place in its log, which earlier jobs may have begun, where its part starts."""
    log = RoundDir(request.parent).lm_log
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            start = out.tell()
            process = subprocess.Popen(
                [*python(), "-m", "evohpc.lm.generate", "--parent", str(os.getpid()), str(request)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
            return process, start
    except OSError as error:
        raise storage_error(log, error) from error


def _what_happened(request: Path, code: int | None, log_start: int) -> str:
    """Return why a job ended too early."""
    if code == -signal.SIGKILL:
        return "it was killed, most likely for want of memory (a smaller lm.batch_size or lm.dtype: bfloat16 helps)"
    try:
        log = RoundDir(request.parent).lm_log.read_bytes()[log_start:].decode(errors="replace").strip()
    except OSError:
        log = ""
    return last_error(log) or log.rpartition("\n")[2] or f"exit code {code}"
