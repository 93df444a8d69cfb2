"""An LM job without a model: it mutates the parents in the prompt by fixed rules. For rehearsals and tests.

Like the real LM job it is a function of the request: a completion depends only on its prompt and its own seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.random import Generator, Philox

from evohpc.evolution.rescaling import with_one_changed
from evohpc.lm import completions_file, rescaling
from evohpc.lm.programs import shown_bodies
from evohpc.messages import Completion, LMRequest, Prompt, Sample
from evohpc.run_folder import RoundDir, read_request


class ScriptedLMJob:
    """An `LMJob` that answers in `start`."""

    held = ""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        """`texts`, if given, are the completions: number i of the request gets `texts[i % len(texts)]`."""
        self._texts = tuple(texts)

    def start(self, round: RoundDir) -> None:
        """See `LMJob.start`."""
        request = read_request(round)
        if not completions_file.is_complete(round.completions, request):
            completions_file.write(round.completions, self._draw(request))

    def poll(self) -> bool:
        """See `LMJob.poll`."""
        return True

    def cancel(self) -> None:
        """See `LMJob.cancel`."""

    def release(self) -> None:
        """See `LMJob.release`."""

    def close(self) -> None:
        """See `LMJob.close`."""

    def _draw(self, request: LMRequest) -> list[Completion]:
        samples = [(prompt, sample) for prompt in request.prompts for sample in prompt.samples]
        return [self._complete(number, prompt, sample) for number, (prompt, sample) in enumerate(samples)]

    def _complete(self, number: int, prompt: Prompt, sample: Sample) -> Completion:
        if prompt.is_rescaled:
            return rescaling.completion(prompt, sample)
        text = self._texts[number % len(self._texts)] if self._texts else mutate(prompt.text, sample.seed)
        tokens = max(1, len(text.split()))  # as a language model's, which draws an end; none is the mark of a rule
        return Completion(prompt.index, sample.index, text, tokens, "class_end")


def mutate(prompt: str, seed: int) -> str:
    """Return a changed copy of the body of one of the programs in a prompt."""
    rng = Generator(Philox(seed))
    bodies = shown_bodies(prompt) or ["    pass\n"]
    body = bodies[rng.integers(len(bodies))]
    rules: tuple[Callable[[str, Generator], str], ...] = (_resize, _drop_line, _double_line, _break, _copy)
    return rules[rng.choice(len(rules), p=(0.6, 0.1, 0.1, 0.1, 0.1))](body, rng)


def _resize(body: str, rng: Generator) -> str:
    return with_one_changed(body, rng, lambda number, factor: max(1, round(number * factor)))


def _drop_line(body: str, rng: Generator) -> str:
    lines = body.splitlines(keepends=True)
    del lines[rng.integers(len(lines))]
    return "".join(lines)


def _double_line(body: str, rng: Generator) -> str:
    lines = body.splitlines(keepends=True)
    index = int(rng.integers(len(lines)))
    return "".join([*lines[: index + 1], *lines[index:]])


def _break(body: str, rng: Generator) -> str:
    return body[: rng.integers(1, max(2, len(body)))] + "("


def _copy(body: str, rng: Generator) -> str:
    return body
