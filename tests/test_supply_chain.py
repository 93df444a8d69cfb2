"""What the driver and the images install: by hash, in the versions that evohpc is tested with, and told in an SBOM."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.paths import ROOT

DRIVER = ROOT / "driver.lock"
LOCKS = [DRIVER, *sorted((ROOT / "containers").glob("*.lock"))]
ENTRY = re.compile(r"^([\w.-]+)==([\w.+]+)((?:[ \\\n]+--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
Entries = dict[str, tuple[str, list[str]]]


def entries(lock: Path) -> Entries:
    """Return version and hashes of each package, by its normalised name; see that nothing else is in the file."""
    text = lock.read_text()
    rest = [line for line in ENTRY.sub("", text).splitlines() if line and not line.startswith("#")]
    assert rest == []
    return {
        canonicalize_name(name): (version, re.findall("[0-9a-f]{64}", hashes))
        for name, version, hashes in ENTRY.findall(text)
    }


def constraints() -> dict[str, str]:
    lines = [line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_each_lock_has_all_that_it_must_and_hashes(lock: Path) -> None:
    assert all(hashes for _, hashes in entries(lock).values())
    asked = (
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        if lock == DRIVER
        else [line for line in lock.with_suffix(".in").read_text().splitlines() if re.match(r"\w", line)]
    )
    for requirement in map(Requirement, asked):
        version, _ = entries(lock)[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_driver_s_lock_is_what_is_tested() -> None:
    locked = {name: version for name, (version, _) in entries(DRIVER).items() if name != "pip"}
    assert locked.items() <= constraints().items()


@pytest.mark.slow
def test_the_driver_s_lock_is_enough_for_a_driver(tmp_path: Path) -> None:
    """By hash, from the package index, as SECURITY.md says, into an environment of its own."""
    left_out = shutil.ignore_patterns(
        ".git", ".venv*", "models", "runs", "build", "*.egg-info", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, tmp_path / "checkout", ignore=left_out, symlinks=True)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs, folder = tmp_path / "venv/bin", tmp_path / "checkout"
    (command,) = re.findall(r"^ +(pip install .*driver\.lock.*)$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    submit = "evohpc submit run configs/quickstart.yaml --site slurm/local.yaml --dry-run --set lm.engine=scripted"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        ["bash", "-euc", f"export PATH={programs}:$PATH; {command}; {submit}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "#SBATCH" in done.stdout


@pytest.mark.slow
def test_an_sbom_names_what_its_lock_does(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    make = ["make", "sbom", f"PYTHON={sys.executable}", f"VENV={tmp_path / 'venv'}", f"SBOM={tmp_path / 'sbom'}"]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "sbom").iterdir()) == sorted(f"{p.stem}.cdx.json" for p in LOCKS)
    for lock in LOCKS:
        told = json.loads((tmp_path / "sbom" / f"{lock.stem}.cdx.json").read_text())
        assert told["bomFormat"] == "CycloneDX"
        assert {canonicalize_name(part["name"]): (part["version"], hashes(part)) for part in told["components"]} == {
            name: (version, sorted(found)) for name, (version, found) in entries(lock).items()
        }


def hashes(component: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    return sorted(each["content"] for source in component["externalReferences"] for each in source["hashes"])
