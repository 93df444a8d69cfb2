"""Draws the rooms of evohpc: `python docs/draw_rooms.py` writes rooms.svg and the table in architecture.md.

With `--check` it writes nothing, and fails if what it would write is not there already.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from made_pages import write_or_check

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from support.rooms import FORMATS, LAYERS, direct, imports, purpose  # noqa: E402

WIDTH, MARGIN = 700, 24
BOX, FLOOR, GAP = 30, 66, 26
"""The height of a box, from one layer to the next, and the least space between two boxes or lines; in pixels."""

Node = tuple[str, ...]
"""A room, or the place where a line from one room to another passes a layer between the two: (name,), or
(from, to, layer)."""

STYLE = """\
text { font: 14px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1f2328; text-anchor: middle }
.note { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #57606a }
rect { fill: #ddf4ff; stroke: #54aeff; stroke-width: 1.2 }
.format { fill: #fff8c5; stroke: #d4a72c }
.page { fill: #ffffff; stroke: none }
.band { fill: #f6f8fa; stroke: #d0d7de }
path { fill: none; stroke: #6e7781; stroke-width: 1.4; marker-end: url(#head) }
marker path { fill: #6e7781; stroke: none; marker-end: none }"""


def rooms() -> list[list[str]]:
    """Return the rooms of each layer, from the bottom to the top."""
    return [layer.split() for layer in LAYERS[:-1]]


def arrows() -> list[tuple[str, str]]:
    """Return who imports whom, but for what a longer way says too, and for imports of formats from above them."""
    rank = {name: rank for rank, names in enumerate(rooms()) for name in names}
    edges = [(name, target) for name, targets in direct(imports()).items() for target in sorted(targets)]
    return [
        (name, target) for name, target in edges if name in rank and (rank[target] >= FORMATS or rank[name] < FORMATS)
    ]


class Drawing:
    """Boxes in layers, ordered and placed so that lines are short and cross seldom (Sugiyama et al. 1981)."""

    def __init__(self, layers: list[list[str]], edges: list[tuple[str, str]]) -> None:
        self.layers: list[list[Node]] = [[(name,) for name in names] for names in layers]
        rank = {name: rank for rank, names in enumerate(layers) for name in names}
        self.lines: dict[tuple[str, str], list[Node]] = {}
        for top, bottom in edges:
            between: list[Node] = [(top, bottom, str(r)) for r in range(rank[top] - 1, rank[bottom], -1)]
            for node in between:
                self.layers[int(node[2])].append(node)
            self.lines[top, bottom] = [(top,), *between, (bottom,)]
        self.near: dict[Node, list[Node]] = {node: [] for nodes in self.layers for node in nodes}
        for line in self.lines.values():
            for upper, lower in pairwise(line):
                self.near[upper].append(lower)
                self.near[lower].append(upper)
        self.x: dict[Node, float] = {}
        self.place()

    def place(self) -> None:
        """Give each node its x: near the mean of its neighbours', in an order that follows from that."""
        for nodes in self.layers:
            self.spread(nodes, {node: WIDTH / 2 for node in nodes})
        for turn in range(60):
            for nodes in self.layers if turn % 2 else reversed(self.layers):
                wish = {node: self.mean(node) for node in nodes}
                if turn < 40:
                    nodes.sort(key=lambda node: (round(wish[node], 3), node))
                self.spread(nodes, wish)
        self.center(self.layers[:FORMATS])
        self.center(self.layers[FORMATS:])

    def mean(self, node: Node) -> float:
        """Return the mean x of a node's neighbours, or its own if it has none."""
        near = self.near[node] or [node]
        return sum(self.x[other] for other in near) / len(near)

    def spread(self, nodes: list[Node], wish: Mapping[Node, float]) -> None:
        """Place one layer as near to its wishes as the space between neighbours allows."""
        pushed = list(zip(nodes, push(nodes, wish, 1), reversed(push(nodes[::-1], wish, -1)), strict=True))
        self.x.update({node: (right + left) / 2 for node, right, left in pushed})

    def center(self, layers: list[list[Node]]) -> None:
        """Move some layers together to the middle of the picture."""
        sides = [self.x[node] + side * width(node) / 2 for nodes in layers for node in nodes for side in (-1, 1)]
        for node in (node for nodes in layers for node in nodes):
            self.x[node] += (WIDTH - min(sides) - max(sides)) / 2


def push(nodes: list[Node], wish: Mapping[Node, float], way: int) -> list[float]:
    """Return where nodes stand if each is pushed to the right (1) or left (-1) until it clears the one before it."""
    placed: list[float] = []
    for before, node in zip([None, *nodes], nodes, strict=False):
        room = (width(before) + width(node)) / 2 + GAP if before else 0.0
        least = way * placed[-1] + room if placed else way * wish[node]
        placed.append(way * max(way * wish[node], least))
    return placed


def width(node: Node) -> float:
    """Return how wide a node is; a line is a point."""
    return 8.5 * len(node[0]) + 26 if len(node) == 1 else 0


def height(layers: int) -> int:
    """Return the height of that many layers."""
    return layers * FLOOR - (FLOOR - BOX) + 2 * MARGIN


def svg() -> str:
    """Return the picture."""
    drawing = Drawing(rooms(), arrows())
    tall = height(len(drawing.layers))
    band = height(FORMATS) + 4
    head = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall + 20}" role="img">',
        "<title>The rooms of evohpc; an arrow goes from a room to one that it imports</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<defs>{head}<path d="M0,0 L8,4 L0,8 z"/></marker></defs>',
        f'<rect class="page" width="{WIDTH}" height="{tall + 20}" rx="8"/>',
        f'<rect class="band" x="10" y="{tall + 10 - band}" width="{WIDTH - 20}" height="{band}" rx="6"/>',
        f'<text class="note" x="{WIDTH / 2}" y="{tall}">formats: any room above may import these</text>',
        *lines(drawing, tall),
        *boxes(drawing, tall),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def top(layer: int, tall: int) -> float:
    """Return the y of the upper side of a layer's boxes."""
    return tall - MARGIN - BOX - layer * FLOOR


def boxes(drawing: Drawing, tall: int) -> Iterator[str]:
    """Yield the boxes with their names."""
    for layer, nodes in enumerate(drawing.layers):
        for node in (node for node in nodes if len(node) == 1):
            x, y, wide = drawing.x[node], top(layer, tall), width(node)
            kind = ' class="format"' if layer < FORMATS else ""
            yield f'<rect{kind} x="{x - wide / 2:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{BOX}" rx="5"/>'
            yield f'<text x="{x:.1f}" y="{y + 20:.1f}">{node[0]}</text>'


def lines(drawing: Drawing, tall: int) -> Iterator[str]:
    """Yield the arrows: vertical where they leave, pass a layer and arrive."""
    layer_of = {node: layer for layer, nodes in enumerate(drawing.layers) for node in nodes}
    for line in drawing.lines.values():
        points = [(drawing.x[node], top(layer_of[node], tall)) for node in line]
        steps = [f"M{points[0][0]:.1f},{points[0][1] + BOX:.1f}"]
        for (x, y), (next_x, next_y) in pairwise(points):
            bend = (next_y - y - BOX) / 2
            steps.append(f"C{x:.1f},{y + BOX + bend:.1f} {next_x:.1f},{next_y - bend:.1f} {next_x:.1f},{next_y:.1f}")
            steps.append(f"L{next_x:.1f},{next_y + BOX:.1f}")
        yield f'<path d="{" ".join(steps[:-1])}"/>'


def table() -> str:
    """Return the table of layers, from the top to the bottom."""
    rows = ["| layer | room | what it is |", "|---|---|---|"]
    for layer, names in reversed(list(enumerate(rooms()))):
        rows += [f"| {layer} | `{name}` | {purpose(name)} |" for name in names]
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """Return architecture.md with the table as it should be."""
    marked = re.compile(r"(?<=<!-- layers: docs/draw_rooms.py -->\n).*?(?=<!-- end -->)", re.DOTALL)
    assert marked.search(text), "architecture.md has no place for the table of layers"
    return marked.sub(lambda _: table(), text)


def main() -> int:
    """Write, or check, what is drawn."""
    architecture = DOCS / "architecture.md"
    wanted = {DOCS / "rooms.svg": svg(), architecture: page(architecture.read_text(encoding="utf-8"))}
    return write_or_check(wanted)


if __name__ == "__main__":
    sys.exit(main())
