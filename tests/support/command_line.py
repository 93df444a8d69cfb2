"""The command line, called in this process."""

from __future__ import annotations

import sys

import pytest

from evohpc import cli


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evohpc", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        else:
            code = 0
    out, err = capsys.readouterr()
    return int(code or 0), out, err
