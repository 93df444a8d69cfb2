"""The sbatch script of an LM job: srun, the container if there is one, torchrun, `evohpc.lm.generate`.

In a job of the whole run `evohpc.lm.serve` comes before torchrun, and starts it for each request.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evohpc import linux
from evohpc.config.sbatch_options import Options
from evohpc.config.site import LMJobs, Site
from evohpc.files import write_atomic
from evohpc.run_folder import RoundDir, RunDir
from evohpc.sandbox import apptainer_command
from evohpc.sandbox.apptainer_command import EVOHPC, IN, Bind, Container
from evohpc.slurm.script import claim, directives

SCRIPT = "lm.sbatch"

_MODEL = "/model"
"""Where the container has the model folder."""

_TEMPLATE = """\
#!/bin/bash
# Runs the language model for {work}; written by evohpc.
{options}

{claim}
echo "job $SLURM_JOB_ID starts on $(hostname)"
{setup}{environment}
exec {program}
"""

_CONTAINER_ENVIRONMENT = """\
# Apptainer honours these even where all else of the environment is kept out.
unset "${!APPTAINER@}" "${!SINGULARITY@}"
for name in CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES; do
  [ -z "${!name+set}" ] || export "APPTAINERENV_$name=${!name}"
done"""
_CONTAINER_JOB_ID = '\nexport "APPTAINERENV_SLURM_JOB_ID=$SLURM_JOB_ID"'
"""For what a job of the whole run writes into the rounds' logs."""


@dataclass(frozen=True, slots=True)
class LMWork:
    """One LM job."""

    name: str
    """Slurm's job name."""
    folder: Path
    """For the job's own files: RUN/rounds/NNN/slurm/<name>/<k>, or RUN/slurm/<name>/<k> for a job of the run."""
    run: Path
    round: RoundDir | None
    """The round whose request it answers; None: it answers all requests of the run, as they come."""
    model: Path
    """Folder of the language model."""
    log: Path
    """The file that Slurm writes the job's output to."""


def work_of(round: RoundDir, run_id: str, number: int, model: Path, *, hold: bool = False) -> LMWork:
    """Return the name and the files of job `number` for a round's request.

    Args:
        number: of the job, from 0; the next one follows a job that ended early.
        hold: it is a job of the whole run, which answers this request and all later ones.
    """
    name = f"{run_id}-lm" if hold else f"{run_id}-{round.name}-lm"
    folder = (round.run.slurm if hold else round.slurm) / name / str(number)
    log = folder / "lm.log" if hold else round.lm_log
    return LMWork(f"{name}.{number}", folder, round.run.path, None if hold else round, model, log)


def write(work: LMWork, site: Site, program: Sequence[str] = ()) -> Path:
    """Write the script into the job's folder; return its path.

    Args:
        program: what answers a request, its last argument, instead of the language model.
    """
    script = work.folder / SCRIPT
    work.log.parent.mkdir(parents=True, exist_ok=True)  # Slurm makes no folders for a job's output
    write_atomic(script, text(work, site, program))
    return script


def text(work: LMWork, site: Site, program: Sequence[str] = ()) -> str:
    """Return the script; see `write`."""
    jobs = _section(site)
    contained = jobs.image is not None and not program
    # The environment of this script, also where sbatch was told --export=NONE: srun would inherit that (srun(1)).
    step = ["srun", "--export=ALL", "--nodes=1", "--ntasks=1", f"--cpus-per-task={jobs.cpus}", "--kill-on-bad-exit=1"]
    return _TEMPLATE.format(
        work=work.round.request if work.round else f"the requests of {work.run}",
        options=directives(_options(work, jobs)),
        claim="\n".join(claim(work.folder, "SLURM_JOB_ID")),
        setup="".join(f"{line}\n" for line in jobs.setup),
        environment=_container_environment(work) if contained else _exports(jobs),
        program=shlex.join([*step, *(_contained(work, site, jobs) if contained else _bare(work, site, jobs, program))]),
    )


def _section(site: Site) -> LMJobs:
    assert site.lm is not None, "the site profile has no section lm"
    return site.lm


def _options(work: LMWork, jobs: LMJobs) -> Options:
    own: Options = {
        "job-name": work.name,
        "requeue" if jobs.requeue else "no-requeue": True,
        "open-mode": "append",
        "output": str(work.log),
        "time": jobs.minutes,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": jobs.cpus,
        **({"mem": f"{jobs.memory_mb}M"} if jobs.ask_memory else {}),
    }
    return jobs.sbatch_options(own)


def _bare(work: LMWork, site: Site, jobs: LMJobs, program: Sequence[str]) -> list[str]:
    command = linux.python(site.python)
    return _answering(work, jobs, command, program or [*command, *_torchrun(jobs)], work.run)


def _contained(work: LMWork, site: Site, jobs: LMJobs) -> list[str]:
    assert jobs.image is not None, "no container without an image"
    folders = [RunDir(work.run).rounds, work.folder] if work.round is None else [work.round.path]
    writable = [Bind(folder, _moved(folder, work.run, IN), writable=True) for folder in folders]
    binds = [
        *apptainer_command.site_binds(site.container.binds),
        Bind(Path(__file__).resolve().parent.parent, f"{EVOHPC}/evohpc"),
        *model_binds(work.model),
        Bind(work.run, IN),
        *writable,
    ]
    # The host's network stays: torchrun's processes meet on it, and this code is not a candidate's.
    host = Container(site.container.apptainer, jobs.image, site.container.gpu, own_network=False)
    environment = {**_environment(jobs), "PYTHONPATH": EVOHPC, "PYTHONDONTWRITEBYTECODE": "1"}
    # Apptainer lets nobody set HOME with --env, and the one it sets is not there: packages want to cache things in it.
    command = ["env", "HOME=/tmp", *linux.python("python3")]
    program = _answering(work, jobs, command, [*command, *_torchrun(jobs), "--model", _MODEL], IN)
    return apptainer_command.command(host, binds, environment, program, working_folder=writable[0].target)


def model_binds(model: Path) -> list[Bind]:
    """Return what brings the model folder into the container; file by file where links lead out of it, as those in the
    cache of a hub do."""
    entries, folder = sorted(model.iterdir()) if model.is_dir() else [], model.resolve()
    if all(entry.resolve().is_relative_to(folder) for entry in entries):
        return [Bind(model, _MODEL)]
    return [Bind(entry.resolve(), f"{_MODEL}/{entry.name}") for entry in entries if entry.exists()]


def _answering(
    work: LMWork, jobs: LMJobs, command: Sequence[str], generate: Sequence[str], run: Path | str
) -> list[str]:
    """Return the command that answers the round's request, or all requests of the run, by `generate`.

    Args:
        run: where the command finds the run folder.
    """
    if work.round is not None:
        return [*generate, _moved(work.round.request, work.run, run)]
    idle = f"--idle-minutes={jobs.idle_minutes:g}"
    return [*command, "-m", "evohpc.lm.serve", str(run), _moved(work.folder, work.run, run), idle, "--", *generate]


def _moved(path: Path, run: Path, to: Path | str) -> str:
    """Return a path in the run folder as it is where the run folder is `to`, e.g. in a container."""
    return str(to / path.relative_to(run))


def _torchrun(jobs: LMJobs) -> list[str]:
    # What --standalone says, without a name to look up: a container, or a node, may not know `localhost` or its own.
    meet = ["--nnodes=1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    return ["-m", "torch.distributed.run", *meet, f"--nproc-per-node={jobs.processes}", "-m", "evohpc.lm.generate"]


def _container_environment(work: LMWork) -> str:
    return _CONTAINER_ENVIRONMENT + (_CONTAINER_JOB_ID if work.round is None else "")


def _exports(jobs: LMJobs) -> str:
    return "export " + shlex.join(f"{name}={value}" for name, value in _environment(jobs).items())


def _environment(jobs: LMJobs) -> dict[str, str]:
    threads = max(1, jobs.cpus // jobs.processes)
    return {
        # All processes are on one node.
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
        "NCCL_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": str(threads),
        # torchrun starts its processes without -P.
        **linux.ISOLATED,
        "TOKENIZERS_PARALLELISM": "false",
    }
