"""The evaluate command: evaluates one candidate as a search does."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from evohpc.cli.shared import json_option, overrides_option, stdout_console
from evohpc.cli.signals import tidied_up


@click.command(
    epilog="""\b
Examples:
  evohpc evaluate seeds/mnist1d/cnn.py --config configs/quickstart.yaml
  evohpc evaluate mine.py --config configs/mnist1d.yaml --set task_options.steps=500"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--config", required=True, type=click.Path(path_type=Path), help="Config with the task and the limits.")
@overrides_option
@json_option
def evaluate(file: Path, config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Evaluate one candidate FILE as a search does.

    What it prints, tracebacks above all, goes to stderr. Exit code 1 if it could not be trained.
    """
    from rich.console import Console

    from evohpc.config.search import load_config
    from evohpc.evaluation.worker import evaluate_file
    from evohpc.messages import Status
    from evohpc.report.curves import in_words
    from evohpc.report.documents import SCHEMA
    from evohpc.report.tables import result_details
    from evohpc.report.terminal import printable
    from evohpc.tasks.base import load_task

    loaded = load_config(config, overrides)
    logs: list[bytes] = []
    with Console(stderr=True).status(f"training {file}"), tidied_up():
        result = evaluate_file(file, loaded, logs.append)
    if logs:
        click.echo(
            f"--- what {file} printed, its end ---\n{printable(b''.join(logs).decode().rstrip())}\n---", err=True
        )
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "kind": "evaluate", **asdict(result)}))
    else:
        size_name = load_task(loaded.task, loaded.task_options).interface.size_name
        stdout_console().print(result_details(result, size_name, in_words(result.curve)))
    sys.exit(0 if result.status is Status.TRAINED else 1)


COMMANDS = (evaluate,)
