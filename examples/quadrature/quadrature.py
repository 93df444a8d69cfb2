"""Rules of quadrature: a function gives n nodes in [-1, 1] and n weights, to integrate functions that it never sees."""

import numpy as np

from evohpc import Score, Splits, TaskInterface

POINTS = (2, 3, 4, 5, 6, 8)


class Quadrature:
    """No network: the candidate is a function, its outputs are numbers, and all that is scored happens outside."""

    interface = TaskInterface(
        name="quadrature",
        entry="rule",
        header="def rule(n):",
        prelude="import math\n",
        allowed_imports=("math",),
        metric="digits",  # that are right, on average; higher is better
        size_name="size",  # of the program; the usual one, nodes of its syntax tree
    )

    def __init__(self, integrands: int = 200) -> None:
        self.integrands = integrands

    def prepare(self, seed: int, secret: int | None = None) -> Splits:
        """Draw what to integrate, cos(a x + b), from a seed that no candidate knows. No process of its own has them."""
        draw = np.random.default_rng(seed if secret is None else secret)
        frequency, phase = draw.uniform(0.5, 3, self.integrands), draw.uniform(0, 2 * np.pi, self.integrands)
        return Splits(train={}, inputs={"points": np.array(POINTS)}, labels={"frequency": frequency, "phase": phase})

    def run(self, module, inputs):
        """Runs in the candidate's process: ask for each rule, and fill its row up with nodes of weight 0."""
        nodes, weights = np.zeros((2, len(inputs["points"]), max(POINTS)))
        for row, n in enumerate(inputs["points"]):
            nodes[row, :n], weights[row, :n] = module.rule(int(n))
        return {"nodes": nodes, "weights": weights}

    def rows(self, arrays):
        """Each number of points is a row: a rule may not depend on which others are asked for."""
        return {name: ("rules", 0) for name in arrays}

    def score(self, outputs, labels):
        """Runs outside: the mean error of the integrals, whose exact values follow from a and b."""
        nodes, weights = (outputs.get(name) for name in ("nodes", "weights"))
        shape = (len(POINTS), max(POINTS))
        if nodes is None or weights is None or nodes.shape != shape or weights.shape != shape:
            raise ValueError(f"'nodes' and 'weights' must be {shape}")
        if np.abs(nodes).max() > 1:
            raise ValueError(f"a node lies at {nodes.flat[np.abs(nodes).argmax()]:g}, outside of [-1, 1]")
        a, b = labels["frequency"], labels["phase"]
        exact = (np.sin(a + b) - np.sin(b - a)) / a
        found = np.einsum("rn,rnf->rf", weights, np.cos(nodes[..., None] * a + b))
        error = float(np.abs(found - exact).mean())
        return Score(error=error, metrics={"digits": -np.log10(max(error, 1e-16))})
