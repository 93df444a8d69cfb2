"""Writes one offline run of Weights & Biases, from JSON on stdin: a process of its own, so that whatever this package
starts, patches or waits for does so outside a driver.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import groupby
from typing import Any

from evohpc.linux import end_with


def environment(folder: str) -> dict[str, str]:
    """Return the environment that this program is to have: no setting of its user's for runs that are online, nothing
    written outside `folder`, no report of errors to the makers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own = {f"WANDB_{name}_DIR": folder for name in ("CACHE", "CONFIG", "DATA")}
    return {**kept, **own, "WANDB_ERROR_REPORTING": "false", "WANDB_MODE": "offline"}


def write(given: dict[str, Any]) -> None:
    """Write a run.

    Args:
        given: `folder`, `id`, `name` and `config` of the run, and `scalars`: (step, tag, value, seconds since 1970) in
            order of their steps.
    """
    import wandb

    quiet = {f"disable_{name}": True for name in ("git", "code", "job_creation")}
    no_looks = {f"x_disable_{name}": True for name in ("stats", "meta", "machine_info")}
    settings = wandb.Settings(
        mode="offline",
        root_dir=given["folder"],
        console="off",
        silent=True,
        x_save_requirements=False,
        **quiet,
        **no_looks,
    )
    with wandb.init(
        id=given["id"], name=given["name"], project="evohpc", config=given["config"], settings=settings
    ) as run:
        for step, scalars in groupby(given["scalars"], key=lambda scalar: scalar[0]):
            of_step = list(scalars)
            run.log({**{tag: value for _, tag, value, _ in of_step}, "_timestamp": of_step[0][3]}, step=step)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    write(json.load(sys.stdin))
