"""Half programs: the first lines of a parent, which a prompt gives to the child. Pure.

Not in the paper. Most children that fail have shapes that do not fit: layers of one network, a forward pass of another.
A child that is begun as a network that works keeps that much of it, and the LM writes the rest, in fewer tokens.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Sequence

from evohpc.config.prompt import PromptConfig
from evohpc.config.search import SearchConfig
from evohpc.evolution import entry
from evohpc.evolution.prompts import Example
from evohpc.evolution.randomness import Draw, generator
from evohpc.messages import TaskInterface


def given_half(
    examples: Sequence[Example],
    task: TaskInterface,
    config: PromptConfig,
    search: SearchConfig,
    round: int,
    prompt: int,
) -> str:
    """Return the lines that follow the header in a prompt; '' where the LM writes all (`prompt.half_programs`).

    They are those of one of the examples, up to a statement drawn at random that is not its first.
    """
    rng = generator(search.seed, round, Draw.HALF, prompt)
    if rng.random() >= config.half_programs:
        return ""
    first, *others = _beginnings(entry.code(examples[int(rng.integers(len(examples)))].source, task))
    return others[int(rng.integers(len(others)))].removeprefix(first) if others else ""


def _beginnings(code: str) -> list[str]:
    """Return what stands before each statement in the body of an entry, and first its header alone."""
    lines = io.StringIO(code, newline=None).readlines()  # splits where Python does, unlike str.splitlines()
    definition = ast.parse(code).body[0]
    inner = [node for node in ast.walk(definition) if isinstance(node, ast.stmt) and node is not definition]
    starts = {min(part.lineno for part in [node, *getattr(node, "decorator_list", [])]) for node in inner}
    columns = {node.lineno: node.col_offset for node in reversed(inner)}
    alone = [line - 1 for line in sorted(starts) if not lines[line - 1][: columns.get(line, 0)].strip()]
    header = max((end for end in range(1, min(starts)) if lines[end - 1].partition("#")[0].strip()), default=0)
    return ["".join(lines[:end]) for end in (header, *alone[1:])]
