"""The LM job of one round: `python -m evohpc.lm.generate RUN/rounds/NNN/request.json`.

Tunes the adapter if the request asks for it, then draws what is missing of the completions. May be killed and
started again at any moment: the tuned adapter and all finished completions are kept, and the rest comes out as if
nothing had happened. Under torchrun all ranks tune together and each draws its own share of the completions, or all
draw the same with one model that they hold together.
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
from evohpc.envelopes import decode
from evohpc.errors import EnvelopeError, EvohpcError, LMError
from evohpc.files import write_atomic
from evohpc.lm.log import say, telling
from evohpc.messages import LMRequest, Tuning
from evohpc.run_folder import RoundDir

if TYPE_CHECKING:
    from evohpc.lm.adapters import Adapter
    from evohpc.lm.completions import Engine
    from evohpc.lm.model import LanguageModel

TUNING = "tuning.json"
"""In the round's folder: how the tuning went."""


def main() -> int:
    """Answer the request on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="evohpc.lm.generate")
    parser.add_argument("request", type=Path)
    parser.add_argument("--model", help="the model folder, where it is not at the path that the request names")
    parser.add_argument("--parent", type=int, help="end when this process, the caller, does")
    parser.add_argument("--only-tune", action="store_true", help="leave the completions to another process")
    options = parser.parse_args()
    if options.parent is not None:
        linux.end_with(options.parent)
    work = tune if options.only_tune else answer
    return told(lambda: work(options.request, options.model))


def told(work: Callable[[], None]) -> int:
    """Do an LM job's work; return the exit code, having told what went wrong in the last line."""
    try:
        work()
    except EvohpcError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def answer(path: Path, model_path: str | None = None) -> None:
    """Tune and generate what a request still lacks.

    Args:
        model_path: folder of the model, if not the one that the request names.

    Raises:
        LMError: the request, the model folder or an adapter cannot be used.
        StorageError: the file system refused.
    """
    request, round = read(path, model_path), RoundDir(path.parent)
    if request.engine == "vllm":
        from evohpc.lm.vllm import job as vllm_job

        vllm_job.answer(path, request)
        return
    from evohpc.lm import completions, ranks

    with ranks.joined():
        places = ranks.agree(lambda: completions.missing(request, round))
        if places:
            completions.complete(_engine(request, round), request, round, places)


def tune(path: Path, model_path: str | None = None) -> None:
    """Tune what a request asks to be tuned, unless that was tried already; draw nothing.

    Args, Raises:
        As `answer`.
    """
    from evohpc.lm import ranks

    request, round = read(path, model_path), RoundDir(path.parent)
    with ranks.joined():
        was_tried = ranks.agree(lambda: round.adapter.is_dir() or (round.path / TUNING).is_file())
        if request.tuning is not None and not was_tried:
            _adapter(_loaded(request), request, round)


def read(path: Path, model_path: str | None = None) -> LMRequest:
    """Return a request, with the path of the model's folder here.

    Raises:
        LMError: it cannot be read.
    """
    try:
        request = decode(path.read_bytes(), LMRequest)
    except (OSError, EnvelopeError) as error:
        raise LMError(f"{path}: {error}") from None
    return replace(request, model_path=model_path or request.model_path)


def adapter_to_use(request: LMRequest, round: RoundDir) -> Path | None:
    """Return the folder of the adapter to generate with, if there is one, when all that is asked for was tuned."""
    is_tuned = request.tuning is not None and round.adapter.is_dir()
    return round.adapter if is_tuned else _last_adapter(request, round)


def _last_adapter(request: LMRequest, round: RoundDir) -> Path | None:
    """Return the folder of the adapter of earlier rounds."""
    start = request.adapter if request.tuning is None else request.tuning.start_from
    return None if start is None else round.path.parent.parent / start


def _engine(request: LMRequest, round: RoundDir) -> Engine:
    """Return the model, with what was tuned for it, made ready to generate."""
    from evohpc.lm import lora, model, zero3
    from evohpc.lm.decoding import Decoder, Settings

    lm = _loaded(request)
    adapter = _adapter(lm, request, round)
    if isinstance(adapter, lora.Update):
        lora.merge(lm, adapter)
    if lm.is_partitioned:
        zero3.attach(lm.model, request.deepspeed_config)
    else:
        model.pack(lm.model, request.batch_size)
    soft_prompt = None if isinstance(adapter, lora.Update) else adapter
    return Decoder(lm, soft_prompt, Settings.of(request), zero3.Lockstep(lm.model) if lm.is_partitioned else None)


def _loaded(request: LMRequest) -> LanguageModel:
    from evohpc.lm import model

    model.configure_torch(request.threads)
    with telling(f"loading {request.model_path}"):
        folder, is_sliced = Path(request.model_path), request.tensor_parallel
        return model.load(folder, request.dtype, request.deepspeed_config, is_sliced=is_sliced)


def _adapter(lm: LanguageModel, request: LMRequest, round: RoundDir) -> Adapter | None:
    """Return the adapter to generate with, tuning it first if that is asked for and was not done."""
    from evohpc.lm import adapters, ranks

    last = _last_adapter(request, round)
    before = None if last is None else adapters.load(last)
    is_tuned, was_tried = ranks.agree(lambda: (round.adapter.is_dir(), (round.path / TUNING).is_file()))
    if request.tuning is not None and is_tuned:
        return adapters.load(round.adapter)
    if request.tuning is None or was_tried:  # one that failed would fail again
        return before
    tuned = _tune(lm, request.tuning, before, request, round)
    return before if tuned is None else tuned


def _tune(
    lm: LanguageModel, tuning: Tuning, before: Adapter | None, request: LMRequest, round: RoundDir
) -> Adapter | None:
    """Return the tuned adapter, None if that failed; write it and how it went."""
    from evohpc.lm import adapters, ranks
    from evohpc.lm.tuning import Step, TuningFailed, tune

    started = time.monotonic()
    losses: list[float] = []
    total = tuning.epochs * -(-len(tuning.examples) // tuning.batch_size)

    def tell(step: Step) -> None:
        losses.append(step.loss)
        say(f"tuning: step {len(losses)} of {total}, loss {step.loss:.4f}")

    tuned, detail = None, ""
    try:
        tuned = tune(lm, tuning, before, request.deepspeed_config, tell)
    except TuningFailed as failure:
        detail = str(failure)
        say(f"tuning failed, going on with the last adapter: {failure}")
    if ranks.RANK == 0:
        if tuned is not None:
            adapters.save(tuned, round.adapter, request.model_path)
        record = {
            "outcome": "failed" if tuned is None else "tuned",
            "detail": detail,
            "examples": len(tuning.examples),
            "seconds": float(f"{time.monotonic() - started:.2f}"),
            "losses": [loss if abs(loss) < float("inf") else None for loss in losses],
        }
        write_atomic(round.path / TUNING, json.dumps(record, allow_nan=False) + "\n")
    return tuned


def _leave(code: int) -> NoReturn:
    """End this process without the destructors of its libraries.

    Now and then a thread of gloo is still alive then; C++ aborts for that, and torchrun takes the abort for a failure.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
