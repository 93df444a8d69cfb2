"""Writes down what an LM job spends its time on, for reports and budgets. Imports no torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Literal

from evohpc.run_folder import RoundDir

Doing = Literal["loading", "tuning", "drawing"]


@contextmanager
def timed(round: RoundDir, doing: Doing) -> Iterator[None]:
    """Append a line to the round's `lm_times.jsonl` when this is done, or fails; on the first of several ranks alone.

    What a kill ends is not written down. That it cannot be written is no reason to fail.
    """
    started = time.monotonic()
    try:
        yield
    finally:
        if os.environ.get("RANK", "0") == "0":
            seconds, now = time.monotonic() - started, datetime.now(UTC)
            line = {"doing": doing, "seconds": float(f"{seconds:.2f}"), "ended_at": now.isoformat(timespec="seconds")}
            with suppress(OSError), round.lm_times.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
