"""What to say when the packages of the extra `report` are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evohpc.errors import ConfigError

PACKAGES = ("bokeh", "jinja2", "pandas")


@contextmanager
def explain_missing() -> Iterator[None]:
    """Turn the failed import of a package of the extra into a sentence.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "pyarrow":
            raise ConfigError("a .parquet file needs pyarrow, which is not installed: pip install pyarrow") from None
        if package not in PACKAGES:
            raise
        raise ConfigError(f"{package} is not installed: pip install 'evohpc[report]'") from None
