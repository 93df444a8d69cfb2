"""The doctor command: checks every requirement of a search and says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.shared import overrides_option, site_option

if TYPE_CHECKING:
    from evohpc.doctor import Finding

_MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


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
    sys.exit(print_findings(findings))


def _examine(config: Path, overrides: tuple[str, ...], site: Path | None, node: bool, runs: Path) -> Iterable[Finding]:
    from evohpc.config.search import load_config
    from evohpc.config.site import Site, load_site
    from evohpc.doctor import examine_benchmark, examine_files, examine_host, examine_slurm

    loaded = load_config(config, overrides)
    profile = Site() if site is None else load_site(site)
    given = None if site is None else profile
    if node:
        return chain(examine_host(loaded, profile), examine_benchmark(loaded, given, trains=True))
    machine = examine_host(loaded, profile) if site is None else examine_slurm(loaded, profile)
    benchmark = examine_benchmark(loaded, given, trains=site is None)
    return chain(machine, examine_files(runs, on_cluster=site is not None), benchmark)


def print_findings(findings: Iterable[Finding]) -> int:
    """Print findings as they come; return the exit code."""
    from evohpc.report.terminal import printable

    faults = 0
    for finding in findings:
        click.echo(f"{_MARKS[finding.verdict]}  {finding.check}: {printable(finding.found)}")
        if finding.advice:
            click.echo(f"         -> {printable(finding.advice)}")
        faults += finding.verdict == "fault"
    click.echo(f"{faults} to mend first" if faults else "nothing to mend", err=True)
    return int(faults > 0)


COMMANDS = (doctor,)
