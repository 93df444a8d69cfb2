"""The entries of `evaluation.rungs` in a config: trainings that are cheaper than the task's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from evohpc.config.strict_yaml import JSONObject, Section


class Rung(Section):
    """A cheaper training, after which only the fittest go on (successive halving, Jamieson and Talwalkar 2016).

    The last training has the config's own `task_options`, and only what it measures counts: who is dropped before is
    no parent, not among the best, and nothing that is tuned on. Seeds are trained once, wholly."""

    keep: Annotated[float, Field(gt=0, lt=1, strict=True)]
    """The share of the children trained at this rung that goes on to the next, rounded; one at least."""
    task_options: Annotated[JSONObject, Field(min_length=1)]
    """What differs from the config's `task_options`, e.g. {steps: 300}. The data is made once, with the config's own:
    only options of the training belong here."""
