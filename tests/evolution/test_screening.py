import ast
import json
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import SEEDS
from support.requests import request
from support.rows import completion

from evohpc.config.evaluation import ScreeningConfig
from evohpc.evolution.screening import Verdict, candidate_id, children, screen, seeds
from evohpc.messages import SEED_ROUND, Prompt, Sample, Status, TaskInterface

PROGRAMS = sorted(SEEDS.glob("*/*.py"))
PRELUDE = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
TASK = TaskInterface("t", "Model", "class Model(nn.Module):", PRELUDE, ("torch", "math"), "val_accuracy")
LIMITS = ScreeningConfig()
HEAD = f"{PRELUDE}class Model(nn.Module):\n"
FORWARD = "    def forward(self, x):\n"


def judge(body: str, **limits: int) -> Verdict:
    """Screen a module whose class has this body."""
    return screen(HEAD + body, TASK, LIMITS.model_copy(update=limits))


def test_a_good_program_waits_for_its_evaluation() -> None:
    verdict = judge(f"{FORWARD}        return F.relu(x)\n")
    assert (verdict.status, verdict.detail) == (Status.PENDING, "")
    assert len(verdict.code_hash) == 16


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_shipped_seeds_pass(path: Path) -> None:
    allowed = ("torch", "math", "evohpc.tasks.clrs.triplets")
    entry = {"mnist1d": "Model", "clrs_processor": "Processor"}.get(path.parent.name, "Triplets")
    task = TaskInterface("t", entry, f"class {entry}(nn.Module):", "", allowed, "m")
    assert screen(path.read_text(), task, LIMITS).status is Status.PENDING


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (HEAD, "expected an indented block after class definition on line 4"),
        (f"{HEAD}{FORWARD}        return (x\n", "'(' was never closed"),
        (f"{HEAD}{FORWARD}        return x\x00\n", "null bytes"),
        (f"{PRELUDE}def f(): pass\n", "defines class Model 0 times"),
        (f"{HEAD}{FORWARD}        return x\nclass Model: pass\n", "defines class Model 2 times"),
        (f"{HEAD}    x = 1\n", "class Model has no methods"),
        ("", "defines class Model 0 times"),
        ("-" * 19_000 + "1", "nested too deeply for Python's parser"),
        (f"{HEAD}{FORWARD}        return x\n    return x\n", "line 7: 'return' outside function"),
        (f"{HEAD}    def forward(self, x, x):\n        return x\n", "line 5: duplicate argument 'x' in function"),
        (f"{HEAD}{FORWARD}        nonlocal y\n        return x\n", "line 6: no binding for nonlocal 'y' found"),
        (f"{HEAD}{FORWARD}        await x\n", "line 6: 'await' outside async function"),
        (f"{HEAD}{FORWARD}        break\n", "line 6: 'break' outside loop"),
        (f"{HEAD}{FORWARD}        from torch import *\n", "line 6: import * only allowed at module level"),
        (f"{HEAD}{FORWARD}        return F.relu(input=x, input=x)\n", "line 6: keyword argument repeated: input"),
    ],
)
def test_what_is_no_program_with_the_class(source: str, reason: str) -> None:
    verdict = screen(source, TASK, LIMITS)
    assert verdict.status is Status.SYNTAX
    assert reason in verdict.detail
    assert verdict.code_hash == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("import os", "line 6: imports os; allowed: torch, math"),
        ("import torch.nn, sys", "line 6: imports sys"),
        ("from torchvision import models", "line 6: imports torchvision"),
        ("from . import secrets", "line 6: imports ."),
        ("from .torch import x", "line 6: imports .torch"),
        ("eval('x')", "line 6: uses eval"),
        ("open('x')", "line 6: uses open"),
        ("__builtins__['op' + 'en']('x')", "line 6: uses __builtins__"),
        ("__import__('os')", "line 6: uses __import__"),
        ("x.__globals__", "line 6: reaches for __globals__"),
        ("x.__class__.__bases__", "line 6: reaches for __bases__"),
        ("x.__", "line 6: reaches for __"),
        ("0x" + "f" * 65, "line 6: holds an integer of 260 bits, limit 256"),
        ("x = '\u202e'", "holds bidirectional control characters"),
    ],
)
def test_what_a_task_does_not_allow(line: str, reason: str) -> None:
    verdict = judge(f"{FORWARD}        {line}\n")
    assert verdict.status is Status.SCREENED
    assert verdict.detail.startswith(reason)


@pytest.mark.parametrize(
    "line",
    [
        "import torch",
        "import torch.nn.functional as G",
        "from torch import nn",
        "import math",
        "input = x",
        "x.__class__",
        "torch.compile(x)",
        "x.eval()",
        "super().__init__()",
        "self.__conv(x)",
        "x is 1",
        "0x" + "f" * 64,
    ],
)
def test_what_it_allows(line: str) -> None:
    assert judge(f"{FORWARD}        {line}\n").status is Status.PENDING


@pytest.mark.parametrize(
    ("limit", "body"),
    [
        ({"max_source_bytes": 300}, f"{FORWARD}        return x\n    # {'ü' * 100}\n"),
        ({"max_nodes": 60}, f"{FORWARD}        return {' + '.join('x' * 20)}\n"),
        ({"max_depth": 20}, f"{FORWARD}        return {'-' * 20}x\n"),
        ({"max_depth": 20}, f"{FORWARD}        return {'(' * 21}x{')' * 21}\n"),
        ({"max_literal_bytes": 50}, f"{FORWARD}        return '{'w' * 50}'\n"),
        ({"max_literal_bytes": 50}, f"{FORWARD}        return [{','.join(['0.123456'] * 7)}]\n"),
        ({"max_literal_bytes": 50}, f"{FORWARD}        return 0x{'f' * 42}\n"),
        ({"max_literal_bytes": 50}, f"{FORWARD}        return dict({'w' * 60}=x)\n"),
    ],
)
def test_limits_hold_and_are_named(limit: dict[str, int], body: str) -> None:
    verdict = judge(body, **limit)
    assert verdict.status is Status.SCREENED
    assert str(*limit.values()) in verdict.detail
    assert judge(body, **{name: min(4 * value, 100_000) for name, value in limit.items()}).status is Status.PENDING


def test_what_has_a_finally_is_left_to_the_evaluation() -> None:
    """Nested ones are compiled a million times over."""
    nested = f"{FORWARD}        try:\n            x\n        finally:\n            x\n"
    assert judge(f"{nested}    return x\n").status is Status.PENDING


@pytest.mark.parametrize(
    "body", [f"{FORWARD}        return self.__conv(x)\n", f"{FORWARD}        return x\n    return x\n"]
)
def test_a_run_of_an_older_evohpc_is_screened_as_it_was(body: str) -> None:
    """Or a database made anew would be another one."""
    now = judge(body)
    before = screen(HEAD + body, TASK, LIMITS.model_copy(update={"rules": "0.1.0"}))
    assert {now.status, before.status} == {Status.PENDING, Status.SCREENED if "__conv" in body else Status.SYNTAX}


@pytest.mark.parametrize(
    "body",
    [
        "(" * 19_000,
        f"{FORWARD}        return {'(' * 90}x{')' * 90}\n",
        f"{FORWARD}        return {' + '.join('1' * 4000)}\n",
        f"{FORWARD}        return {'not ' * 4000}x\n",
        f"{FORWARD}        return x{'.a' * 5000}\n",
        f"{FORWARD}        return 0x{'f' * 15_000}\n",
        f"{FORWARD}        return {'9' * 15_000}\n",
        f"{FORWARD}        return '\\ud800'\n        '\\d'\n",
        "x = 1\n" * 50_000,
        "".join(f"{' ' * (4 + i)}if x:\n" for i in range(95)),
    ],
)
def test_hostile_source_is_judged_fast_and_raises_nothing(body: str) -> None:
    started = time.process_time()
    assert isinstance(judge(body).detail, str)
    assert time.process_time() - started < 5


@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    assert judge(text).status in (Status.PENDING, Status.SYNTAX, Status.SCREENED)


ASKED = request(
    round=3,
    prompts=(
        Prompt(0, "p0", ("seed-x", "seed-y"), (Sample(0, 1, 0.2), Sample(1, 2, 0.8))),
        Prompt(1, "p1", ("seed-x",), (Sample(0, 3, 1.0),)),
    ),
)
GOOD = f"{FORWARD}        return x\n"


def test_completions_become_candidates_in_order_of_place() -> None:
    answers = [completion(1, 0, GOOD), completion(0, 1, GOOD, tokens=8), completion(0, 0, "(", stop="eos")]
    found = children(ASKED, answers, TASK, LIMITS)
    assert [c.id for c in found] == ["r003p00s000", "r003p00s001", "r003p01s000"]
    first, second, third = found
    assert (second.round, second.prompt, second.sample, second.temperature, second.tokens) == (3, 0, 1, 0.8, 8)
    assert (second.parents, third.parents) == (("seed-x", "seed-y"), ("seed-x",))
    assert second.source == f"{PRELUDE}\n\nclass Model(nn.Module):\n{GOOD}"
    assert second.status is Status.PENDING
    assert second.code_hash == third.code_hash != ""
    assert first.status is Status.SYNTAX


@pytest.mark.parametrize(
    ("stop", "reason"),
    [("length", "(cut at lm.max_new_tokens)"), ("context", "(cut where the language model takes no more tokens)")],
)
def test_what_was_cut_and_is_no_program_says_where(stop: str, reason: str) -> None:
    (found,) = children(replace(ASKED, prompts=ASKED.prompts[1:]), [completion(1, 0, "(", stop=stop)], TASK, LIMITS)
    assert found.status is Status.SYNTAX
    assert found.detail.endswith(reason)


def test_a_text_that_a_round_has_several_times_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Mock(wraps=ast.parse)
    monkeypatch.setattr(ast, "parse", parse)
    answers = [completion(0, 0, GOOD), completion(0, 1, f"{FORWARD}        return -x\n"), completion(1, 0, GOOD)]
    first, other, same = children(ASKED, answers, TASK, LIMITS)
    assert parse.call_count == 2
    assert first.status is other.status is same.status is Status.PENDING
    assert first.code_hash == same.code_hash != other.code_hash


def test_a_cut_completion_that_is_a_program_is_no_worse() -> None:
    found = children(replace(ASKED, prompts=ASKED.prompts[1:]), [completion(1, 0, GOOD, stop="length")], TASK, LIMITS)
    assert (found[0].status, found[0].detail) == (Status.PENDING, "")


def test_seeds_become_candidates_by_name() -> None:
    found = seeds({"b": f"class Model:\n{GOOD}", "a": "import os\n"}, TASK, LIMITS)
    assert [(c.id, c.round, c.sample) for c in found] == [("seed-a", SEED_ROUND, 0), ("seed-b", SEED_ROUND, 1)]
    assert [c.status for c in found] == [Status.SYNTAX, Status.PENDING]
    assert json.dumps(found[0].parents) == "[]"


@pytest.mark.parametrize(("place", "name"), [((3, 7, 12), "r003p07s012"), ((0, 0, 0), "r000p00s000")])
def test_a_childs_id_tells_its_place(place: tuple[int, int, int], name: str) -> None:
    assert candidate_id(*place) == name


def test_ids_differ_whatever_the_size_of_a_search() -> None:
    places = [(r, p, s) for r in (1, 11, 111, 1111) for p in (1, 11, 111) for s in (1, 11, 111, 1111)]
    assert len({candidate_id(*place) for place in places}) == len(places)
