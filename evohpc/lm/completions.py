"""Draws the completions that a round still lacks: each rank its share, each kept as soon as it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

from evohpc.errors import LMError
from evohpc.lm import completions_file, ranks, rescaling
from evohpc.lm.completions_file import Key
from evohpc.lm.log import say
from evohpc.messages import Completion, LMRequest, Prompt
from evohpc.run_folder import RoundDir

_TELL_EVERY_S = 5.0


class Engine(Protocol):
    """A model, and how completions are drawn from it."""

    def room(self, prompt: Prompt) -> int:
        """Return how many tokens a completion may have; 0 if the model does not take more than the prompt."""

    def draw(self, prompts: Sequence[Prompt], on_step: Callable[[int], None]) -> Iterator[list[Completion]]:
        """Yield completions as they end, until each sample of each prompt has one.

        Args:
            prompts: such as leave `room` for a completion.
            on_step: called with the number of tokens drawn, after each step.
        """

    def finish(self) -> None:
        """Do what the other ranks need of this one until they have drawn theirs."""


def missing(request: LMRequest, round: RoundDir) -> list[Key]:
    """Return what is not finished, in the order of the request; to be asked on the first rank only.

    Takes over what other ranks finished before a crash, adds what needs no model, and puts in order what lacks nothing.

    Raises:
        StorageError: the file system refused.
    """
    finished = completions_file.recover(round.completions, request)
    for part, more in completions_file.read_parts(round.completions, request).items():
        completions_file.append(round.completions, [more[key] for key in more if key not in finished])
        finished |= more
        part.unlink(missing_ok=True)
    by_rule = rescaling.completions(request, finished)
    completions_file.append(round.completions, by_rule)
    finished |= {(completion.prompt, completion.sample): completion for completion in by_rule}
    completions_file.close(round.completions, request)
    return [key for key in completions_file.keys(request) if key not in finished]


def complete(engine: Engine, request: LMRequest, round: RoundDir, keys: Sequence[Key]) -> None:
    """Draw what is missing, the same on all ranks, and put `completions.jsonl` in order.

    Programs may grow until a prompt of them leaves the model no room: then a search of days goes on with the others.

    Raises:
        LMError: no prompt leaves any.
        StorageError: the file system refused.
    """
    replica = ranks.Replica.of(tensor_parallel=request.tensor_parallel)
    mine = replica.share(keys, _samples_of_a_prompt(keys))
    speed = _Speed(len(mine))
    drawn: list[Completion] = []
    kept = round.completions if ranks.RANK == 0 else completions_file.part(round.completions, ranks.RANK)
    fitting, too_long = _by_room(engine, request, _prompts(request, mine))
    for completions in chain(_without_text(too_long), engine.draw(fitting, speed.count)):
        if replica.is_led:
            completions_file.append(kept, completions)
            drawn += completions
        speed.finish(len(completions))
    engine.finish()
    _close(request, round, ranks.gather(drawn))
    ranks.wait_for_all()


def _by_room(engine: Engine, request: LMRequest, prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
    """Return the prompts that leave room for a completion, and those that do not."""
    room = {prompt.index: engine.room(prompt) for prompt in request.prompts}
    if not any(room.values()):  # the same on all ranks, whichever prompts are theirs
        raise LMError(
            "the model takes fewer tokens than any prompt of this round has; a new search needs a model that takes "
            "more, a lower search.examples_per_prompt, or shorter programs (a lower lm.max_new_tokens)"
        )
    fitting = [prompt for prompt in prompts if room[prompt.index]]
    return fitting, [prompt for prompt in prompts if not room[prompt.index]]


def _without_text(prompts: Iterable[Prompt]) -> Iterator[list[Completion]]:
    for prompt in prompts:
        say(f"prompt {prompt.index} has more tokens than the model takes; its completions stay empty")
        yield [Completion(prompt.index, sample.index, prompt.given, 0, "context") for sample in prompt.samples]


def _close(request: LMRequest, round: RoundDir, drawn: Sequence[Sequence[Completion]]) -> None:
    """Add what the other ranks have drawn; on the first rank, the only one that has it."""
    if ranks.RANK == 0:
        for rank in range(1, ranks.WORLD_SIZE):
            completions_file.append(round.completions, drawn[rank])
            completions_file.part(round.completions, rank).unlink(missing_ok=True)
        completions_file.close(round.completions, request)
        say("complete")


def _samples_of_a_prompt(keys: Sequence[Key]) -> int:
    """Return how many, at most, are to be drawn of one prompt. Replicas take turns at prompts: each is computed once,
    and the completions before the first that is missing, all that `lm.overlap` may use, grow with all replicas'."""
    return max(Counter(prompt for prompt, _ in keys).values(), default=1)


def _prompts(request: LMRequest, keys: Sequence[Key]) -> list[Prompt]:
    """Return the prompts with the samples of these keys alone."""
    wanted = set(keys)
    narrowed = [
        replace(prompt, samples=tuple(sample for sample in prompt.samples if (prompt.index, sample.index) in wanted))
        for prompt in request.prompts
    ]
    return [prompt for prompt in narrowed if prompt.samples]


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
            self._report(now)

    def finish(self, completions: int) -> None:
        self._done += completions
        if self._done == self._total:
            self._report(time.monotonic())

    def _report(self, now: float) -> None:
        rate = self._tokens / max(now - self._started, 1e-9)
        say(f"generating: {self._done} of {self._total} completions, {self._tokens} tokens, {rate:.0f} tokens/s")
