"""A stage that never ends, for who looks at what happens around it."""

import time
from pathlib import Path


def preload() -> dict[str, str]:
    """Nothing is slow to import."""
    return {}


def main(inputs: Path, out: Path) -> int:
    """Hang."""
    time.sleep(3600)
    return 0
