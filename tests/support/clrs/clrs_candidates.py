"""The shipped triplet representations and processors."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from support.paths import ROOT

SEEDS = ROOT / "seeds/clrs"
DISCOVERED = ROOT / "seeds/clrs_discovered"
PROCESSORS = ROOT / "seeds/clrs_processor"


def load_candidate(path: Path) -> ModuleType:
    """Import a candidate's file."""
    module = ModuleType(path.stem)
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module
