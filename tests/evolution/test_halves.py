from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import MNIST1D_SEEDS

from evohpc.config.prompt import PromptConfig
from evohpc.config.search import SearchConfig
from evohpc.evolution.halves import given_half
from evohpc.evolution.prompts import Example
from evohpc.messages import TaskInterface

TASK = TaskInterface("t", "Model", "class Model(nn.Module):", "import torch.nn as nn\n", ("torch",), "acc")
FUNCTION = TaskInterface("t", "priority", "def priority(item, bins):", "", (), "acc", size_name="nodes")
ALWAYS = PromptConfig(half_programs=1)
SEARCH = SearchConfig(seed=3)
MODEL = """\
class Model(nn.Module):
    # layers
    def __init__(self, width=8):
        super().__init__()
        self.out = nn.Sequential(
            nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(10)
        ); self.scale = 2

    @torch.no_grad()
    def forward(self, x):
        if x is None: return x
        return self.scale * self.out(x)
"""
ENDS = (
    "        super().__init__()",
    "        self.out =",
    "    @torch.no_grad()",
    "        if x",
    "        return self",
)
"""The lines that a child of MODEL may have to begin with."""


def example(source: str, name: str = "a") -> Example:
    return Example(name, source, 100, 0.5)


def halves(*sources: str, task: TaskInterface = TASK, count: int = 200) -> set[str]:
    return {given_half([example(source) for source in sources], task, ALWAYS, SEARCH, 1, i) for i in range(count)}


def test_a_child_is_begun_up_to_any_statement_of_a_parent() -> None:
    body = MODEL.partition("\n")[2]
    assert halves(MODEL) == {body[: body.index(end)] for end in ENDS}


def test_any_parent_that_is_shown_may_be_the_one() -> None:
    other = MODEL.replace("width", "units")
    assert {"units" in half for half in halves(MODEL, other) if "(self, " in half} == {True, False}


def test_a_function_is_begun_after_its_first_statement() -> None:
    source = "def priority(item, bins):\n    left = bins - item\n    return -left\n"
    assert halves(source, task=FUNCTION) == {"    left = bins - item\n"}


@pytest.mark.parametrize("body", ["\n    pass\n", "\n    x = 1; y = 2\n", " pass", "  # one\n\n    # two\n    pass"])
def test_a_program_of_one_line_begins_nothing(body: str) -> None:
    assert halves(f"class Model(nn.Module):{body}") == {""}


@pytest.mark.parametrize("newline", ["\r", "\r\n", "\n"])
def test_lines_are_those_that_python_sees(newline: str) -> None:
    feeds = MODEL.replace("# layers", "# lay\x0cers \x85 \u2028 and more")
    assert halves(feeds.replace("\n", newline)) == halves(feeds)


def test_the_chance_is_the_configs_and_no_other_draw_depends_on_it() -> None:
    def begun(chance: float) -> set[int]:
        config = PromptConfig(half_programs=chance)
        return {i for i in range(400) if given_half([example(MODEL)], TASK, config, SEARCH, 1, i)}

    assert begun(0) == set()
    assert 70 < len(begun(0.25)) < 130
    assert begun(0.25) < begun(0.5)
    assert len(begun(1)) == 400


@given(st.sampled_from(sorted(MNIST1D_SEEDS.glob("*.py"))), st.integers(0, 2**31), st.integers(0, 99))
def test_the_rest_of_the_parent_makes_it_whole(path: object, seed: int, prompt: int) -> None:
    source = path.read_text()  # type: ignore[attr-defined]
    code = source[source.index(TASK.header) :]
    half = given_half([example(source)], TASK, ALWAYS, SearchConfig(seed=seed), 0, prompt)
    assert half
    assert half.endswith("\n")
    rest = code.removeprefix(f"{TASK.header}\n{half}")
    assert rest != code
    ast.parse(f"{TASK.header}\n{half}{rest}")
