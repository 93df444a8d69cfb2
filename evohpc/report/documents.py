"""What `--json` prints: the documents, kind by kind. docs/output.schema.json is made of these types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from evohpc.evaluation.curve import Curve, Measured
from evohpc.evolution.stopping import EarlyEnd
from evohpc.messages import Candidate, Result, Status
from evohpc.report.difference import Difference
from evohpc.search.cost import Cost
from evohpc.search.verified_table import Row

SCHEMA = 1
"""Of all documents. New keys may come; one that changes its meaning, or goes, makes it 2."""


@dataclass(frozen=True, slots=True)
class LastProgress:
    """What a driver last wrote to progress.json."""

    round: int
    rounds: int
    step: str
    done: int
    total: int
    held: list[str]
    at: str
    failure: str = ""
    """Why that driver ended, by an error."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A candidate, and the result that counts for it."""

    candidate: Candidate
    result: Result | None


@dataclass(frozen=True, slots=True)
class Spent:
    """Hours of all evaluations, of the language model's jobs, and in which a driver was at work; hours of cores and
    GPUs that evaluations and the language model had, whether they used them or not; and hours by stage."""

    evaluation_hours: float
    lm_hours: float
    driver_hours: float
    cpu_hours: float
    gpu_hours: float
    evaluation_stages: dict[str, float]
    lm_stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class Costs:
    """What the whole search takes: by what its evaluations took so far (null before one is over), and at most."""

    evaluation_hours: float | None
    at_most: Cost


@dataclass(frozen=True, slots=True)
class Node:
    """A node whose last attempts were the machine's fault."""

    name: str
    faults: int
    last: str


@dataclass(frozen=True, slots=True)
class Relative:
    """A candidate among its kin."""

    id: str
    round: int
    parents: list[str]
    status: Status
    error: float | None
    fitness: float | None


@dataclass(frozen=True, slots=True)
class Document:
    """What all have."""

    schema: Literal[1]
    run: str
    """Id of the run."""


@dataclass(frozen=True, slots=True)
class StatusDocument(Document):
    """`evohpc status --json`."""

    kind: Literal["status"]
    run_id: str
    task: str
    variant: str
    is_done: bool
    stopped: EarlyEnd | None
    driver: str
    progress: LastProgress | None
    spent: Spent
    cost: Costs
    faulty_nodes: list[Node]
    late: int
    """Candidates of closed rounds that have no outcome yet."""
    were_late: int
    """Candidates that had none when their round closed (`search.close_at`)."""
    late_entered: int
    """Those of them that have entered the pool of a later round."""
    counts: dict[Status, int]
    best: list[Evaluated]


@dataclass(frozen=True, slots=True)
class CandidateDocument(Document):
    """A line of `evohpc list --json` and `export --jsonl`; `evohpc show --json`."""

    kind: Literal["candidate"]
    candidate: Candidate
    result: Result | None
    curve: Curve = ()
    """Of `show` only: how its error fell while it was trained, as far as its round's files tell."""
    late_until: int | None = None
    """Of one that was late (`search.close_at`), the first round that could know its outcome."""


@dataclass(frozen=True, slots=True)
class WhyDocument(Document):
    """`evohpc why --json`."""

    kind: Literal["why"]
    id: str
    round: int
    parents: list[str]
    asked: dict[str, float]
    status: Status
    outcome: str
    detail: str
    error: float | None
    fitness: float | None
    attempts: int
    selected_after: list[int]
    pool_rank: int | None
    pool_size: int | None
    rank: int | None
    ranked: int
    children: int
    descendants: int
    sentences: dict[str, str]


@dataclass(frozen=True, slots=True)
class DiffDocument(Document):
    """`evohpc diff --json`."""

    kind: Literal["diff"]
    id: str
    differences: list[Difference]


@dataclass(frozen=True, slots=True)
class LineageDocument(Document):
    """`evohpc lineage --json`."""

    kind: Literal["lineage"]
    id: str
    path: list[str]
    ancestors: list[Relative]
    descendants: list[Relative]


@dataclass(frozen=True, slots=True)
class VerifyDocument(Document):
    """`evohpc verify --json`."""

    kind: Literal["verify"]
    finalists: list[Row]


@dataclass(frozen=True, slots=True)
class EvaluateDocument(Measured):
    """`evohpc evaluate --json`, which knows of no run."""

    schema: Literal[1] = 1
    kind: Literal["evaluate"] = "evaluate"


def head(kind: str, run: str) -> dict[str, Any]:
    """Return what each document of a run begins with."""
    return {"schema": SCHEMA, "kind": kind, "run": run}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of all documents, told apart by `kind`."""
    from pydantic import Field, TypeAdapter

    each = Annotated[
        StatusDocument
        | CandidateDocument
        | WhyDocument
        | DiffDocument
        | LineageDocument
        | VerifyDocument
        | EvaluateDocument,
        Field(discriminator="kind"),
    ]
    described = TypeAdapter[Any](each).json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"What evohpc prints for --json, schema {SCHEMA}",
        **described,
    }
