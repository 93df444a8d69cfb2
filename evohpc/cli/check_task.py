"""The check-task command: tries a task of one's own, with its seeds, in about a minute."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from evohpc.cli.doctor import print_findings
from evohpc.cli.shared import overrides_option


@click.command(
    epilog="""\b
Examples:
  evohpc check-task docs/own_task/config.yaml
  evohpc check-task config.yaml --set task_options.steps=50 --seconds 300"""
)
@click.argument("config", type=click.Path(path_type=Path))
@overrides_option
@click.option("--seconds", type=click.FloatRange(min=1), default=60, show_default=True, help="Try no seed after these.")
def check_task(config: Path, overrides: tuple[str, ...], seconds: float) -> None:
    """Try the rules of docs/own_task.md on the task of CONFIG.

    Makes its data, trains its seeds, scores useless predictions, and shows a prompt. Exit code 1 if there is a fault.
    """
    from evohpc.config.search import load_config
    from evohpc.doctor.own_task import TaskCheck
    from evohpc.report.terminal import printable

    check = TaskCheck(load_config(config, overrides), seconds)
    code = print_findings(check.findings())
    for title, text in (("the end of what it printed", check.log), ("a prompt", check.prompt)):
        if text:
            click.echo(f"\n--- {title} ---\n{printable(text.rstrip())}")
    sys.exit(code)


COMMANDS = (check_task,)
