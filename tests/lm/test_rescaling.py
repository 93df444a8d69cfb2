from __future__ import annotations

from dataclasses import replace

import pytest
from support.requests import request as lm_request

from evohpc.lm import rescaling
from evohpc.messages import Prompt, Sample

HEADER = "class Model(nn.Module):"
BODY = "    def forward(self, x):\n        return x * 40\n"
SAMPLES = (Sample(0, 11, 1.0), Sample(1, 12, 0.8))


def prompt(index: int, *, by_rule: bool, header: str = HEADER) -> Prompt:
    text = f'"""Metrics:\n"""\n{header}\n{BODY}\n"""Metrics:\n"""\n{HEADER}\n'
    return Prompt(index, text, ("a",), SAMPLES, by_rule)


def test_only_rescaled_prompts_that_lack_a_completion_are_answered() -> None:
    request = replace(
        lm_request(), prompts=(prompt(0, by_rule=True), prompt(1, by_rule=False), prompt(2, by_rule=True))
    )
    found = rescaling.completions(request, {(0, 1)})
    assert [(c.prompt, c.sample, c.tokens, c.stop) for c in found] == [
        (0, 0, 0, "rescaled"),
        (2, 0, 0, "rescaled"),
        (2, 1, 0, "rescaled"),
    ]


def test_a_child_is_its_parent_with_another_number() -> None:
    child = rescaling.completion(prompt(0, by_rule=True), SAMPLES[0]).text
    assert child != BODY
    assert child.startswith("    def forward(self, x):\n        return x * ")


@pytest.mark.parametrize("header", ["class Model(torch.nn.Module):"])
def test_a_parent_with_another_header_gives_a_child_that_is_refused(header: str) -> None:
    assert rescaling.completion(prompt(0, by_rule=True, header=header), SAMPLES[0]).text == ""
