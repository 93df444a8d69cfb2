"""Family trees and paths for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from rich.text import Text
from rich.tree import Tree

from evohpc.messages import Status
from evohpc.report.kinship import Branch, Family
from evohpc.report.tables import number, outcome
from evohpc.report.terminal import printable
from evohpc.store.rows import Kin

REPEATED = "^"
"""After a candidate whose branches stand elsewhere in the tree."""


def ancestors_tree(root: Branch, family: Family) -> Tree:
    """Return a candidate's ancestors as a tree for a terminal, with their scores."""
    return _tree(root, lambda branch: _label(family[branch.id], branch))


def descendants_tree(root: Branch, family: Family) -> Tree:
    """Return a tree of `continued`, from a candidate down; its other children are counted where they belong."""

    def label(branch: Branch) -> Text:
        text = _label(family[branch.id], branch)
        others = discontinued(family, branch.id)
        return text.append(f"  and {others}", style="dim") if others and not branch.is_repeated else text

    return _tree(root, label)


def continued(family: Family, id: str) -> list[str]:
    """Return the children of a candidate that were trained, or repaired (`prompt.repairs`), the fittest first."""
    return [child for child in family.children(id) if _goes_on(family, child)]


def discontinued(family: Family, id: str) -> str:
    """Return what became of a candidate's other children, e.g. '3 failed, 2 duplicate'."""
    found = Counter(outcome(family[child].status) for child in family.children(id) if not _goes_on(family, child))
    return ", ".join(f"{count} {name}" for name, count in found.items())


def _goes_on(family: Family, id: str) -> bool:
    return family[id].status is Status.TRAINED or bool(family.children(id))


def path_lines(family: Family, ids: Iterable[str]) -> list[Text]:
    """Return a line of descent, one candidate a line."""
    return [_label(family[id], Branch(id)) for id in ids]


def _tree(root: Branch, label: Callable[[Branch], Text]) -> Tree:
    top = Tree(label(root), guide_style="dim")
    waiting = [(top, root)]
    while waiting:
        drawn, branch = waiting.pop()
        waiting.extend((drawn.add(label(further)), further) for further in branch.branches)
    return top


def _label(kin: Kin, branch: Branch) -> Text:
    text = Text(printable(kin.id), no_wrap=True, style="bold")
    if kin.fitness is None:
        text.append(f"  {kin.status}", style="not bold")
    else:
        text.append(f"  {number(kin.fitness)}  error {kin.error:.4g}", style="not bold")
    if branch.is_repeated:
        text.append(f"  {REPEATED}", style="dim")
    if branch.hidden:
        text.append(f"  ({branch.hidden} more behind it)", style="dim")
    return text
