"""Names of files that Python can import."""

from __future__ import annotations

import keyword
import re


def module_name(id: str) -> str:
    """Return a name for the module of a candidate; a seed's id has its file's name, which may be anything."""
    name = re.sub(r"\W", "_", id, flags=re.ASCII)
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"_{name}"
