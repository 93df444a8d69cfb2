"""Programs that share a hash do the same. Pairs are made by renaming and swapping, and both are run."""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import GOLDEN, SEEDS

from evohpc.evolution.code_hash import code_hash

NAMES = ("a", "b", "c", "pi", "tau", "_M__a", "__a")
"""What the programs below name their things, and what of that is swapped. Some are globals by a star import."""


def digest(source: str) -> str:
    return code_hash(ast.parse(source), source)


def behaviour(source: str) -> str:
    """Run a program; return what it printed and what it ended with."""
    printed, module = io.StringIO(), ModuleType("program")
    sys.modules["program"] = module
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(source, "<program>", "exec", dont_inherit=True), vars(module))
            ended = ""
        except Exception as error:
            ended = type(error).__name__
    return re.sub(r" at 0x\w+", "", f"{printed.getvalue()}{ended}")


class Renamed(ast.NodeTransformer):
    """Exchanges names for others where Python has a variable, never in strings, attributes or keywords."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        self.generic_visit(node)
        return ast.arg(self._names.get(node.arg, node.arg), node.annotation)


def renamed(source: str, names: dict[str, str], function: int) -> str:
    """Rename in one of the outermost functions of a program."""
    tree = ast.parse(source)
    scopes = [body for node in ast.walk(tree) if isinstance(body := getattr(node, "body", None), list)]
    places = [(body, i) for body in scopes for i, node in enumerate(body) if isinstance(node, ast.FunctionDef)]
    if places:
        body, index = places[function % len(places)]
        body[index] = Renamed(names).visit(body[index])
    return ast.unparse(ast.fix_missing_locations(tree))


SEE_THEMSELVES = [
    "def f(a, b):\n    return {use}\nprint(f(1, 2))\n".replace("{use}", use)
    for use in (
        "sorted(locals())",
        "locals()['a']",
        "vars()['a']",
        "sorted((look := vars)())",
        "dir()",
        "f.__code__.co_varnames",
        "getattr(f, '__code__').co_varnames",
        "'{0.__code__.co_varnames}'.format(f)",
        "__import__('inspect').signature(f)",
        "eval('a')",
        "(lambda: f.__annotations__)()",
        "[x for x in locals().values()]",
        "f'{a=}'",
        "f'{a=:>3}' + f'{b!r:}'",
    )
]
SEE_MORE = [
    "import inspect\ndef f(a, b):\n    return str(inspect.signature(f))\nprint(f(1, 2))\n",
    "from inspect import signature as s\ndef f(a, b):\n    return str(s(f))\nprint(f(1, 2))\n",
    "import sys\ndef f(a, b):\n    return sys._getframe().f_locals['a']\nprint(f(1, 2))\n",
    "import typing\ndef f(a: int, b: str):\n    return typing.get_type_hints(f)\nprint(f(1, 2))\n",
    "import operator\ndef f(a, b):\n    return operator.attrgetter('__code__.co_varnames')(f)\nprint(f(1, 2))\n",
    "def f(a, b):\n    def g(): return a, b\n    return [c.cell_contents for c in g.__closure__]\nprint(f(1, 2))\n",
    "def f(*, a=1, b=2):\n    return f.__kwdefaults__\nprint(f())\n",
    "def f(a, b):\n    try: return c\n    except NameError as e: return str(e)\n    c = 1\nprint(f(1, 2))\n",
    "def f(a, b): pass\ntry: f()\nexcept TypeError as e: print(e)\n",
    "class M:\n    def __enter__(self): return self\n    def __exit__(self, *a): print(a[1]); return True\n"
    "def f(a, b): pass\nwith M(): f()\n",
    "def f(a, b):\n    def g():\n        yield a\n    return list(g().gi_frame.f_locals)\nprint(f(1, 2))\n",
]
BY_NAME = [
    "def f(a, b):\n    return a - b\nprint(f(**{'a': 1, 'b': 3}))\n",
    "def f(a, b):\n    return a - b\nd = dict(zip('ab', (1, 3)))\nprint(f(**d))\n",
    "def f(a, b):\n    return a - b\ndef g(**c):\n    return f(**c)\nprint(g(a=1, b=3))\n",
    "def f(a, b):\n    return a - b\ndef g(**c):\n    c['a'] = 7\n    return f(**c)\nprint(g(b=3))\n",
    "def f(a, b):\n    return a - b\ndef g(**c):\n    return f(**{chr(ord(k) ^ 3): v for k, v in c.items()})\n"
    "print(g(a=1, b=3))\n",
    "from functools import partial\ndef f(a, b):\n    return a - b\nprint(partial(f, **{'a': 1})(b=3))\n",
    "class M:\n    def f(self, a, b):\n        return a - b\nprint(getattr(M(), 'f')(**{'b': 1, 'a': 3}))\n",
    "class M(dict):\n    def keys(self): return ['a', 'b']\n    def __getitem__(self, c): return ord(c)\n"
    "def f(a, b):\n    return a - b\nprint(f(**M()))\n",
]
SCOPES = [
    "class M:\n    def f(self):\n        __a = 1\n        _M__a = 2\n        return __a\nprint(M().f())\n",
    "from math import *\ndef f():\n    def g():\n        pi = 1\n        return pi\n    def h():\n        return pi\n"
    "    return g() + h()\nprint(f())\n",
    "@(a := (lambda f: f))\ndef f():\n    return 1\ndef g():\n    return a\nprint(g()(3))\n",
    "def f(a, b=(c := 3)):\n    return a\ndef g():\n    return c\nprint(g())\n",
    "def f(a, b):\n    global c\n    c = a\ndef g(a):\n    return c\nf(1, 2)\nprint(g(3))\n",
    "def f(a, b):\n    def g():\n        nonlocal a\n        a = 5\n    g()\n    return a, b\nprint(f(1, 2))\n",
    "def f(a, b):\n    match a:\n        case {'x': c, **b}: return c, b\n        case [c, *b]: return c, b\n"
    "print(f([1, 2, 3], 0), f({'x': 1, 'y': 2}, 0))\n",
    "class M:\n    a = 1\n    b = 2\n    def f(self, a):\n        return getattr(self, 'a'), self.b, a\n"
    "print(M().f(3))\n",
    "from dataclasses import dataclass\n@dataclass\nclass M:\n    a: int\n    b: int\n"
    "def f(a, b):\n    return M(a, b)\nprint(f(1, 2))\n",
    "def f(a, b):\n    class C:\n        a = b\n        def g(self): return a\n    return C.a, C().g()\n"
    "print(f(1, 2))\n",
    "def f(a, b):\n    c = [a for a in range(b)]\n    del b\n    return a, c\nprint(f(1, 2))\n",
    "def f(a, b):\n    return [(c := a), c, [b for b in (c, a)], b]\nprint(f(1, 2))\n",
    "def f(a):\n    try: return b\n    except NameError: return a\n    b = 1\nprint(f(2))\n",
    "def f(a, b):\n    return '{a} {b}'.format(a=b, b=a)\nprint(f(1, 2))\n",
]


@pytest.mark.parametrize("source", [*SEE_THEMSELVES, *SEE_MORE, *BY_NAME, *SCOPES])
def test_whatever_is_renamed_the_same_hash_is_the_same_behaviour(source: str) -> None:
    expected, own = behaviour(source), digest(source)
    assert expected.rstrip("\n") not in ("", "SyntaxError"), "the program must show something"
    for (one, other), function in itertools.product(itertools.permutations(NAMES, 2), range(3)):
        for names in ({one: other, other: one}, {one: other}):
            variant = renamed(source, names, function)
            if digest(variant) == own:
                assert behaviour(variant) == expected, variant


NAME = st.sampled_from(NAMES[:3])
VALUE = st.one_of(
    NAME,
    st.integers(0, 3).map(str),
    st.sampled_from(["locals()['a']", "sorted(locals())[0]", "len(vars())", "f'{a=}'", "'a'", "g.__name__"]),
)
EXPRESSION = st.one_of(
    VALUE,
    st.tuples(VALUE, NAME).map("({0[0]}, {0[1]})".format),
    st.tuples(NAME, VALUE).map("g({0[0]}=1, b={0[1]})".format),
    st.tuples(NAME, NAME).map("g(**{{'{0[0]}': 1, '{0[1]}': 2}})".format),
    st.tuples(VALUE, VALUE).map("g({0[0]}, {0[1]})".format),
    st.tuples(NAME, NAME).map("[{0[0]} for {0[1]} in (5, 6)]".format),
    st.tuples(NAME, VALUE).map("(lambda {0[0]}: {0[1]})(7)".format),
    st.tuples(NAME, VALUE).map("({0[0]} := {0[1]})".format),
)
STATEMENT = st.one_of(
    *[st.tuples(NAME, EXPRESSION).map("{0[0]} = {0[1]}".format)] * 4,
    *[EXPRESSION.map("print({0})".format)] * 4,
    NAME.map("del {0}".format),
    NAME.map("global {0}".format),
    st.tuples(NAME, NAME).map("def {0[0]}({0[1]}=9): return {0[1]}".format),
    st.tuples(NAME, NAME, NAME).map("class {0[0]}: {0[1]} = {0[2]}".format),
    NAME.map("from math import pi as {0}".format),
)
BLOCK = st.lists(STATEMENT, min_size=1, max_size=4)


def program(top: list[str], parameters: list[str], body: list[str], inner: list[str]) -> str:
    first, second, third = parameters
    lines = [*top, f"def g({second}=1, {first}=2, {third}=3):", f"    return {first}, {second}"]
    lines += [f"def k({first}, {second}):", "    '''Says it.'''", *(f"    {line}" for line in body), "    def h():"]
    lines += [*(f"        {line}" for line in inner), f"        return {third}"]
    lines += ["    print(h())", f"    return {first}", "print(k(1, 2))", ""]
    return "\n".join(lines)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([[], [], ["c = 4"], ["from math import *"]]),
    st.permutations(NAMES[:3]),
    BLOCK,
    BLOCK,
    st.permutations(NAMES[:3]),
    st.integers(0, 2),
)
def test_random_programs_that_share_a_hash_do_the_same(
    top: list[str], parameters: list[str], body: list[str], inner: list[str], names: list[str], function: int
) -> None:
    source = program(top, parameters, body, inner)
    try:
        variant = renamed(source, dict(zip(NAMES, names, strict=False)), function)
        compile(source, "", "exec")
        compile(variant, "", "exec")
    except SyntaxError:
        return
    if digest(variant) == digest(source):
        assert behaviour(variant) == behaviour(source)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package with a submodule that only its own import loads, which every run begins without."""
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("value = 1\nother = 2\n")
    (folder / "sub.py").write_text("value = 3\nmath = 4\n")
    monkeypatch.syspath_prepend(tmp_path)

    def run(source: str) -> str:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pack"]:
            del sys.modules[name]
        return behaviour(source)

    return run


IMPORTS = [
    ("import pack.sub", "import pack", "print(pack.sub.value)"),
    ("import pack\nfrom pack import sub", "import pack", "print(pack.sub.value)"),
    ("import pack\nimport pack.sub as unused", "import pack", "print(pack.sub.value)"),
    ("import pack\nfrom pack.sub import value", "import pack", "print(pack.sub.value)"),
    ("import pack.value as v", "from pack import value as v", "print(v)"),
    (
        "from pack import value as v\nfrom pack.sub import value as v",
        "from pack.sub import value as v\nfrom pack import value as v",
        "print(v)",
    ),
    ("import math\nfrom pack.sub import *", "from pack.sub import *\nimport math", "print(math)"),
    ("from pack import *\nfrom pack.sub import *", "from pack.sub import *\nfrom pack import *", "print(value)"),
    ("v = 1\nfrom pack.sub import value as v", "from pack.sub import value as v\nv = 1", "print(v)"),
    ("print(v)\nfrom pack import value as v", "from pack import value as v\nprint(v)", ""),
    ("from pack import value as v\nprint(v)\ndel v", "print(1)\ndel v\nfrom pack import value as v", ""),
    ("from pack import value as v\ndef v(): return 9", "def v(): return 9\nfrom pack import value as v", "print(v)"),
    ("from __future__ import annotations", "", "def f(x: nope): return 1\nprint(f(1))"),
    ("'''Why.'''\nimport math", "import math", "print(__doc__)"),
    ("import math, pack", "import math", "print(math.pi, len(globals()))"),
    (
        "from dataclasses import dataclass\nfrom typing import ClassVar",
        "from dataclasses import dataclass",
        "@dataclass\nclass M:\n    a: 'ClassVar[int]' = 1\n    b: int = 2\nprint(M())",
    ),
]


@pytest.mark.parametrize(("one", "other", "use"), IMPORTS)
def test_imports_that_make_a_difference_make_another_hash(one: str, other: str, use: str, package: Any) -> None:
    first, second = f"{one}\n{use}\n", f"{other}\n{use}\n"
    assert package(first) != package(second)
    assert digest(first) != digest(second)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f():\n    '''A.'''\n    return f.__doc__\n", "def f():\n    return f.__doc__\n"),
        (
            "class M:\n    '''A.'''\nprint(getattr(M, '__doc__'))\n",
            "class M:\n    '''B.'''\nprint(getattr(M, '__doc__'))\n",
        ),
        (
            "import torch\n@torch.jit.script\ndef f(x):  # type: (int) -> int\n    return x\n",
            "import torch\n@torch.jit.script\ndef f(x):  # type: (float) -> float\n    return x\n",
        ),
        (
            "import torch.nn as nn\ndef f(src, src_mask=None): return src\nnn.TransformerEncoder(f, 2)\n",
            "import torch.nn as nn\ndef f(src_mask, src=None): return src_mask\nnn.TransformerEncoder(f, 2)\n",
        ),
        ("class M:\n    a: int\n    b: str\n", "class M:\n    b: int\n    a: str\n"),
        ("class M:\n    def f(self):\n        self.a = 1\n", "class M:\n    def f(self):\n        self.b = 1\n"),
        (
            "class M:\n    def f(self):\n        self.a = A()\n        self.b = B()\n",
            "class M:\n    def f(self):\n        self.b = B()\n        self.a = A()\n",
        ),
        ("def f(a):\n    return f'{a=}'\n", "def f(b):\n    return f'{b=}'\n"),
    ],
)
def test_what_only_a_reader_of_its_own_text_sees_makes_another_hash(one: str, other: str) -> None:
    assert digest(one) != digest(other)


def test_seeds_have_the_hash_that_evohpc_0_1_0_gave_them() -> None:
    """A run is rebuilt row for row by them. The golden file is the old code's own."""
    expected = json.loads((GOLDEN / "code_hashes.json").read_text())["seeds"]
    found = {str(path.relative_to(SEEDS)): digest(path.read_text()) for path in SEEDS.glob("*/*.py")}
    assert {name: found.get(name) for name in expected} == expected
    assert len(expected) >= 15


@pytest.mark.parametrize("index", range(len(json.loads((GOLDEN / "code_hashes.json").read_text())["programs"])))
def test_programs_that_nothing_affects_have_the_hash_that_evohpc_0_1_0_gave_them(index: int) -> None:
    source, expected = json.loads((GOLDEN / "code_hashes.json").read_text())["programs"][index]
    assert digest(source) == expected
