"""Seed programs as children will see them: the entry below the task's prelude, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from evohpc.doctor.base import Finding, fault, warning
from evohpc.evolution.entry import is_entry, named
from evohpc.messages import Candidate, Status, TaskInterface


def examine(seed: Candidate, task: TaskInterface) -> Iterator[Finding]:
    """Examine one seed that went through screening."""
    if seed.status.is_refused:
        finding = fault if seed.status is Status.SYNTAX else warning
        yield finding(seed.id, f"screening refuses it: {seed.detail}", "mend it; a refused seed is no parent")
        return
    body = ast.parse(seed.source).body
    beside = [node for node in body if _is_beside(node, task)]
    if beside:
        lines = ", ".join(str(node.lineno) for node in beside)
        yield warning(
            seed.id,
            f"code beside {named(task)} (line {lines}): prompts show that alone, and children have no more",
            f"move it into {named(task)}",
        )
    missing = sorted(_imported(body) - _imported(ast.parse(task.prelude).body))
    if missing:
        yield warning(
            seed.id,
            f"it imports {', '.join(missing)}, which interface.prelude does not: a child that uses it has a NameError",
            "add the import to the prelude",
        )


def _is_beside(node: ast.stmt, task: TaskInterface) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return not (is_text or is_entry(node, task) or isinstance(node, ast.Import | ast.ImportFrom))


def _imported(body: list[ast.stmt]) -> set[str]:
    """Return the names that import statements bind."""
    aliases = [alias for node in body if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    return {alias.asname or alias.name.partition(".")[0] for alias in aliases}
