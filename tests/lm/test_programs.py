import ast
from typing import Any
from unittest.mock import Mock

import pytest

from evohpc.lm.programs import is_whole, parses, repeats, shown_bodies, whole_class

PROMPT = "class Model(nn.Module):\n"
BODY = "    def forward(self, x):\n        return self.fc(x)\n"
LINE = BODY.rstrip("\n")
SHOWN = f'"""Metrics:\n{{\'num_params\': \'48\'}}\n"""\n{PROMPT}{BODY}\n"""Metrics:\n"""\n{PROMPT}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BODY, True),
        ("\n" + BODY, True),
        (BODY + "    def g(", False),
        ("x = 1\n", False),
        ("", False),
        ("  \x00", False),
    ],
)
def test_programs_are_told_from_what_does_not_parse(text: str, expected: bool) -> None:
    assert parses(f"x = 1\n{PROMPT}", text) is expected


def test_a_program_with_a_strange_escape_parses_without_a_warning() -> None:
    assert parses(PROMPT, '    x = "\\d"\n')


@pytest.mark.parametrize(
    "junk",
    [
        '"""Metrics:\n{\'num_params\': \'4000\'}\n"""\nclass Model(nn.Module):\n    def __init__(self',
        "```",
        " ```\nHere is the model",
        "def __init__(self):\n        pass",
        "class Model(nn.Module):\n    def forward(self, x",
        "\n    Here is a model with fewer parameters.",
        "\n    ```\n",
        "\n  }",
        ")",
        ") -> Tensor:",
        "\n\n    def half(self, x):\n        y = self.fc(",
        "\n\n    def half(self",
        "\n        '''",
        "\n   def misplaced(self):\n        return 1\n",
        " \x00",
    ],
)
def test_what_follows_a_whole_class_is_cut(junk: str) -> None:
    assert whole_class(PROMPT, LINE + junk).rstrip() == LINE


@pytest.mark.parametrize("odd", ["\x0c", "\x1c", "\x85", "\u2028"])
def test_what_python_does_not_take_for_the_end_of_a_line_is_none(odd: str) -> None:
    """str.splitlines() does, and the cut came a method too early."""
    body = f"    def one(self):\n        return 1  # a{odd}b\n\n    def two(self):\n        return 2"
    assert whole_class(PROMPT, body + "\n)").rstrip() == body


def test_what_follows_a_whole_function_is_cut() -> None:
    line = "    return bins - item"
    assert whole_class("def priority(item, bins):\n", f"{line}\n    Here is a better one").rstrip() == line


def test_a_function_that_repeats_an_example_is_told() -> None:
    header, body = "def priority(item, bins):\n", "    left = bins - item\n    return left\n"
    prompt = f'"""Metrics:\n{{}}\n"""\n{header}{body}\n"""Metrics:\n{{}}\n"""\n{header}'
    assert shown_bodies(prompt) == [body]
    assert repeats(prompt, body.replace("left", "rest"))
    assert not repeats(prompt, body.replace("bins - item", "item - bins"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "    def forward(self, x):\n        x = self.fc(x",
        "    def f(self",
        "\x00",
        '    """',
        "(" * 5000,
        "    pass\n",
    ],
)
def test_what_was_never_whole_is_not_cut(text: str) -> None:
    assert whole_class(PROMPT, text) == ""


@pytest.mark.parametrize(
    "tail",
    [
        "        if x.sum() > 0:\n            return x\n        else:\n            return -x\n",
        "        for y in x:\n            return y\n",
        "        match x.dim():\n            case 2:\n                return x\n",
        "        raise ValueError(x)\n",
    ],
)
def test_a_return_may_be_nested(tail: str) -> None:
    text = "    def forward(self, x):\n" + tail
    assert is_whole(PROMPT, text)
    assert whole_class(PROMPT, text + "    ```") == text + "    "


def test_a_class_that_ends_otherwise_is_not_whole() -> None:
    assert not is_whole(PROMPT, "    def forward(self, x):\n        y = x\n")


def test_the_longest_beginning_is_kept_whatever_brackets_and_lines_it_ends_in() -> None:
    text = "    def forward(self, x):\n        return self.fc(\n            x,\n        ).relu()"
    assert whole_class(PROMPT, text + " then prose").rstrip() == text


def test_a_cut_is_found_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Mock(wraps=ast.parse)
    monkeypatch.setattr(ast, "parse", parse)
    noise = "".join(f"        x = self.layer{i}(x) oh\n" for i in range(300))
    assert whole_class(PROMPT, BODY + noise).rstrip() == LINE
    assert 0 < parse.call_count < 5


def test_the_examples_of_a_prompt_are_found() -> None:
    assert [body.rstrip() for body in shown_bodies(SHOWN)] == [LINE]
    assert shown_bodies("class Model:\n") == []


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (BODY, True),
        ("    def forward(self, y):  # other words\n        return self.fc(y)\n", True),
        ("    def forward(self, x):\n        return self.fc(x).relu()\n", False),
        ("    def forward(self, x", False),
        (f"    x = {'-' * 2000}1\n", False),
        (f"    x = 0x{'f' * 4000}\n", False),
    ],
)
def test_a_copy_of_an_example_is_recognised(completion: Any, expected: bool) -> None:
    assert repeats(SHOWN, completion) is expected


def test_a_copy_but_for_an_unused_layer_is_one_where_it_is_a_duplicate() -> None:
    init = "    def __init__(self):\n        super().__init__()\n        self.fc = nn.LazyLinear(8)\n"
    more = f"{init}        self.fc2 = nn.LazyLinear(9)\n"
    shown = SHOWN.replace(BODY, init + BODY)
    assert repeats(shown, init + BODY)
    assert repeats(shown, init + BODY, "same_computation")
    assert not repeats(shown, more + BODY)
    assert repeats(shown, more + BODY, "same_computation")
    assert not repeats(shown, (more + BODY).replace("self.fc(x)", "self.fc2(x)"), "same_computation")


def test_a_prompt_without_examples_has_no_copies() -> None:
    assert not repeats(PROMPT, BODY)
