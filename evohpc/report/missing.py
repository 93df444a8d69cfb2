"""What to say when the packages of the extra `report` are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evohpc.errors import ConfigError

PACKAGES = ("bokeh", "pandas")


@contextmanager
def explain_missing() -> Iterator[None]:
    """Turn the failed import of a package of the extra into a sentence.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in (*PACKAGES, "pyarrow", "jinja2"):
            raise
        raise ConfigError(f"{error.name} is not installed: pip install 'evohpc[report]'") from None
