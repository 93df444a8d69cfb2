"""Python is started without the folder in which a user happens to be."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from evohpc import linux


@pytest.mark.parametrize(
    ("command", "environment"),
    [(linux.python(), {}), (linux.python(sys.executable), {}), ([sys.executable], linux.ISOLATED)],
)
def test_a_module_in_the_working_folder_is_not_imported(
    tmp_path: Path, command: Sequence[str], environment: Mapping[str, str]
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the queue of a user')\n")
    subprocess.run([*command, "-c", "import queue"], cwd=tmp_path, env={**os.environ, **environment}, check=True)
