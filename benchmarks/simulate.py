"""What each mechanism gives a search of 1,600 children on 8 to 1,024 GPUs: `python benchmarks/simulate.py`.

A discrete-event simulation (SimPy), and no measurement: children train for log-normal times, array tasks wait in a
queue for log-normal times, and one language model draws round after round. The same children, with the same times, go
through every mechanism; what is not said to differ is the same. Three servers are shared by all, and serve one at a
time: the scheduler, which starts array tasks, and the metadata server and the driver, through which each result goes.

In one world a training takes long and the queue is short, in the other it is the other way round. *Longest first* goes
by a guess of each training time; evohpc has one with rungs only, with which no round closes at a share.

`--children` and `--rounds` change the shape, `--json FILE` keeps the numbers.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import simpy
from rich.console import Console
from rich.table import Table

GPUS = (8, 32, 128, 512, 1024)
PORTIONS = 16
"""Of a round that is handed out while it is drawn, as `driver/overlap.py` has it."""

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class World:
    """What is the same for all mechanisms. Times in seconds; of a log-normal one the median, and sigma of its log."""

    children: int = 1600
    rounds: int = 16
    train_s: float = 600.0
    train_sigma: float = 1.0
    queue_s: float = 60.0
    """How long an array task waits though a GPU is free: for the scheduler, and for others' jobs."""
    queue_sigma: float = 1.0
    drawing_s: float = 9.0
    """For each child."""
    start_s: float = 10.0
    """A container and torch in it, before a candidate trains."""
    array_task_s: float = 0.36
    """Of the scheduler, for each array task: 2.8 a second, as benchmarks/README.md has it for `SlurmRunner`."""
    driver_s: float = 0.00175
    """For each candidate: benchmarks/README.md, 100,000 candidates in the store."""
    metadata_s: float = 0.02
    """For each candidate: the files that it makes, renames, lists and removes."""
    guess_sigma: float = 0.3
    """How far the guess of a training time is off, as sigma of its log."""


WORLDS = {"long trainings": World(), "short trainings, long queue": World(train_s=30.0, queue_s=300.0)}


@dataclass(frozen=True)
class Mechanisms:
    """What is switched on."""

    overlap: bool = False
    longest_first: bool = False
    close_at: float = 1.0
    per_task: int = 1
    prewarm: bool = False


BEST = Mechanisms(overlap=True, close_at=0.9)
EACH = {
    "none": Mechanisms(),
    "overlap": Mechanisms(overlap=True),
    "longest first": Mechanisms(longest_first=True),
    "close at 0.9": Mechanisms(close_at=0.9),
    "4 in a task": Mechanisms(per_task=4),
    "4 in a task, prewarmed": Mechanisms(per_task=4, prewarm=True),
    "overlap, close at 0.9": BEST,
    "overlap, close at 0.9, 4 in a task, prewarmed": replace(BEST, per_task=4, prewarm=True),
}
SLOWER = {"metadata_s": (0.02, 0.2, 2.0, 20.0), "driver_s": (0.00175, 0.175, 1.75, 17.5)}
"""Seconds of a server for each candidate, from what is assumed to what becomes the limit."""


@dataclass
class Search:
    """One search in one world."""

    world: World
    mechanisms: Mechanisms
    gpus: int
    seed: int
    trained_s: float = field(default=0.0, init=False)
    """Of GPUs, in training alone."""

    def __post_init__(self) -> None:
        world, rng = self.world, np.random.default_rng(self.seed)
        self.train = rng.lognormal(math.log(world.train_s), world.train_sigma, world.children)
        self.guess = self.train * rng.lognormal(0, world.guess_sigma, world.children)
        self.queue = rng.lognormal(math.log(world.queue_s), world.queue_sigma, world.children)
        self.env = simpy.Environment()
        self.nodes = simpy.PriorityResource(self.env, self.gpus)
        self.scheduler, self.metadata, self.driver = (simpy.Resource(self.env, 1) for _ in range(3))
        self.ready = [self.env.event() for _ in range(world.rounds)]
        self.left = [math.ceil(self.mechanisms.close_at * self.per_round)] * world.rounds

    @property
    def per_round(self) -> int:
        """Children of a round."""
        return self.world.children // self.world.rounds

    def run(self) -> float:
        """Return the seconds until all children have an outcome."""
        self.env.process(self._rounds())
        self.env.run()
        return float(self.env.now)

    def _rounds(self) -> Process:
        for round in range(self.world.rounds):
            first = round * self.per_round
            yield from self._draw(range(first, first + self.per_round))
            yield self.ready[round]

    def _draw(self, children: range) -> Process:
        portions = PORTIONS if self.mechanisms.overlap else 1
        size = -(-len(children) // portions)
        for at in range(0, len(children), size):
            portion = children[at : at + size]
            yield self.env.timeout(self.world.drawing_s * len(portion))
            self._hand_out(portion)

    def _hand_out(self, children: Sequence[int]) -> None:
        how = self.mechanisms
        ordered = sorted(children, key=lambda child: -self.guess[child]) if how.longest_first else list(children)
        for at in range(0, len(ordered), how.per_task):
            self.env.process(self._task(ordered[at : at + how.per_task]))

    def _task(self, children: Sequence[int]) -> Process:
        yield from self._served(self.scheduler, self.world.array_task_s)
        yield self.env.timeout(self.queue[children[0]])
        rank = -self.guess[children[0]] if self.mechanisms.longest_first else children[0]
        with self.nodes.request(priority=rank) as node:
            yield node
            for number, child in enumerate(children):
                warm = self.mechanisms.prewarm and number > 0
                yield self.env.timeout((0 if warm else self.world.start_s) + self.train[child])
                self.trained_s += self.train[child]
                self.env.process(self._enter(child))

    def _enter(self, child: int) -> Process:
        yield from self._served(self.metadata, self.world.metadata_s)
        yield from self._served(self.driver, self.world.driver_s)
        round = child // self.per_round
        self.left[round] -= 1
        if self.left[round] == 0:
            self.ready[round].succeed()

    def _served(self, server: simpy.Resource, seconds: float) -> Process:
        with server.request() as turn:
            yield turn
            yield self.env.timeout(seconds)


def measured(world: World, mechanisms: Mechanisms, gpus: int, seeds: int) -> dict[str, float]:
    """Return the hours of a search, and which share of its GPUs' time is training, means over seeds."""
    searches = [Search(world, mechanisms, gpus, seed) for seed in range(seeds)]
    hours = [search.run() / 3600 for search in searches]
    busy = [search.trained_s / 3600 / gpus / time for search, time in zip(searches, hours, strict=True)]
    return {"hours": fmean(hours), "training": fmean(busy)}


def limits(world: World, server: str, gpus: int, seeds: int) -> dict[str, float]:
    """Return the hours of a search by the seconds that a server takes for each candidate."""
    return {f"{s:g}": measured(_slower(world, server, s), BEST, gpus, seeds)["hours"] for s in SLOWER[server]}


def _slower(world: World, server: str, seconds: float) -> World:
    changes: dict[str, Any] = {server: seconds}
    return replace(world, **changes)


def result(world: World, gpus: Sequence[int], seeds: int) -> dict[str, Any]:
    """Return all that is simulated of a world."""
    return {
        "world": asdict(world),
        "mechanisms": {name: {n: measured(world, way, n, seeds) for n in gpus} for name, way in EACH.items()},
        "limits": {server: limits(world, server, max(gpus), seeds) for server in SLOWER},
    }


def table(title: str, ways: dict[str, dict[int, dict[str, float]]], gpus: Sequence[int]) -> Table:
    """Return hours by mechanism and number of GPUs; in brackets the share of the GPUs' time that is training."""
    shown = Table(title, *(f"{n} GPUs" for n in gpus), box=None)
    for name, row in ways.items():
        shown.add_row(name, *(f"{row[n]['hours']:.1f} h ({row[n]['training']:.0%})" for n in gpus))
    return shown


def main() -> None:
    """Simulate, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("children", "rounds"):
        parser.add_argument(f"--{name}", type=int, default=getattr(World, name))
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="keep the numbers there")
    options = parser.parse_args()
    console, found = Console(width=160), {}
    for title, world in WORLDS.items():
        shaped = replace(world, children=options.children, rounds=options.rounds)
        found[title] = result(shaped, options.gpus, options.seeds)
        console.print(table(title, found[title]["mechanisms"], options.gpus))
        for server, hours in found[title]["limits"].items():
            said = ", ".join(f"{seconds} s: {time:.1f} h" for seconds, time in hours.items())
            console.print(f"overlap, close at 0.9, {max(options.gpus)} GPUs, {server} -> {said}\n")
    if options.json is not None:
        options.json.write_text(json.dumps({"seeds": options.seeds, "worlds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
