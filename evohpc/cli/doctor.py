"""The doctor command: checks every requirement of a search and says what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evohpc.cli.shared import overrides_option, site_option, stdout_console

if TYPE_CHECKING:
    from rich.table import Table

    from evohpc.doctor import Finding
    from evohpc.doctor.attacking import Outcome

_MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


@click.command(
    epilog="""\b
Examples:
  evohpc doctor configs/mnist1d.yaml
  evohpc doctor configs/mnist1d.yaml --site slurm/mysite.yaml
  srun evohpc doctor configs/mnist1d.yaml --site slurm/mysite.yaml --node
  evohpc doctor fs /scratch/me/runs
  evohpc doctor --attack configs/mnist1d.yaml
  srun --mem=8G evohpc doctor --attack configs/mnist1d.yaml --site slurm/mysite.yaml
  evohpc doctor --gpu --lm models/qwen2.5-coder-0.5b-instruct --results gpu.json"""
)
@click.argument("target", nargs=-1, metavar="CONFIG | fs PATH")
@site_option
@click.option("--node", is_flag=True, help="Look at this compute node only; run it inside a job.")
@click.option("--attack", is_flag=True, help="Set hostile candidates on this host; minutes. In a job: on its node.")
@click.option("--gpu", is_flag=True, help="Try all that a search does on this host's GPU; ten minutes.")
@click.option("--lm", type=click.Path(path_type=Path, exists=True), help="With --gpu: folder of a language model.")
@click.option("--results", type=click.Path(path_type=Path), help="With --gpu: write what came of it there, as JSON.")
@click.option("--runs", default=".", show_default=True, type=click.Path(path_type=Path), help="Folder for runs.")
@overrides_option
def doctor(
    target: tuple[str, ...],
    site: Path | None,
    node: bool,
    attack: bool,
    gpu: bool,
    lm: Path | None,
    results: Path | None,
    runs: Path,
    overrides: tuple[str, ...],
) -> None:
    """Check every requirement; say what to do.

    Changes nothing, submits nothing.

    `doctor fs PATH` tries locks, links, renames and fsync of a file system instead. Exit code 1 if there is a fault.

    `doctor --attack CONFIG` has hostile candidates try here, in the runtime of CONFIG and beside a healthy one, what a
    sandbox must hold: forged scores, labels, memory, disk, time, processes, signals, the network. It needs isolation
    confined or container, takes under ten minutes, and prints what holds. Exit code 1 if something does not.

    `doctor --gpu` needs no CONFIG, Slurm, container or network: candidates in the sandbox, one that is killed and one
    that takes all memory, the language model, CLRS-30 and the quickstart, each on the GPU. Exit code 1 if something
    does not hold, or there is no GPU.
    """
    from evohpc.doctor import probe_files

    _check_together(target, gpu, attack, node, has_more=bool(site or overrides), of_gpu=bool(lm or results))
    if gpu:
        sys.exit(print_gpu(lm, results))
    if attack:
        sys.exit(print_attacks(Path(target[0]), overrides, site))
    if len(target) == 2 and target[0] == "fs":
        findings: Iterable[Finding] = probe_files(Path(target[1]))
    elif len(target) == 1 and target[0] != "fs":
        findings = _examine(Path(target[0]), overrides, site, node, runs)
    else:
        raise click.UsageError("name one config, or: fs PATH")
    sys.exit(print_findings(findings))


def _check_together(
    target: tuple[str, ...], gpu: bool, attack: bool, node: bool, *, has_more: bool, of_gpu: bool
) -> None:
    if gpu and (target or node or attack or has_more):
        raise click.UsageError("--gpu takes --lm and --results, and nothing else")
    if of_gpu and not gpu:
        raise click.UsageError("--lm and --results go with --gpu")
    if attack and (len(target) != 1 or target[0] == "fs" or node):
        raise click.UsageError("--attack takes one config, and no --node: it always looks at this host only")


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


def print_attacks(config: Path, overrides: tuple[str, ...], site: Path | None) -> int:
    """Have hostile candidates attack this host; print what holds, and return the exit code."""
    from rich.console import Console
    from rich.progress import track

    from evohpc.cli.signals import tidied_up
    from evohpc.config.search import load_config
    from evohpc.config.site import load_site
    from evohpc.doctor import attacking, attacks

    loaded, profile = load_config(config, overrides), None if site is None else load_site(site)
    chosen = list(attacks.chosen())
    with tidied_up():
        outcomes = list(
            track(
                attacking.attack_host(loaded, profile, chosen),
                "attacking this host",
                total=len(chosen) + attacking.LOOKS_AFTERWARDS,
                console=Console(stderr=True),
            )
        )
    stdout_console().print(_table(outcomes))
    through = [outcome for outcome in outcomes if not outcome.holds]
    click.echo(f"{len(outcomes) - len(through)} of {len(outcomes)} hold", err=True)
    if through:
        click.echo("what does not hold here, and whom you must trust then: docs/guarantees.md", err=True)
    return int(bool(through))


def print_gpu(lm: Path | None, results: Path | None) -> int:
    """Try the GPU of this host; print what holds, and return the exit code."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from evohpc.cli.signals import tidied_up
    from evohpc.doctor import gpu
    from evohpc.files import check_writable, write_atomic
    from evohpc.report.terminal import printable

    if results is not None:
        check_writable(results.parent)
    table, made = Table("check", "", "found", box=box.SIMPLE_HEAD), []
    with tidied_up():
        for check in gpu.examine(model=lm):
            click.echo(f"{check.name}: {printable(check.found)}", err=True)
            mark = {True: "holds", False: "FAILS", None: "not tried"}[check.holds]
            table.add_row(check.name, mark, escape(printable(check.found)))
            made.append(asdict(check))
    stdout_console().print(table)
    if results is not None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        write_atomic(results, json.dumps({"at": at, "checks": made}, indent=1) + "\n")
    return int(any(check["holds"] is False for check in made))


def _table(outcomes: Iterable[Outcome]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from evohpc.report.terminal import printable

    table = Table("aim", "attack", "must end in", "ended in", "", box=box.SIMPLE_HEAD)
    for outcome in outcomes:
        mark = {True: "held", False: "NOT HELD", None: "UNKNOWN"}[outcome.holds]
        table.add_row(outcome.aim, outcome.tries, outcome.expected, escape(printable(outcome.happened)), mark)
    return table


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
