"""The command line: parse, call, print.

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed with one readable sentence, 2 usage, 85 asked to
stop by a scheduler with more to do (see search/driver_job.py), 130 stopped by Ctrl-C. Everything heavy is imported by
the command that needs it.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from evohpc.cli import (
    check_task,
    doctor,
    evaluate,
    explain,
    export,
    fetch_lm,
    init,
    inspect,
    mending,
    report,
    run,
    status,
    train,
    transfer,
    verify,
)
from evohpc.cli.signals import INTERRUPTED
from evohpc.errors import EvohpcError

_EPILOG = """\b
Examples:
  evohpc init first && cat first/README.md
  evohpc fetch-lm models/qwen2.5-coder-0.5b-instruct
  evohpc run runs/first configs/quickstart.yaml
  evohpc status runs/first
  evohpc report runs/first
  evohpc verify runs/first
  evohpc submit runs/mnist1d configs/mnist1d.yaml --site slurm/mysite.yaml
"""


class _Commands(click.Group):
    """All commands; Ctrl-C in one that does not wait for it, or not yet, ends it with the code of the others."""

    def invoke(self, ctx: click.Context) -> Any:
        """See click, which says 'Aborted!' and exits with 1, as if it had failed."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("stopped by Ctrl-C; run the same command again", err=True)
            sys.exit(INTERRUPTED)


@click.group(
    cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="evohpc", message="%(version)s")
def evohpc() -> None:
    """EvoPrompting on Slurm: a language model evolves neural-network code.

    A search lives in a run folder (RUN). Start it with `run` on this machine or with `submit` on a cluster; the same
    command goes on after any interruption.
    """


MODULES = (
    init,
    run,
    mending,
    status,
    inspect,
    export,
    explain,
    report,
    verify,
    train,
    evaluate,
    check_task,
    fetch_lm,
    doctor,
    transfer,
)
for module in MODULES:
    for command in module.COMMANDS:
        evohpc.add_command(command)


def main() -> None:
    """Run the command line; an error that the user can mend is one sentence."""
    try:
        evohpc(prog_name="evohpc")
    except EvohpcError as error:
        from evohpc.report.terminal import printable

        click.echo(f"error: {printable(str(error))}", err=True)  # it may quote what a candidate wrote
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        where = error.filename or "cannot write what was asked for"  # `evohpc export ... > full-disk/all.csv`
        click.echo(f"error: {where}: {error.strerror}", err=True)
        sys.exit(1)
