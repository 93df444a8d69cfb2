"""The Pareto front of what a search found: no candidate beats one on it in both size and error. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other beats in both coordinates; lower is better; by the first.

    Of equal points the first counts.
    """
    order = sorted(range(len(points)), key=lambda i: (*points[i], i))
    front: list[int] = []
    best = float("inf")
    for i in order:
        if points[i][1] < best:
            front.append(i)
            best = points[i][1]
    return front
