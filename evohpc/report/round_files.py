"""The small files of a round: as they lie, or of a closed round, in its archive."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack, suppress
from pathlib import Path

from evohpc.run_folder import RoundDir


class RoundFiles:
    """What can be read of a round; what cannot is as if it were not there."""

    def __init__(self, round: RoundDir, archives: ExitStack) -> None:
        self.round, self._archive = round, None
        with suppress(OSError, zipfile.BadZipFile):
            self._archive = archives.enter_context(zipfile.ZipFile(round.archive))

    def read(self, path: Path) -> tuple[bytes, str]:
        """Return the content of a file, b"" if there is none, and where it was found."""
        data = b""
        with suppress(OSError, ValueError):  # an id that is no file's name
            data = path.read_bytes()
        if not data and self._archive is not None:
            name = path.relative_to(self.round.path).as_posix()
            with suppress(KeyError, OSError, zipfile.BadZipFile, RuntimeError):
                return self._archive.read(name), f"{self.round.archive}, {name}"
        return data, str(path)
