import ast
import keyword
import time
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import SEEDS

from evohpc.config.search import ScreeningConfig
from evohpc.evolution.code_hash import code_hash
from evohpc.evolution.screening import screen
from evohpc.messages import Status, TaskInterface

PROGRAMS = sorted(SEEDS.glob("*/*.py"))
PRELUDE = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
TASK = TaskInterface("t", "Model", "class Model(nn.Module):", PRELUDE, ("torch", "math"), "val_accuracy")
LIMITS = ScreeningConfig()
HEAD = f"{PRELUDE}class Model(nn.Module):\n"
FORWARD = "    def forward(self, x):\n"


def judge(body: str, **limits: int):
    """Screen a module whose class has this body."""
    return screen(HEAD + body, TASK, LIMITS.model_copy(update=limits))


def digest(source: str) -> str:
    return code_hash(ast.parse(source), source)


def forward(*lines: str, signature: str = "self, x", before: str = "") -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f"{HEAD}{before}    def forward({signature}):\n{body}"


def test_a_good_program_waits_for_its_evaluation():
    verdict = judge(f"{FORWARD}        return F.relu(x)\n")
    assert (verdict.status, verdict.detail) == (Status.PENDING, "")
    assert len(verdict.code_hash) == 16


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_shipped_seeds_pass(path):
    allowed = ("torch", "math", "evohpc.tasks.clrs.triplets")
    entry = "Model" if path.parent.name == "mnist1d" else "Triplets"
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
    ],
)
def test_what_is_no_program_with_the_class(source, reason):
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
        ("__import__('os')", "line 6: uses __import__"),
        ("x.__globals__", "line 6: reaches for __globals__"),
        ("x.__class__.__bases__", "line 6: reaches for __bases__"),
        ("0x" + "f" * 65, "line 6: holds an integer of 260 bits, limit 256"),
        ("x = '\u202e'", "holds bidirectional control characters"),
    ],
)
def test_what_a_task_does_not_allow(line, reason):
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
        "0x" + "f" * 64,
    ],
)
def test_what_it_allows(line):
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
    ],
)
def test_limits_hold_and_are_named(limit, body):
    verdict = judge(body, **limit)
    assert verdict.status is Status.SCREENED
    assert str(*limit.values()) in verdict.detail
    assert judge(body, **{name: min(4 * value, 100_000) for name, value in limit.items()}).status is Status.PENDING


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
def test_hostile_source_is_judged_fast_and_raises_nothing(body):
    started = time.process_time()
    assert isinstance(judge(body).detail, str)
    assert time.process_time() - started < 5


@given(st.text(max_size=200))
def test_any_text_is_judged(text):
    assert judge(text).status in (Status.PENDING, Status.SYNTAX, Status.SCREENED)


def reformatted(path: Path) -> str:
    """Return a module without its comments, blank lines and own spacing."""
    return ast.unparse(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_comments_and_formatting_do_not_matter(path):
    with tokenize.open(path) as file:
        commented = "".join(f"{line.rstrip()}  # why\n" if line.strip().endswith(")") else line for line in file)
    assert digest(path.read_text()) == digest(reformatted(path)) == digest(commented)


def test_different_seeds_have_different_hashes():
    assert len({digest(path.read_text()) for path in PROGRAMS}) == len(PROGRAMS)


def test_docstrings_do_not_matter():
    plain = forward("return x")
    assert digest(forward('"""Why."""', "return x", before='    """Says nothing."""\n')) == digest(plain)


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and name not in {*dir(__builtins__), *__builtins__, "torch", "nn", "dim"}
)


@given(st.lists(NAMES, min_size=8, max_size=8, unique=True))
def test_names_of_locals_do_not_matter(names):
    def program(me, x, y, i, inner, a, rest, last):
        return forward(
            f"{y} = [{i} * {x} for {i} in range(3)]",
            f"{inner} = lambda {a}, *{rest}: {a} + {x} + sum({rest})",
            f"for {last} in {y}: {x} = {inner}({last}, {y}[0])",
            f"({last}, {y}), {me}.w = {x}, 3",
            f"return torch.cat({x}, dim={y}) + {me}.out({last})",
            signature=f"{me}, {x}",
        )

    assert digest(program(*names)) == digest(program("self", "x", "y", "i", "f", "a", "rest", "last"))


@pytest.mark.parametrize(
    "imports",
    [
        "import torch.nn as nn\nimport torch.nn.functional as F\n",
        "import math\n" + PRELUDE,
        "import torch.nn as nn\nimport torch.nn.functional as F, torch\n",
        "import torch.nn.functional as F\n" + PRELUDE,
    ],
)
def test_order_of_imports_and_unused_ones_do_not_matter(imports):
    program = f"class Model(nn.Module):\n{FORWARD}        return F.relu(x)\n"
    assert digest(imports + program) == digest(PRELUDE + program)
    assert digest("import torch.nn as nn\nimport math as F\n" + program) != digest(PRELUDE + program)


def test_a_copy_of_a_seed_is_known_for_one():
    for path in PROGRAMS:
        assert digest(f"import math\n\n{PRELUDE}{path.read_text()}") == digest(path.read_text())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (forward("return x + 1"), forward("return x + 2")),
        (forward("return x - y", signature="self, x, y"), forward("return y - x", signature="self, x, y")),
        (forward("return self.a(x)"), forward("return self.b(x)")),
        (forward("return x"), forward("return F")),
        (forward("return F(x)"), forward("return nn(x)")),
        (forward("return x", signature="self, x: int"), forward("return x", signature="self, x: Undefined")),
        # A nested function's parameters, one of which hides an outer name.
        (
            forward("def f(x, y): return x - y", "return f(x, 1)"),
            forward("def f(x, y): return y - x", "return f(x, 1)"),
        ),
        (forward("y = 1", "return (lambda y: x)(2)"), forward("y = 1", "return (lambda y: y)(2)")),
        # A module's own name that looks like a numbered one.
        (f"v1 = 3\n{forward('return v1')}", f"v1 = 3\n{forward('return x')}"),
        # Parameters that are passed by name.
        (
            forward("return self.g(x, k=3)", before="    def g(self, x, k=1, m=2): return k\n"),
            forward("return self.g(x, k=3)", before="    def g(self, x, m=1, k=2): return m\n"),
        ),
        # The name of a handler, an import, a pattern or a global is no name to exchange.
        (
            forward("e = 1", "try: f()", "except E as e: g(e)"),
            forward("z = 1", "try: f()", "except E as e: g(z)"),
        ),
        (forward("m = 1", "import math as m", "return m"), forward("z = 1", "import math as m", "return z")),
        (forward("global a", "a = 1"), forward("global a", "b = 1")),
        (
            forward("c = 1", "match x:", "    case [c]: return c"),
            forward("z = 1", "match x:", "    case [c]: return z"),
        ),
        # A comprehension's variable that hides something from the comprehension only.
        (
            forward("y = [F for F in x]", "return F.relu(x)"),
            forward("y = [q for q in x]", "return q.relu(x)"),
        ),
        (forward("y = [sum for sum in x]", "return sum(x)"), forward("y = [q for q in x]", "return q(x)")),
        # Attributes of a class within a function.
        (
            forward("a = 1", "class C: a = 2", "return C.a"),
            forward("b = 1", "class C: b = 2", "return C.a"),
        ),
    ],
)
def test_what_does_something_else_has_another_hash(one, other):
    assert digest(one) != digest(other)


def test_hashing_leaves_the_tree_alone():
    source = forward("y = x", "return y")
    tree = ast.parse(source)
    before = ast.dump(tree)
    code_hash(tree, source)
    assert ast.dump(tree) == before


def test_the_hash_is_the_same_in_every_version_of_python():
    assert digest(forward("y = x", "return y")) == "89fb9e28ed8f47aa"
