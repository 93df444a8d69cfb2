"""Whether the language model can run here: packages or image, and the model folder."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from evohpc.config.search import Config
from evohpc.config.site import Site
from evohpc.doctor.base import Finding, attempt, fault, ok
from evohpc.errors import LMError
from evohpc.lm.vllm import job as vllm_job
from evohpc.lm_job.model_folder import check_model_folder
from evohpc.sandbox import apptainer_command
from evohpc.sandbox.apptainer_command import Container

_PACKAGES = ("torch", "transformers", "peft", "deepspeed")


def examine_language_model(config: Config, site: Site) -> Iterator[Finding]:
    """Look at what the LM jobs need of this host."""
    if config.lm.engine == "scripted":
        yield ok("language model", "scripted: no model is needed")
        return
    if site.lm is not None and site.lm.image is not None:
        names = (*_PACKAGES, "vllm") if config.lm.engine == "vllm" else _PACKAGES
        image, processes = site.lm.image, site.lm.processes
        yield from attempt("LM image", f"starting {image}", lambda: _image(site, image, processes, names))
    else:
        yield packages("language model", _PACKAGES, extra="lm")
        if config.lm.engine == "vllm":
            yield from attempt("vLLM", "asking a Python for it", _vllm)
    yield from attempt("model folder", f"reading {config.lm.path}", lambda: _model(config.lm.path))


def _model(path: Path | None) -> Finding:
    assert path is not None
    try:
        check_model_folder(path)
    except LMError as error:
        return fault("model folder", str(error), "set lm.path")
    return ok("model folder", str(path))


def packages(check: str, names: Sequence[str], extra: str) -> Finding:
    """Look whether this Python has packages, without importing them.

    Args:
        extra: of evohpc, which brings them.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        return fault(check, f"this Python lacks {', '.join(missing)}", f"pip install 'evohpc[{extra}]'")
    return ok(check, f"this Python has {', '.join(names)}")


def _vllm() -> Finding:
    try:
        return ok("vLLM", f"{vllm_job.python()} has it")
    except LMError as error:
        return fault("vLLM", str(error), f"pip install 'evohpc[vllm]', or set {vllm_job.PYTHON}")


def _image(site: Site, image: Path, processes: int, names: Sequence[str]) -> Finding:
    if not image.exists():
        return fault("LM image", f"there is no image {image}", "containers/build.sh builds it; lm.image names it")
    host = Container(site.container.apptainer, image, site.container.gpu, own_network=False)
    program = ["env", "HOME=/tmp", "python3", "-c", f"import {', '.join(names)}; print(torch.cuda.device_count())"]
    command = apptainer_command.command(
        host, apptainer_command.site_binds(site.container.binds), {}, program, working_folder="/"
    )
    try:
        done = subprocess.run(
            command,
            env=apptainer_command.own_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=600,
        )
    except FileNotFoundError:
        return fault("LM image", f"there is no `{command[0]}` here", "set container.apptainer, or load its module")
    if done.returncode:
        return fault("LM image", done.stderr.strip().rpartition("\n")[2], "build it anew: containers/build.sh")
    counted = (done.stdout.split() or [""])[-1]
    if not counted.isdecimal():
        return fault("LM image", f"its Python printed {counted[:80]!r} for a number of GPUs", "build it anew")
    gpus = int(counted)
    if site.container.gpu != "none" and gpus < processes:
        advice = "ask for one GPU for each of lm.processes (lm.gres or lm.gpus_per_node)"
        return fault("LM image", f"torch sees {gpus} GPUs for {processes} processes", advice)
    return ok("LM image", f"has {', '.join(names)}" + (f"; torch sees {gpus} GPUs" if gpus else ""))
