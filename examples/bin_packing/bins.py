"""Online bin packing, as FunSearch searched it: a function ranks the bins that an item fits in; the first gets it."""

import numpy as np

from evohpc import Score, Splits, TaskInterface

CAPACITY = 100


class BinPacking:
    """Items of sizes 1 to 100 come one after the other. No network: the candidate is a function, and is run."""

    interface = TaskInterface(
        name="bin_packing",
        entry="priority",  # the function that a candidate defines
        header="def priority(item, bins):",  # how every prompt ends
        prelude="import numpy as np\n",
        allowed_imports=("math", "numpy"),
        metric="excess",  # less is better, which prompt.metric_factor in config.yaml says
        size_name="nodes",  # what prompts call the size; without a method `size` it is nodes of the syntax tree
    )

    def __init__(self, instances: int = 8, items: int = 500) -> None:
        self.instances, self.items = instances, items

    def prepare(self, seed: int, secret: int | None = None) -> Splits:
        """Sizes by Weibull's distribution (shape 3, scale 45), drawn from a seed that no candidate knows."""
        draw = np.random.default_rng(seed if secret is None else secret)
        sizes = 45 * draw.weibull(3, (self.instances, self.items))
        items = np.clip(np.rint(sizes), 1, CAPACITY).astype(np.int64)
        return Splits(train={}, inputs={"items": items}, labels={"items": items})  # `score` checks the packing by them

    def run(self, module, inputs):
        """Runs in the candidate's process: pack each instance; say for each item into which bin it went."""
        return {"bins": np.stack([self._pack(module.priority, items) for items in inputs["items"]])}

    def rows(self, arrays):
        """Each instance is a row: how it is packed may not depend on the others."""
        return {name: ("instances", 0) for name in arrays}

    def score(self, outputs, labels):
        """Runs outside: a packing is believed only as far as it can be checked."""
        items, bins = labels["items"], outputs.get("bins")
        if bins is None or bins.shape != items.shape or bins.dtype.kind not in "iu":
            raise ValueError(f"'bins' must be {items.shape} integers")
        excess = float(np.mean([self._excess(*pair) for pair in zip(items, bins, strict=True)]))
        return Score(error=excess, metrics={"excess": excess})

    def fitness(self, size: float, error: float) -> float:
        """Twice the size is worth 7 % of the error: the paper's product would favour the shortest of all."""
        return -error * size**0.1

    def _pack(self, priority, items):
        left, placed, used = np.full(len(items), CAPACITY), np.empty(len(items), np.int64), 0
        for number, item in enumerate(items):
            fitting = np.flatnonzero(left[: used + 1] >= item)  # those in use, and one that is empty
            ranks = np.asarray(priority(int(item), left[fitting].astype(float)), dtype=float)
            if ranks.shape != fitting.shape:
                raise ValueError(f"priority returned shape {ranks.shape} for {fitting.shape} bins")
            chosen = int(fitting[np.argmax(ranks)])
            left[chosen] -= item
            placed[number], used = chosen, max(used, chosen + 1)
        return placed

    def _excess(self, items, bins):
        """Return the share of bins used above the least that any packing needs: the sum of all items."""
        if bins.min() < 0 or bins.max() >= len(items):
            raise ValueError(f"bins must be from 0 to {len(items) - 1}")
        loads = np.bincount(bins, weights=items)
        if loads.max() > CAPACITY:
            raise ValueError(f"a bin holds {loads.max():.0f}, more than {CAPACITY}")
        return np.count_nonzero(loads) / np.ceil(items.sum() / CAPACITY) - 1
