"""Site profiles: what a cluster wants to hear, in `slurm/<site>.yaml`. Science lives in configs/, never here.

Strict like a config: an unknown key or a bad value is an error that names the file, the key and the nearest right one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from evohpc.config.sbatch_options import Options, checked, merged
from evohpc.config.strict_yaml import Count, CountOrZero, NonNegative, Positive, Section, dump, read_mapping, validate
from evohpc.errors import ConfigError


def _text(value: object) -> object:
    """Take a number for its digits: `gpus_per_node: 1`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _lines(value: object) -> object:
    """Take text for the lines it has: `setup: module load cuda`."""
    return tuple(value.splitlines()) if isinstance(value, str) else value


class JobSection(Section):
    """What a kind of job asks of Slurm (man sbatch). An empty value leaves the option out."""

    partition: str = ""
    account: Annotated[str, BeforeValidator(_text)] = ""
    qos: str = ""
    constraint: str = ""
    gres: str = ""
    """e.g. 'gpu:a100:1'. Sites want this or `gpus_per_node`, seldom both."""
    gpus_per_node: Annotated[str, BeforeValidator(_text)] = ""
    """e.g. 1 or a100:4."""
    ask_memory: bool = True
    """false: never say --mem; some sites refuse it on their GPU partitions."""
    options: Annotated[Options, AfterValidator(checked)] = {}
    """Any other option by its long name, e.g. {mail-type: FAIL, exclude: n13}; true for one without a value, false for
    none. Refused are those that a search rests on, e.g. job-name."""
    setup: Annotated[tuple[str, ...], BeforeValidator(_lines)] = ()
    """Shell lines that run before the work, in a shell of its own, e.g. [module load apptainer]; one line, or a block,
    may be text."""

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters of a federation, or of a multi-cluster site, that its jobs may be on; ('',) is the local one."""
        return tuple(str(self.options.get("clusters", "")).split(","))

    def sbatch_options(self, own: Options) -> Options:
        """Return the options of a job by their long names: evohpc's own, and those of this section."""
        named = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "gres": self.gres,
            "gpus-per-node": self.gpus_per_node,
        }
        given = {name: value for name, value in self.options.items() if value is not False}
        return merged({**own, **{name: value for name, value in named.items() if value}}, given)


class EvaluationJobs(JobSection):
    """The job arrays that evaluate candidates, each in a container of its own."""

    max_parallel: Count = 64
    """Array tasks of one array that run at once (the %K of sbatch --array)."""
    requeue: bool = True
    """Let Slurm start a task again that a preemption or a node failure ended; candidates that have a result are
    skipped then. false: such a task is over, and its candidates get a new attempt of the search."""
    exclude_after: CountOrZero = 3
    """A node where so many attempts in a row ended as the machine's fault, and none well since, is excluded from the
    arrays that are submitted from then on, and from what waits in the queue where the site lets its users change that;
    at most half of the partition's nodes are. 0: none."""
    extra_memory_mb: Count = 1024
    """Asked on top of evaluation.memory_mb, for what supervises a candidate; for each of those evaluated at once."""
    extra_minutes: Count = 5
    """Asked on top of the candidates' time limits, for starting and scoring."""


class LMJobs(JobSection):
    """The jobs that run the language model: one a round, or one for the whole search."""

    cpus: Count = 4
    memory_mb: Count = 16_384
    minutes: Count = 240
    """Time limit of one job. What it drew until then is kept, and the next one draws the rest."""
    processes: Count = 1
    """Processes that torchrun starts, all on one node; one for each GPU."""
    image: Path | None = None
    """The LM image (containers/lm.def), a SIF or a sandbox folder; relative paths start at the profile's folder. null:
    the jobs run the Python named by `python`, which then needs the extra `lm`."""
    requeue: bool = True
    """Let Slurm start a job again that a preemption or a node failure ended. false: evohpc submits a new one."""
    retries: CountOrZero = 3
    """New jobs in a row that bring the completions no further before the search stops with an error."""
    hold: bool = False
    """One job answers one round after the other, and keeps its node while candidates are evaluated, so that a busy
    queue is waited for once. Then ask for as many `minutes` as the partition allows."""
    idle_minutes: Positive = 30.0
    """With `hold`: a job that had no request for so long gives its node back; the next round's gets a new job."""


class DriverJob(JobSection):
    """The job that drives a search, longer than its own time limit. Unless the profile has a section `lm`, the language
    model runs in it, too: then ask for the GPUs, cores and memory that it needs."""

    cpus: Count = 1
    memory_mb: Count = 4096
    minutes: Count = 1440
    """Time limit of one job; the search goes on in the next."""
    stop_before_s: Annotated[int, Field(ge=5, le=3600, strict=True)] = 300
    """Slurm signals the driver this long before its time limit, up to a minute earlier (man sbatch, --signal)."""
    go_on_by: Literal["requeue", "successor"] = "requeue"
    """At its time limit the job requeues itself; `successor` submits a new one, where the site has JobRequeue=0 or no
    scontrol on its nodes."""

    @model_validator(mode="after")
    def _has_time_to_drive(self) -> DriverJob:
        if 60 * self.minutes <= self.stop_before_s:
            raise ValueError(
                f"driver.minutes is {self.minutes} and driver.stop_before_s {self.stop_before_s}, at which the driver "
                f"would be stopped as it begins: take an hour or more"
            )
        return self


class SchedulerSection(Section):
    """How often and how much Slurm is bothered."""

    poll_s: Positive = 30.0
    """Between two questions to Slurm, whatever the number of candidates."""
    poll_max_s: Positive = 180.0
    """The same, once nothing changes any more."""
    submit_every_s: NonNegative = 5.0
    """Between two calls of sbatch."""
    settle_s: NonNegative = 60.0
    """How long a job may stay invisible: after an sbatch whose answer was lost, and after its end. Afterwards it is
    submitted again, or its results are lost. A second copy that turns up later ends without doing anything."""
    max_queued: Count | None = None
    """Array tasks in the queue at once, of this search; below the site's MaxSubmitJobs. null: no limit of our own."""
    grace_s: NonNegative = 60.0
    """How long after a task's end its results may still appear; network file systems show files late."""


class ContainerSection(Section):
    """Apptainer on this site."""

    apptainer: str = "apptainer"
    """Command or absolute path on the compute nodes."""
    image: Path | None = None
    """The evaluation image: a SIF, or a sandbox folder. Relative paths start at the profile's folder."""
    gpu: Literal["none", "nv", "rocm"] = "none"
    """Give containers the GPUs of the job: NVIDIA's (--nv) or AMD's (--rocm)."""
    local_folder: str = ""
    """Folder on a disk of the node, where the image is copied once; may use variables, e.g. '$TMPDIR'. Empty: run the
    image from where it is."""
    binds: tuple[str, ...] = ()
    """More to bind, read-only, e.g. ['/opt/drivers']. Candidates can read it."""
    prewarm: Literal["auto"] | bool = "auto"
    """Where an array task evaluates several candidates (`evaluation.candidates_per_task`): start the container of the
    next one, and import torch in it, while a candidate runs. It needs some of `evaluation.extra_memory_mb`. auto: where
    the task has more than one core for each that runs."""


class Site(Section):
    """A site profile."""

    python: str = ""
    """Python with evohpc on the compute nodes, e.g. ~/venv/bin/python; empty: the one that runs this command."""
    scheduler: SchedulerSection = SchedulerSection()
    evaluation: EvaluationJobs = EvaluationJobs()
    driver: DriverJob = DriverJob()
    lm: LMJobs | None = None
    """With this section, be it `lm: {}`, the language model runs in Slurm jobs of its own; without, in the driver's."""
    container: ContainerSection = ContainerSection()

    @property
    def clusters(self) -> tuple[str, ...]:
        """All clusters that jobs of a search may be on: the local one is another where the driver's job is."""
        sections = (self.driver, self.evaluation, *([self.lm] if self.lm else []))
        return tuple(dict.fromkeys(["", *(name for section in sections for name in section.clusters)]))

    def dump(self) -> str:
        """Return the profile as YAML; `load_site` reads it back to an equal value."""
        return dump(self.model_dump(mode="json"))


def load_site(path: Path | str) -> Site:
    """Read a site profile, and make its paths absolute.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or holds an unknown key, a bad value or an unset variable.
    """
    path = Path(path)
    site = validate(Site, read_mapping(path, "a site profile"), path)
    place = _Places(path)
    container = site.container.model_copy(
        update={
            "apptainer": place.command("container.apptainer", site.container.apptainer),
            "image": place.file("container.image", site.container.image),
            "binds": tuple(place.bind("container.binds", bind) for bind in site.container.binds),
        }
    )
    lm = site.lm and site.lm.model_copy(update={"image": place.file("lm.image", site.lm.image)})
    python = place.command("python", site.python)
    return site.model_copy(update={"python": python, "container": container, "lm": lm})


class _Places:
    """Makes the paths of a profile absolute. `~` and variables are those of whoever reads it; relative paths start at
    its folder."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile

    def file(self, key: str, path: Path | None) -> Path | None:
        return None if path is None else Path(self._expanded(key, str(path))).resolve()

    def command(self, key: str, command: str) -> str:
        """Return a path as it is, links kept: a virtual environment's Python is one. A bare name is left to PATH."""
        return self._expanded(key, command) if "/" in command or "$" in command else command

    def bind(self, key: str, bind: str) -> str:
        source, colon, target = bind.partition(":")
        return self._expanded(key, source) + colon + target

    def _expanded(self, key: str, path: str) -> str:
        expanded = os.path.expandvars(os.path.expanduser(path))
        if unknown := re.search(r"^~[^/]*|\$\{?\w+\}?", expanded):
            raise ConfigError(f"{self._profile}: {key}: {path}: there is no {unknown[0]} here; write the path in full")
        return os.path.abspath(self._profile.parent / expanded)
