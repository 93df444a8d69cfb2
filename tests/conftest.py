"""Fixtures that several test files share."""

from cluster.fixtures import (
    accounting_cluster,
    bare_cluster,
    built_containers,
    built_lm,
    containers,
    slurm,
    slurm_with_accounting,
    tiny_model,
)
from evaluating import evaluator, planted_environment, small_run
from searching import finished_run

__all__ = [
    "accounting_cluster",
    "bare_cluster",
    "built_containers",
    "built_lm",
    "containers",
    "evaluator",
    "finished_run",
    "planted_environment",
    "slurm",
    "slurm_with_accounting",
    "small_run",
    "tiny_model",
]
