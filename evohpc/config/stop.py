"""The section `search.stop` of a config: budgets that end a search early."""

from __future__ import annotations

from evohpc.config.strict_yaml import Count, Number, Positive, Section


class StopConfig(Section):
    """When a search ends before its last round: as soon as the first of these is reached. None is set by default.

    All may be changed while a search goes on. `evohpc run` goes on after such an end if what was reached is raised."""

    target_fitness: Number | None = None
    """A fitness; reached by a candidate that is as fit or fitter, with an error below `error_threshold`."""
    rounds_without_improvement: Count | None = None
    """Closed rounds in a row whose children were no fitter than the best before them."""
    evaluations: Count | None = None
    """Children that are evaluated, whatever comes of it: the first so many in the order in which they were drawn.
    Seeds, duplicates and what screening refuses cost none."""
    compute_hours: Positive | None = None
    """Wall hours of all evaluations, seeds and machine faults included, and of the language model's processes, summed.
    An hour is one of what such a process holds: its cores, and its GPU if it has one. What is being evaluated counts as
    much as an evaluation took so far: the search ends at the limit or below, as far as that can be foreseen."""
    wall_hours: Positive | None = None
    """Hours in which a driver was at work, queues included. What is at work at the end is ended, and done again if the
    search goes on."""
