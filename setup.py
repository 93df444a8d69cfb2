"""Has the wheel carry what lies beside the package; all else that setuptools must know is in pyproject.toml.

An editable install needs no copies: `evohpc.shipped.catalogue.root` finds the checkout.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("configs", "seeds", "slurm", "containers", "docs/own_task", "examples", "tests/hostile")
TARGET = Path("evohpc/shipped/files")


class BuildWithShippedFiles(build_py):
    """Copies the folders into the package as it is built."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, TARGET)
        shutil.rmtree(target, ignore_errors=True)
        for folder in SHIPPED:
            shutil.copytree(folder, target / folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


setup(cmdclass={"build_py": BuildWithShippedFiles})
