"""Fixtures that several test files share."""

from cluster.fixtures import accounting_cluster, bare_cluster, slurm, slurm_with_accounting

__all__ = ["accounting_cluster", "bare_cluster", "slurm", "slurm_with_accounting"]
