"""Completions that need no language model: one parent, with whole numbers changed by `evolution.rescaling`."""

from __future__ import annotations

from collections.abc import Collection

from evohpc.evolution.rescaling import rescaled
from evohpc.lm.completions_file import Key
from evohpc.lm.programs import shown_bodies
from evohpc.messages import Completion, LMRequest, Prompt, Sample


def completions(request: LMRequest, finished: Collection[Key]) -> list[Completion]:
    """Return the completions of a request's rescaled prompts that are not finished."""
    return [
        completion(prompt, sample)
        for prompt in request.prompts
        if prompt.is_rescaled
        for sample in prompt.samples
        if (prompt.index, sample.index) not in finished
    ]


def completion(prompt: Prompt, sample: Sample) -> Completion:
    """Return one child of the program that a prompt shows; one that is refused, if that is a seed with a header that is
    not the task's."""
    text = "".join(rescaled(body, sample.seed) for body in shown_bodies(prompt.text)[-1:])
    return Completion(prompt.index, sample.index, text, 0, "rescaled")
