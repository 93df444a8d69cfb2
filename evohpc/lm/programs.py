"""The programs in a prompt and its completion: which are Python, which are whole, which repeat an example. Pure."""

from __future__ import annotations

import ast
import io
import re
import warnings

from evohpc.evolution.neutral_code import DIGESTS

_DEDENT = re.compile(r"^(?=\S)", re.MULTILINE)


def header(prompt: str) -> str:
    """Return the last line of a prompt, the header of the class that the completion goes on with."""
    return prompt.rstrip("\n").rpartition("\n")[2]


def shown_bodies(prompt: str) -> list[str]:
    """Return what follows the header in each in-context example: the lines that are indented or blank, without blank
    ones at the end. A program with another header, which only a seed can have, is left out."""
    programs = ("\n" + prompt).split(f"\n{header(prompt)}\n")[1:-1]
    return [f"{_DEDENT.split(program, maxsplit=1)[0].rstrip()}\n" for program in programs]


def parses(prompt: str, completion: str) -> bool:
    """Say whether the header of the class and what follows it are Python."""
    return isinstance(_parse(header(prompt), completion), ast.Module)


def repeats(prompt: str, completion: str, duplicates: str = "same_program") -> bool:
    """Say whether a completion is one of the programs that its prompt shows, by what counts as a duplicate in the
    search (`search.duplicates`)."""
    line = header(prompt)
    hashes = (_hash(line, body, duplicates) for body in [completion, *shown_bodies(prompt)])
    own = next(hashes)
    return own is not None and own in hashes


def is_whole(prompt: str, completion: str) -> bool:
    """Say whether a completion is Python that ends in a return."""
    tree = _parse(header(prompt), completion)
    return isinstance(tree, ast.Module) and _ends_in_return(tree)


def whole_class(prompt: str, completion: str) -> str:
    """Return the longest beginning of a completion that is a whole class: Python that ends in a return.

    A language model that has ended its class often goes on with another thing on the same line, or on the next one
    with any indentation: the docstring of the next program, a fence, a second header, prose.

    Returns:
        '' where no beginning is.
    """
    line, end = header(prompt), len(completion)
    while end > 0:
        tree = _parse(line, completion[:end])
        if isinstance(tree, ast.Module) and _ends_in_return(tree):
            return completion[:end]
        end = _previous_end(completion, end, tree)
    return ""


def _previous_end(completion: str, end: int, tree: ast.Module | int | None) -> int:
    """Return where a shorter beginning ends: before what Python objected to, or before the last line."""
    if isinstance(tree, int) and 0 < tree < end:
        return tree
    return completion.rfind("\n", 0, end - 1) + 1


def _parse(line: str, completion: str) -> ast.Module | int | None:
    """Return the syntax tree of a header and what follows it.

    Where it is no Python, return instead at which character of the completion the parser objects, if it says so.
    """
    body = completion.lstrip("\n")
    if (null := completion.find("\0")) >= 0:  # versions of Python differ in what they raise
        return null
    try:
        with warnings.catch_warnings(action="ignore"):  # of invalid escapes in strings
            return ast.parse(f"{line}\n{body}")
    except SyntaxError as error:
        if error.lineno is None or error.offset is None:
            return None
        # As Python splits, unlike str.splitlines().
        lines = io.StringIO(body, newline="").readlines()[: error.lineno - 2]
        return len(completion) - len(body) + sum(map(len, lines)) + error.offset - 1
    except (ValueError, MemoryError, RecursionError):
        return None


def _ends_in_return(tree: ast.Module) -> bool:
    """Say whether the last statement, however deep, is a return or a raise."""
    last: ast.AST = tree
    while inner := next(filter(None, (getattr(last, name, None) for name in ("orelse", "body", "cases"))), None):
        last = inner[-1]
    return isinstance(last, ast.Return | ast.Raise)


def _hash(line: str, body: str, duplicates: str) -> str | None:
    source = f"{line}\n{body.lstrip(chr(10))}"
    tree = _parse(line, body)
    try:
        return DIGESTS[duplicates](tree, source) if isinstance(tree, ast.Module) else None
    except (RecursionError, ValueError):  # thousands of minus signs; a number too large for Python to print
        return None
