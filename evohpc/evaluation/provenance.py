"""What ran where and when, for the record of a result."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any


def provenance(source: bytes, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a `Result` that say what ran where and when."""
    return {
        # Slurm's own name for it, where there is one.
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "source_sha256": hashlib.sha256(source).hexdigest(),
        "versions": {"python": platform.python_version(), "evohpc": metadata.version("evohpc"), **versions},
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
