"""The sbatch script of an LM job: srun, the container if there is one, torchrun, `evohpc.lm.generate`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evohpc import container
from evohpc.container import EVOHPC, IN, Bind, Container
from evohpc.jobs.script import claim, directives
from evohpc.rundir import RoundDir, write_atomic
from evohpc.site import LMJobs, Site

SCRIPT = "lm.sbatch"

_MODEL = "/model"
"""Where the container has the model folder."""

_TEMPLATE = """\
#!/bin/bash
# Runs the language model for {request}; written by evohpc.
{options}

{claim}
{setup}{environment}
echo "job $SLURM_JOB_ID starts on $(hostname)"
exec {program}
"""

_CONTAINER_ENVIRONMENT = """\
# Apptainer honours these even where all else of the environment is kept out.
unset "${!APPTAINER@}" "${!SINGULARITY@}"
for name in CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES; do
  [ -z "${!name+set}" ] || export "APPTAINERENV_$name=${!name}"
done"""


@dataclass(frozen=True, slots=True)
class LMWork:
    """One LM job."""

    name: str
    """Slurm's job name."""
    folder: Path
    """For what the job leaves beside its answer; RUN/rounds/NNN/slurm/<name>/<k>."""
    request: Path
    """RUN/rounds/NNN/request.json."""
    model: Path
    """Folder of the language model."""
    log: Path


def work_of(request: Path, run_id: str, number: int, model: Path) -> LMWork:
    """Return what job `number` for a request is called and where its files lie.

    Args:
        request: RUN/rounds/NNN/request.json.
        number: of the job, from 0; another one follows a job that ended early.
    """
    round = RoundDir(request.parent)
    name = job_name(request, run_id)
    return LMWork(f"{name}.{number}", round.slurm / name / str(number), request, model, round.lm_log)


def job_name(request: Path, run_id: str) -> str:
    """Return the part of Slurm's name that all jobs for a request share."""
    return f"{run_id}-{request.parent.name}-lm"


def write(work: LMWork, site: Site, program: Sequence[str] = ()) -> Path:
    """Write the script into the job's folder; return its path.

    Args:
        program: what to run instead of the language model.
    """
    script = work.folder / SCRIPT
    work.log.parent.mkdir(parents=True, exist_ok=True)  # Slurm makes no folders for a job's output
    write_atomic(script, text(work, site, program))
    return script


def text(work: LMWork, site: Site, program: Sequence[str] = ()) -> str:
    """Return the script; see `write`."""
    jobs = _section(site)
    contained = jobs.image is not None and not program
    step = ["srun", "--nodes=1", "--ntasks=1", f"--cpus-per-task={jobs.cpus}", "--kill-on-bad-exit=1"]
    return _TEMPLATE.format(
        request=work.request,
        options=directives(_options(work, jobs)),
        claim="\n".join(claim(work.folder, "SLURM_JOB_ID")),
        setup="".join(f"{line}\n" for line in jobs.setup),
        environment=_CONTAINER_ENVIRONMENT if contained else _exports(jobs),
        program=shlex.join([*step, *(program or _program(work, site, jobs))]),
    )


def _section(site: Site) -> LMJobs:
    assert site.lm is not None, "the site profile has no section lm"
    return site.lm


def _options(work: LMWork, jobs: LMJobs) -> dict[str, str | int | bool]:
    return {
        "job-name": work.name,
        "requeue" if jobs.requeue else "no-requeue": True,
        "open-mode": "append",
        "output": str(work.log),
        "time": jobs.minutes,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": jobs.cpus,
        **({"mem": f"{jobs.memory_mb}M"} if jobs.ask_memory else {}),
        **jobs.sbatch_options(),
    }


def _program(work: LMWork, site: Site, jobs: LMJobs) -> list[str]:
    if jobs.image is None:
        return [site.python or sys.executable, *_torchrun(jobs), str(work.request)]
    round = work.request.parent
    inside = f"{IN}/rounds/{round.name}"
    binds = [
        *container.site_binds(site.container.binds),
        Bind(Path(__file__).resolve().parent.parent, f"{EVOHPC}/evohpc"),
        Bind(work.model, _MODEL),
        Bind(round.parent.parent, IN),
        Bind(round, inside, writable=True),
    ]
    # The host's network stays: torchrun's processes meet on it, and this code is not a candidate's.
    host = Container(site.container.apptainer, jobs.image, site.container.gpu, own_network=False)
    environment = {**_environment(jobs), "PYTHONPATH": EVOHPC, "PYTHONDONTWRITEBYTECODE": "1"}
    # Apptainer lets nobody set HOME with --env, and the one it sets is not there: packages want to cache things in it.
    python = ["env", "HOME=/tmp", "python3"]
    program = [*python, *_torchrun(jobs), "--model", _MODEL, f"{inside}/{work.request.name}"]
    return container.command(host, binds, environment, program, working_folder=inside)


def _torchrun(jobs: LMJobs) -> list[str]:
    # What --standalone says, without a name to look up: a container, or a node, may not know `localhost` or its own.
    meet = ["--nnodes=1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    return ["-m", "torch.distributed.run", *meet, f"--nproc-per-node={jobs.processes}", "-m", "evohpc.lm.generate"]


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
        "TOKENIZERS_PARALLELISM": "false",
    }
