"""The LM job of one round: `python -m evohpc.lm.generate RUN/rounds/NNN/request.json`.

Tunes the soft prompt if the request asks for it, then draws what is missing of the completions. May be killed and
started again at any moment: the tuned soft prompt and all finished completions are kept, and the rest comes out as if
nothing had happened. Under torchrun each rank draws the completions of its own share of the prompts.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evohpc.envelopes import decode
from evohpc.errors import EnvelopeError, EvohpcError, LMError
from evohpc.lm import journal
from evohpc.records import LMRequest, Prompt, Tuning
from evohpc.rundir import RoundDir, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

    from evohpc.lm.model import LanguageModel

TUNING = "tuning.json"
"""In the round's folder: how the tuning went."""

_PR_SET_PDEATHSIG = 1
_TELL_EVERY_S = 5.0


def main() -> int:
    """Answer the request on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="evohpc.lm.generate")
    parser.add_argument("request", type=Path)
    parser.add_argument("--model", help="the model folder, where it is not at the path that the request names")
    parser.add_argument("--parent", type=int, help="end when this process, the caller, does")
    options = parser.parse_args()
    if options.parent is not None:
        _end_with(options.parent)
    try:
        answer(options.request, options.model)
    except EvohpcError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def answer(path: Path, model_path: str | None = None) -> None:
    """Tune and generate what a request still lacks.

    Args:
        model_path: folder of the model, if not the one that the request names.

    Raises:
        LMError: the request, the model folder or a soft prompt cannot be used.
        StorageError: the file system refused.
    """
    try:
        request = decode(path.read_bytes(), LMRequest)
    except (OSError, EnvelopeError) as error:
        raise LMError(f"{path}: {error}") from None
    request = replace(request, model_path=model_path or request.model_path)
    round = RoundDir(path.parent)
    if len(journal.recover(round.completions, request)) == len(journal.places(request)):
        return
    from evohpc.lm import model, ranks

    model.configure_torch(request.threads)
    with _telling(f"loading {request.model_path}"):
        lm = model.load(Path(request.model_path), request.dtype)
    if ranks.WORLD_SIZE > 1:
        ranks.initialize()
    soft_prompt = _soft_prompt(lm, request, round)
    model.pack(lm.model)
    _generate(lm, soft_prompt, request, round)
    ranks.wait_for_all()


def _soft_prompt(lm: LanguageModel, request: LMRequest, round: RoundDir) -> Tensor | None:
    """Return the soft prompt to generate with, tuning it first if that is asked for and was not done."""
    from evohpc.lm import soft_prompt

    run = round.path.parent.parent
    tuning = request.tuning
    start = request.soft_prompt if tuning is None else tuning.start_from
    before = None if start is None else soft_prompt.load(run / start)
    if tuning is None or (_was_tuned(round) and not round.soft_prompt.is_dir()):
        return before
    if not round.soft_prompt.is_dir():
        _tune(lm, tuning, before, request, round)
    return soft_prompt.load(round.soft_prompt) if round.soft_prompt.is_dir() else before


def _was_tuned(round: RoundDir) -> bool:
    """Say whether a tuning was tried to its end; one that failed would fail again."""
    return (round.path / TUNING).is_file()


def _tune(lm: LanguageModel, tuning: Tuning, before: Tensor | None, request: LMRequest, round: RoundDir) -> None:
    """Tune, and write the soft prompt and how it went."""
    from evohpc.lm import ranks, soft_prompt
    from evohpc.lm.tuning import Step, TuningFailed, tune

    started = time.monotonic()
    losses: list[float] = []
    total = tuning.epochs * -(-len(tuning.examples) // tuning.batch_size)

    def tell(step: Step) -> None:
        losses.append(step.loss)
        _say(f"tuning: step {len(losses)} of {total}, loss {step.loss:.4f}")

    outcome, detail = "tuned", ""
    try:
        tuned = tune(lm, tuning, before, request.deepspeed_config, tell)
        if ranks.RANK == 0:
            soft_prompt.save(tuned, round.soft_prompt)
    except TuningFailed as failure:
        outcome, detail = "failed", str(failure)
        _say(f"tuning failed, going on with the last soft prompt: {failure}")
    if ranks.RANK == 0:
        record = {
            "outcome": outcome,
            "detail": detail,
            "examples": len(tuning.examples),
            "seconds": float(f"{time.monotonic() - started:.2f}"),
            "losses": [loss if abs(loss) < float("inf") else None for loss in losses],
        }
        write_atomic(round.path / TUNING, json.dumps(record, allow_nan=False) + "\n")
    ranks.wait_for_all()


def _generate(lm: LanguageModel, soft_prompt: Tensor | None, request: LMRequest, round: RoundDir) -> None:
    from evohpc.lm import ranks
    from evohpc.lm.decoding import Decoder, Settings

    if ranks.RANK == 0:
        _gather(request, round)
    ranks.wait_for_all()
    missing = list(_missing(request, round))
    settings = Settings(request.batch_size, request.max_new_tokens, request.top_k, request.top_p)
    decoder = Decoder(lm, soft_prompt, settings)
    speed = _Speed(sum(len(prompt.samples) for prompt in missing))
    for completions in decoder.draw(missing[ranks.RANK :: ranks.WORLD_SIZE], speed.count):
        journal.append(_part(round, ranks.RANK), completions)
        speed.finish(len(completions))
    ranks.wait_for_all()
    if ranks.RANK == 0:
        _gather(request, round)
        journal.close(round.completions, request)
        _say("complete")


def _missing(request: LMRequest, round: RoundDir) -> Iterator[Prompt]:
    """Yield the prompts with the samples that are not finished."""
    finished = journal.read(round.completions, request)
    for prompt in request.prompts:
        samples = tuple(sample for sample in prompt.samples if (prompt.index, sample.index) not in finished)
        if samples:
            yield replace(prompt, samples=samples)


def _part(round: RoundDir, rank: int) -> Path:
    """Return the file that a rank appends to; only the first may touch the round's own."""
    return round.completions if rank == 0 else round.path / f"completions.rank{rank}.jsonl"


def _gather(request: LMRequest, round: RoundDir) -> None:
    """Move what other ranks finished, now or before a crash, into the round's own file."""
    finished = journal.recover(round.completions, request)
    for part in sorted(round.path.glob("completions.rank*.jsonl")):
        more = journal.read(part, request)
        journal.append(round.completions, [more[place] for place in more if place not in finished])
        finished |= more
        part.unlink()


class _Speed:
    """Tells, now and then, how far the generation is and how fast."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._tokens = total, 0, 0
        self._started = self._told = time.monotonic()

    def count(self, tokens: int) -> None:
        self._tokens += tokens
        now = time.monotonic()
        if now - self._told > _TELL_EVERY_S:
            self._told = now
            self._tell(now)

    def finish(self, completions: int) -> None:
        self._done += completions
        if self._done == self._total:
            self._tell(time.monotonic())

    def _tell(self, now: float) -> None:
        rate = self._tokens / max(now - self._started, 1e-9)
        _say(f"generating: {self._done} of {self._total} completions, {self._tokens} tokens, {rate:.0f} tokens/s")


@contextmanager
def _telling(what: str) -> Iterator[None]:
    started = time.monotonic()
    _say(what)
    yield
    _say(f"{what}: {time.monotonic() - started:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, the driver, ends in whatever way (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
