"""The sections of a config that say what may be evaluated, and how (`screening`, `evaluation`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from evohpc.config.rungs import Rung
from evohpc.config.strict_yaml import Count, CountOrZero, Positive, Section
from evohpc.messages import Isolation


class ScreeningConfig(Section):
    """What a candidate may look like before a GPU is spent on it."""

    max_source_bytes: Count = 20_000
    """Of the whole module, the task's imports included."""
    max_nodes: Count = 5_000
    """Nodes of the syntax tree."""
    max_depth: Annotated[int, Field(gt=0, le=100, strict=True)] = 60
    """Nesting depth of the syntax tree, and of brackets."""
    max_literal_bytes: Count = 2_000
    """All string, bytes and number literals together, and names of more than 32 characters: weights must not hide in
    source. Comments are bounded by `max_source_bytes` alone."""
    rules: Literal["0.1.0", "0.2.0"] = "0.2.0"
    """The version of evohpc whose rules hold. `0.1.0`, by which runs that do not say it go on, refuses private names
    (`self.__conv`), and evaluates what Python parses but does not compile, such as a `return` outside a function."""


class EvaluationConfig(Section):
    """How a candidate is run and what it may use."""

    runtime: Literal["process", "apptainer"] = "process"
    """`process`: a process tree of its own on this host, confined as far as the kernel allows. `apptainer`: each
    candidate in containers of the image that the site profile names (`container.image`)."""
    minimum_isolation: Isolation = Isolation.PROCESS
    """Refuse to evaluate on a host that reaches less: none < process < confined < container."""
    workers: CountOrZero = 0
    """Candidates evaluated at once on this machine; 0: one per core."""
    threads: Count = 1
    """Torch threads per candidate."""
    time_limit_s: Positive = 1800.0
    """Wall seconds for all that the candidate's code does, from its start; then the whole tree is killed."""
    memory_mb: Count = 4096
    """Resident memory of the candidate's process tree, in MiB."""
    disk_mb: Count = 1024
    """What the candidate may have in its scratch folder, in MiB."""
    log_kb: Count = 64
    """How much is kept of the end of a candidate's stdout and stderr, in KiB."""
    max_params: Count = 50_000_000
    """Size of the largest model, in 32-bit words of a checkpoint."""
    candidates_per_task: Count = 1
    """Candidates that one array task evaluates, each in its own sandbox."""
    candidates_at_once: Count = 1
    """How many of these the task evaluates at the same time: for nodes that are given whole, and for GPUs that one
    candidate does not fill. The task asks for so many times `threads` and `memory_mb`, and deals out its cores and its
    GPUs. Those that share a GPU have equal shares of its memory, and all need a longer `time_limit_s`."""
    retries: CountOrZero = 3
    """New attempts after a machine fault; a candidate's own failure is final. `evohpc retry` raises it in the run's own
    config, and a config given again does not lower it; `evohpc run RUN --set evaluation.retries=N`, without one, does.
    """
    rungs: tuple[Rung, ...] = ()
    """Cheaper trainings that children go through first (config/rungs.py). Not in the paper."""
    repeats: CountOrZero = 0
    """How often a child is trained once more by the whole recipe, before it can be a parent: its error, fitness and
    metrics are the means then, with `error_sd` and `fitness_sd` among the metrics, and one failure is its failure. Each
    training of a child, those at `rungs` too, has then a seed of its own (weights, batches). Not in the paper (0)."""

    @model_validator(mode="after")
    def _a_task_has_enough_candidates(self) -> EvaluationConfig:
        if self.candidates_at_once > self.candidates_per_task:
            raise ValueError(
                f"evaluation.candidates_at_once is {self.candidates_at_once}, more than an array task has: "
                f"evaluation.candidates_per_task is {self.candidates_per_task}; set it to {self.candidates_at_once}, "
                "or to a multiple of that"
            )
        return self
