"""How a config names its task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TaskName:
    """What a config calls its task: one that evohpc ships, or a class in a file of the user's."""

    name: str
    """Of the built-in task, or of the class."""
    file: Path | None = None
    """That defines the class; None for a built-in task."""

    @classmethod
    def parse(cls, text: str) -> TaskName:
        """Read 'mnist1d' or 'path/to/file.py:ClassName'.

        Raises:
            ValueError: it looks like a file, but is not one of Python with a class.
        """
        file, _, class_name = text.rpartition(":")
        if file.endswith(".py") and class_name.isidentifier():
            return cls(class_name, Path(file))
        if "/" in text or ".py" in text:
            raise ValueError(f"task: a task file is named with its class, path/to/file.py:ClassName; it is {text!r}")
        return cls(text)

    def __str__(self) -> str:
        return self.name if self.file is None else f"{self.file}:{self.name}"

    def moved(self, file: Path) -> TaskName:
        """Return the name of the same task where its file, if it has one, is a copy elsewhere."""
        return self if self.file is None else replace(self, file=file)
