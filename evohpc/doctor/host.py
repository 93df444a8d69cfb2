"""Whether this host can evaluate candidates and run the language model; on a cluster, ask a compute node."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from evohpc.config.search import Config
from evohpc.config.site import Site
from evohpc.doctor.base import Finding, attempt, fault, ok, warning
from evohpc.doctor.language_model import examine_language_model, packages
from evohpc.errors import EvaluationError, StorageError
from evohpc.evaluation.benchmark import WORKER
from evohpc.messages import Isolation
from evohpc.sandbox import apptainer_command, apptainer_runtime, cgroup, image
from evohpc.sandbox.apptainer_command import Container
from evohpc.sandbox.apptainer_runtime import ApptainerRuntime
from evohpc.sandbox.probe import probe, require

_COUNT_GPUS = "import torch; print(torch.cuda.device_count())"


def examine_host(config: Config, site: Site) -> Iterator[Finding]:
    """Look at this host."""
    yield from examine_language_model(config, site)
    if config.evaluation.runtime == "process":
        yield packages("evaluation", ("torch", "numpy", "safetensors"), extra="train")
        yield from attempt("isolation", "confining a process of its own", lambda: _process(config))
    else:
        yield from attempt("containers", "starting a container", lambda: _containers(config, site))
    if site.driver.go_on_by == "requeue" and shutil.which("scontrol") is None and shutil.which("sbatch") is None:
        yield warning("requeue", f"no scontrol on {socket.gethostname()}", "on nodes: set driver.go_on_by to successor")


def _process(config: Config) -> Finding:
    try:
        found = probe()
        require(config.evaluation.minimum_isolation, found)
    except EvaluationError as error:
        return fault("isolation", str(error), "evaluate on another host, or set evaluation.runtime to apptainer")
    if found.isolation.rank < Isolation.CONFINED.rank:
        return warning("isolation", f"a candidate here could {', '.join(found.weaknesses)}", "prefer apptainer")
    memory = "counted by evohpc" if cgroup.home() is None else "counted by evohpc, and held by a cgroup"
    return ok("isolation", f"{found.isolation}; a candidate's memory is {memory}")


def _containers(config: Config, site: Site) -> Iterator[Finding]:
    with tempfile.NamedTemporaryFile(prefix="evohpc-secret-") as secret:
        try:
            minimum = config.evaluation.minimum_isolation
            runtime = apptainer_runtime.start(site.container, Path(secret.name), minimum, WORKER)
        except (EvaluationError, StorageError) as error:
            yield fault("containers", str(error), "see docs/cluster.md, section Containers")
            return
    with closing(runtime):
        yield ok("containers", f"start, and reach isolation '{runtime.isolation}'")
        yield from _costs(runtime)
    if site.container.gpu != "none":
        yield from attempt("GPU in containers", "asking torch in a container", lambda: _gpu(site))


def _costs(runtime: ApptainerRuntime) -> Iterator[Finding]:
    """Say what works in another way here than it should."""
    if not runtime.has_own_network:
        yield warning(
            "network",
            f"{socket.gethostname()} gives containers no network namespace of their own",
            "a seccomp filter keeps candidates off the network instead; nothing to do",
        )
    if runtime.obstacle:
        yield warning(
            "warm containers",
            f"{runtime.obstacle}; so each of a candidate's three or four stages starts a container and imports torch, "
            f"{runtime.start_s:.1f} s each time",
            "evaluate on nodes with Landlock (Linux 5.13 or later), where a candidate pays that once; or do nothing",
        )


def _gpu(site: Site) -> Finding:
    section = site.container
    assert section.image is not None
    host = Container(section.apptainer, image.local_copy(section.image, section.local_folder), section.gpu)
    command = apptainer_command.command(host, (), {}, ["python3", "-c", _COUNT_GPUS], working_folder="/")
    done = subprocess.run(
        command, env=apptainer_command.own_environment(), capture_output=True, text=True, errors="replace", timeout=300
    )
    count = (done.stdout.split() or [""])[-1]  # a site's banner may come before it
    if done.returncode or not count.isdecimal() or int(count) == 0:
        why = done.stderr.strip().rpartition("\n")[2] or "torch sees none"
        advice = "ask for one (gres or gpus_per_node), build the image for this GPU, and compare with `nvidia-smi`"
        return fault("GPU in containers", why, advice)
    return ok("GPU in containers", f"torch sees {count}")
