"""The standard output of a helper process, kept for its answers alone."""

from __future__ import annotations

import os
import sys


class Answers:
    """Takes descriptor 1 over; whatever else prints there goes to descriptor 2 from now on."""

    def __init__(self) -> None:
        self._pipe = os.dup(1)
        os.dup2(2, 1)

    def say(self, line: str) -> None:
        """Write a line.

        Raises:
            SystemExit: nobody reads any more, as when the run was stopped meanwhile. There is nothing to tell anyone.
        """
        try:
            with os.fdopen(self._pipe, "w", encoding="utf-8", closefd=False) as pipe:
                pipe.write(line + "\n")
        except BrokenPipeError:
            sys.exit(0)
