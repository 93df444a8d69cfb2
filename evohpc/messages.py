"""The messages of a search: frozen, JSON-shaped, no behaviour beyond their own consistency."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

SEED_ROUND = -1
"""`Candidate.round` of the seed programs, which exist before round 0."""


class Status(StrEnum):
    """What became of a candidate. All but PENDING are final for the attempt that they describe."""

    PENDING = "pending"
    """Passed screening; waits for its evaluation."""
    TRAINED = "trained"
    """Trained and scored; has a fitness."""
    SYNTAX = "syntax"
    """The completion is not a Python program with the entry that the task names."""
    SCREENED = "screened"
    """Refused before execution: an import, a size or a construct that the task does not allow."""
    DUPLICATE = "duplicate"
    """It was seen before: the same program, up to names of locals, comments and formatting (`search.duplicates`)."""
    BUILD_ERROR = "build_error"
    """The program raised while it was imported or the model constructed."""
    SHAPE_ERROR = "shape_error"
    """The first forward or backward pass failed, or the output has the wrong shape or dtype."""
    TRAIN_ERROR = "train_error"
    """Raised, or died of a signal, during training or prediction."""
    NONFINITE = "nonfinite"
    """Loss, weights or predictions are NaN or infinite."""
    TIMEOUT = "timeout"
    """Ran past the wall-clock limit; the whole process tree was killed."""
    OUT_OF_MEMORY = "out_of_memory"
    """Went over the memory limit."""
    DISK_LIMIT = "disk_limit"
    """Wrote more than the scratch limit allows."""
    PROTOCOL_VIOLATION = "protocol_violation"
    """What it left behind is not what the protocol allows: missing, oversized, mis-shaped or forged files."""
    TASK_ERROR = "task_error"
    """The task's own code failed on what the candidate predicts: final, and no fault of the candidate's."""
    DROPPED = "dropped"
    """Trained at a lower rung (`evaluation.rungs`), where others were fitter: final, and no failure."""
    NODE_FAIL = "node_fail"
    """The node died under it."""
    PREEMPTED = "preempted"
    """The scheduler took the node away."""
    CONTAINER_ERROR = "container_error"
    """The container or sandbox did not start."""
    LOST = "lost"
    """The attempt ended without a word, no result file; or others had the processors, and its time ran out."""

    @property
    def is_refused(self) -> bool:
        """Refused by screening, before any execution."""
        return self in (Status.SYNTAX, Status.SCREENED, Status.DUPLICATE)

    @property
    def is_machine_fault(self) -> bool:
        """The machine's fault: retried, and never charged to the candidate."""
        return self in (Status.NODE_FAIL, Status.PREEMPTED, Status.CONTAINER_ERROR, Status.LOST)

    @property
    def is_candidate_fault(self) -> bool:
        """The candidate's own fault during evaluation: final, not retried."""
        return not (self in ("pending", "trained", "task_error", "dropped") or self.is_refused or self.is_machine_fault)


class Isolation(StrEnum):
    """How well a candidate was fenced off, weakest first; probed once per node, recorded with every result."""

    NONE = "none"
    """Nothing holds: only for candidates that you wrote yourself."""
    PROCESS = "process"
    """Own session, limits, clean environment, private scratch; can still read what its user can read."""
    CONFINED = "confined"
    """As PROCESS, and the kernel denies it every file but its own (Landlock) and the network."""
    CONTAINER = "container"
    """Own mount, PID and network namespaces in a read-only image (Apptainer)."""

    @property
    def rank(self) -> int:
        """Position in the order NONE < PROCESS < CONFINED < CONTAINER."""
        return list(Isolation).index(self)


@dataclass(frozen=True, slots=True)
class TaskInterface:
    """What the driver must know of a task; written by `evohpc.tasks.prepare`, so the driver imports no torch."""

    name: str
    entry: str
    """Name of the class or function that a candidate defines, e.g. 'Model'."""
    header: str
    """The line that a prompt ends in, e.g. 'class Model(nn.Module):' or 'def priority(item, bins):'."""
    prelude: str
    """Import lines put before every candidate; never shown to the LM."""
    allowed_imports: tuple[str, ...]
    """Packages and modules that a candidate may import, with all below them, e.g. 'torch' or 'package.module'."""
    metric: str
    """Key in `Result.metrics` of what prompts show; higher is better, unless `prompt.metric_factor` is below 1."""
    largest_error: float | None = None
    """That any program can have, e.g. 1 for a share of wrong answers; None where there is no bound."""
    size_name: str = "num_params"
    """What prompts, tables and the report call the size of a program."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion to draw: its place in the prompt, its own seed and its own temperature."""

    index: int
    seed: int
    temperature: float


@dataclass(frozen=True, slots=True)
class Prompt:
    """One few-shot prompt of a round (Algorithm 2, line `prompt <- MakeFewShotPrompt(E)`). Where it `is_rescaled`, no
    language model answers it (`evolution.rescaling`); what is `given` (`evolution.halves`) is the end of its text, and
    the beginning of each completion."""

    index: int
    text: str
    parents: tuple[str, ...]
    """Candidate ids of the in-context examples, in the order shown."""
    samples: tuple[Sample, ...]
    is_rescaled: bool = False
    given: str = ""


@dataclass(frozen=True, slots=True)
class TuningExample:
    """One prompt-tuning example: the loss is on `completion` only, whose tokens have that weight."""

    candidate_id: str
    prompt: str
    completion: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class LowRank:
    """The shape of a LoRA."""

    rank: int
    alpha: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a round's LM job tunes before it generates (Algorithm 1, line 11): a LoRA, or virtual tokens."""

    examples: tuple[TuningExample, ...]
    virtual_tokens: int
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    start_from: str | None
    """Folder of the adapter to continue from, relative to the run folder; None starts afresh."""
    lora: LowRank | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn; the fields of `LMConfig` and `SearchConfig` of these names say more."""

    batch_size: int
    max_new_tokens: int
    top_k: int = 0
    top_p: float = 1.0
    retry_unparsable: bool = False
    speculation: int = 0
    stop: str = "next_statement"  # as in requests of 0.1.0, which do not say it
    retry_copies: int = 0
    duplicates: str = "same_program"


@dataclass(frozen=True, slots=True)
class LMRequest:
    """`rounds/NNN/request.json`: everything the LM job of one round needs; no other input. `config.lm` says more."""

    schema: int
    run_id: str
    round: int
    model_path: str
    dtype: str
    threads: int
    sampling: Sampling
    adapter: str | None
    """Folder of what an earlier tuning left, to generate with when `tuning` is None; relative to the run folder."""
    deepspeed_config: dict[str, object]
    tuning: Tuning | None
    prompts: tuple[Prompt, ...]
    tensor_parallel: bool = False
    engine: str = "deepspeed"
    vllm: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """One line of `rounds/NNN/completions.jsonl`."""

    prompt: int
    sample: int
    text: str
    """What follows the header of the entry, cut after its end."""
    tokens: int
    """New tokens drawn, the stop token included, and those of an attempt that was not kept."""
    stop: str
    """'class_end', 'eos', 'length', 'context' (the model takes no more tokens); 'rescaled' where none drew it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program of the search: a seed, or one completion of one prompt."""

    id: str
    """'seed-cnn', or 'r003p07s012': round 3, prompt 7, sample 12."""
    round: int
    prompt: int
    sample: int
    parents: tuple[str, ...]
    temperature: float
    tokens: int
    source: str
    """The whole module: prelude and entry."""
    code_hash: str
    """sha256 (16 hex digits) of the normalised syntax tree (`search.duplicates`); '' where it was refused."""
    status: Status
    detail: str
    """One line: why it was refused, or what went wrong."""


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one attempt to evaluate one candidate; the payload of a result envelope."""

    candidate_id: str
    attempt: int
    status: Status
    detail: str = ""
    num_params: int | None = None
    error: float | None = None
    """0 or more; what alpha is compared with."""
    fitness: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds by stage: check, train, predict, score, total; and CPU seconds: cpu."""
    isolation: Isolation = Isolation.NONE
    host: str = ""
    source_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    finished_at: str = ""
    """UTC, ISO 8601."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at evaluating one candidate; a machine fault is followed by an attempt with the next number."""

    candidate_id: str
    attempt: int
    rung: int | None = field(default=None, compare=False)
    """How many rungs it has passed: it trains as `evaluation.rungs[rung]` says; at full fidelity if there is none."""


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """`rounds/NNN/jobs/<name>.json`: what one job array evaluates, task by task; written before it is submitted."""

    name: str
    """Unique in the run and for ever; the scheduler's job name."""
    round: int
    tasks: tuple[tuple[Attempt, ...], ...]


class TaskState(StrEnum):
    """What a runner knows of one array task."""

    WAITING = "waiting"
    """Queued, requeued, or submitted a moment ago and not visible yet."""
    RUNNING = "running"
    HELD = "held"
    """Will never start without a person: `TaskReport.reason` says why."""
    ENDED = "ended"
    """Over, well or badly; a result that is missing now, and after a grace period, is lost."""


@dataclass(frozen=True, slots=True)
class TaskReport:
    """State of one array task. Once it ENDED, `fault` names a missing result, `host` the node that may be to blame."""

    state: TaskState
    fault: Status = Status.LOST
    reason: str = ""
    host: str = ""
