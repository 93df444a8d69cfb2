import ast
import builtins
import keyword
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import SEEDS

from evohpc.evolution.code_hash import code_hash

PROGRAMS = sorted(SEEDS.glob("*/*.py"))
PRELUDE = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
HEAD = f"{PRELUDE}class Model(nn.Module):\n"
FORWARD = "    def forward(self, x):\n"


def digest(source: str) -> str:
    return code_hash(ast.parse(source), source)


def forward(*lines: str, signature: str = "self, x", before: str = "") -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f"{HEAD}{before}    def forward({signature}):\n{body}"


def reformatted(path: Path) -> str:
    """Return a module without its comments, blank lines and own spacing."""
    return ast.unparse(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_comments_and_formatting_do_not_matter(path: Path) -> None:
    with tokenize.open(path) as file:
        commented = "".join(f"{line.rstrip()}  # why\n" if line.strip().endswith(")") else line for line in file)
    assert digest(path.read_text()) == digest(reformatted(path)) == digest(commented)


def test_different_seeds_have_different_hashes() -> None:
    assert len({digest(path.read_text()) for path in PROGRAMS}) == len(PROGRAMS)


def test_docstrings_do_not_matter() -> None:
    plain = forward("return x")
    assert digest(forward('"""Why."""', "return x", before='    """Says nothing."""\n')) == digest(plain)


TAKEN = {*dir(builtins), *keyword.kwlist, "torch", "nn", "dim"}
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name not in TAKEN)


@given(st.lists(NAMES, min_size=8, max_size=8, unique=True))
def test_names_of_locals_do_not_matter(names: list[str]) -> None:
    def program(me: str, x: str, y: str, i: str, inner: str, a: str, rest: str, last: str) -> str:
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
def test_order_of_imports_and_unused_ones_do_not_matter(imports: str) -> None:
    program = f"class Model(nn.Module):\n{FORWARD}        return F.relu(x)\n"
    assert digest(imports + program) == digest(PRELUDE + program)
    assert digest("import torch.nn as nn\nimport math as F\n" + program) != digest(PRELUDE + program)


def test_a_copy_of_a_seed_is_known_for_one() -> None:
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
def test_what_does_something_else_has_another_hash(one: str, other: str) -> None:
    assert digest(one) != digest(other)


def test_hashing_leaves_the_tree_alone() -> None:
    source = forward("y = x", "return y")
    tree = ast.parse(source)
    before = ast.dump(tree)
    code_hash(tree, source)
    assert ast.dump(tree) == before


def test_the_hash_is_the_same_in_every_version_of_python() -> None:
    assert digest(forward("y = x", "return y")) == "89fb9e28ed8f47aa"


def test_a_module_that_is_imported_beside_its_package_counts() -> None:
    program = "import torch.utils.checkpoint\n" + forward("return torch.utils.checkpoint.checkpoint(self.f, x)")
    assert digest(program) != digest(program.replace("torch.utils.checkpoint\n", "torch\n", 1))
