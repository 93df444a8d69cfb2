"""The LM job of one round: `python -m evohpc.lm.generate RUN/rounds/NNN/request.json`.

Tunes the adapter if the request asks for it, then draws the completions that are missing. The job may be killed and
started again at any moment: it keeps the tuned adapter and all finished completions, and draws the others as it would
have drawn them without the interruption. Under torchrun all ranks tune together. Then each draws its own share of the
completions, or, with tensor parallelism, all draw the same ones with one model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from evohpc import linux
from evohpc.errors import EvohpcError
from evohpc.files import read_json, write_atomic
from evohpc.lm.log import say, telling
from evohpc.lm.times import timed
from evohpc.messages import LMRequest, Tuning
from evohpc.run_folder import RoundDir, read_request

if TYPE_CHECKING:
    from evohpc.lm.adapters import Adapter
    from evohpc.lm.completions import Engine
    from evohpc.lm.model import LanguageModel


def main() -> int:
    """Answer the request on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="evohpc.lm.generate")
    parser.add_argument("request", type=RoundDir.of_request, metavar="RUN/rounds/NNN/request.json")
    parser.add_argument("--model", help="the model folder, where it is not at the path that the request names")
    parser.add_argument("--parent", type=int, help="end when this process, the caller, does")
    parser.add_argument("--only-tune", action="store_true", help="leave the completions to another process")
    options = parser.parse_args()
    if options.parent is not None:
        linux.end_with(options.parent)
    linux.spare_cores()
    work = tune if options.only_tune else answer
    return exit_code(lambda: work(options.request, options.model))


def exit_code(work: Callable[[], None]) -> int:
    """Do an LM job's work and return the exit code; the last line of the log says what went wrong."""
    try:
        work()
    except EvohpcError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def answer(round: RoundDir, model_path: str | None = None) -> None:
    """Tune and generate what a round's request still lacks.

    Args:
        model_path: folder of the model, if not the one that the request names.

    Raises:
        LMError: the model folder or an adapter cannot be used.
        RunFolderError: the request cannot be read.
        StorageError: the file system refused.
    """
    request = read(round, model_path)
    if request.engine == "vllm":
        from evohpc.lm.vllm import job as vllm_job

        vllm_job.answer(round, request)
        return
    from evohpc.lm import completions, ranks

    with ranks.joined():
        # First, as with what needs no model the round may be complete, and the driver goes on.
        engine = _engine(request, round) if ranks.agree(lambda: _is_to_be_tuned(request, round)) else None
        missing = ranks.agree(lambda: completions.missing(request, round))
        if missing:
            engine = engine or _engine(request, round)
            with timed(round, "drawing"):
                completions.complete(engine, request, round, missing)


def tune(round: RoundDir, model_path: str | None = None) -> None:
    """Do the tuning that a round's request asks for, unless it was tried already; draw nothing.

    Args, Raises:
        As `answer`.
    """
    from evohpc.lm import ranks

    request = read(round, model_path)
    with ranks.joined():
        if ranks.agree(lambda: _is_to_be_tuned(request, round)):
            _adapter(_loaded(request, round), request, round)


def _is_to_be_tuned(request: LMRequest, round: RoundDir) -> bool:
    return request.tuning is not None and not round.adapter.is_dir() and not _has_failed(round)


def read(round: RoundDir, model_path: str | None = None) -> LMRequest:
    """Return a round's request, with the path of the model's folder here.

    Raises:
        RunFolderError: it cannot be read.
    """
    request = read_request(round)
    return replace(request, model_path=model_path or request.model_path)


def adapter_to_use(request: LMRequest, round: RoundDir) -> Path | None:
    """Return the folder of the adapter to generate with, None if there is none. Any tuning must be over."""
    if request.tuning is not None and round.adapter.is_dir():
        return round.adapter
    return None if request.adapter is None else round.run.path / request.adapter


def _engine(request: LMRequest, round: RoundDir) -> Engine:
    """Return what draws the completions: the model with its adapter, tuned first if the request asks for it."""
    from evohpc.lm import lora, model, zero3
    from evohpc.lm.decoding import Decoder

    lm = _loaded(request, round)
    adapter = _adapter(lm, request, round)
    if isinstance(adapter, lora.Update):
        lora.merge(lm, adapter)
    if lm.is_partitioned:
        zero3.attach(lm.model, request.deepspeed_config)
    else:
        model.pack(lm.model, request.sampling.batch_size)
    soft_prompt = None if isinstance(adapter, lora.Update) else adapter
    return Decoder(lm, soft_prompt, request.sampling, zero3.Lockstep(lm.model) if lm.is_partitioned else None)


def _loaded(request: LMRequest, round: RoundDir) -> LanguageModel:
    from evohpc.lm import model

    model.configure_torch(request.threads)
    with telling(f"loading {request.model_path}"), timed(round, "loading"):
        folder, is_sliced = Path(request.model_path), request.tensor_parallel
        return model.load(folder, request.dtype, request.deepspeed_config, is_sliced=is_sliced)


def _adapter(lm: LanguageModel, request: LMRequest, round: RoundDir) -> Adapter | None:
    """Return the adapter to generate with; tune it first if the request asks for it and it was not done."""
    from evohpc.lm import adapters, ranks

    tuned = None
    if request.tuning is not None and ranks.agree(lambda: _is_to_be_tuned(request, round)):
        start = request.tuning.start_from
        before = None if start is None else adapters.load(round.run.path / start)
        tuned = _tune(lm, request.tuning, before, request, round)
    folder = ranks.agree(lambda: adapter_to_use(request, round)) if tuned is None else None
    return tuned if folder is None else adapters.load(folder)


def _has_failed(round: RoundDir) -> bool:
    """Say whether a tuning was tried and failed. A record of success alone is that of a job killed before it left the
    adapter."""
    try:
        return bool(read_json(round.tuning)["outcome"] == "failed")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _tune(
    lm: LanguageModel, tuning: Tuning, before: Adapter | None, request: LMRequest, round: RoundDir
) -> Adapter | None:
    """Tune; return the adapter, None if the tuning failed. Write the adapter and a record of the tuning."""
    from evohpc.lm import adapters, ranks
    from evohpc.lm.tuning import Step, TuningFailed, tune

    started = time.monotonic()
    losses: list[float] = []
    total = tuning.epochs * -(-len(tuning.examples) // tuning.batch_size)

    def report(step: Step) -> None:
        losses.append(step.loss)
        say(f"tuning: step {len(losses)} of {total}, loss {step.loss:.4f}")

    tuned, detail = None, ""
    try:
        with timed(round, "tuning"):
            tuned = tune(lm, tuning, before, request.deepspeed_config, report)
    except TuningFailed as failure:
        detail = str(failure)
        say(f"tuning failed, going on with the last adapter: {failure}")
    if ranks.RANK == 0:
        record = {
            "outcome": "failed" if tuned is None else "tuned",
            "detail": detail,
            "examples": len(tuning.examples),
            "seconds": float(f"{time.monotonic() - started:.2f}"),
            "losses": [loss if abs(loss) < float("inf") else None for loss in losses],
        }
        write_atomic(round.tuning, json.dumps(record, allow_nan=False) + "\n")
        if tuned is not None:  # after its record, which nobody writes once there is an adapter
            adapters.save(tuned, round.adapter, request.model_path)
    return tuned


def leave(code: int) -> NoReturn:
    """End this process without the destructors of its libraries.

    Now and then a thread of gloo is still alive then; C++ aborts for that, and torchrun takes the abort for a failure.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
