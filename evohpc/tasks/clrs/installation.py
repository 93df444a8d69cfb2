"""Whether dm-clrs is there, and the one version of it whose data are known."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from evohpc.errors import TaskError

VERSION = "2.0.3"
INSTALL = f"pip install --no-deps dm-clrs=={VERSION} attrs"
"""Without --no-deps, pip adds JAX and TensorFlow: 2.9 GB that evohpc has no use for."""


def folder() -> Path:
    """Return the folder of dm-clrs's package. By file, not by name: a clrs.py in the working folder would come first.

    Raises:
        TaskError: it is not installed, or not in the version that the data are known for.
    """
    try:
        found = metadata.distribution("dm-clrs")
    except metadata.PackageNotFoundError:
        raise TaskError(f"the CLRS task needs dm-clrs, which is not installed; {INSTALL}") from None
    if found.version != VERSION:
        raise TaskError(f"the CLRS task needs dm-clrs {VERSION}, {found.version} may draw other data; {INSTALL}")
    return Path(str(found.locate_file("clrs")))
