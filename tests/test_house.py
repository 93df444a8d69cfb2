"""How the tests and the benchmarks are kept: where they stand, what they import, and what they may reach for."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.paths import ROOT, TESTS
from support.rooms import PACKAGE, tree

BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
APART = {TESTS / "fixtures", TESTS / "golden", TESTS / "hostile"}
"""As an earlier evohpc left it, or what a candidate would write."""
FILES = [path for path in sorted(TESTS.rglob("*.py")) if not APART & set(path.parents)]
TEST_FILES = [path for path in FILES if path.name.startswith("test_")]

OF_NO_MODULE = {
    "cluster/*": "whole searches on a real Slurm",
    "cli/test_cli.py": "the commands as a user types them",
    "cli/test_failures.py": "how candidates' failures are explained, by several commands",
    "cli/test_mistakes.py": "users' mistakes, by several commands",
    "doctor/test_doctor.py": "the answers of all its modules, one after another",
    "evolution/test_code_hash_by_example.py": "code_hash again: example by example, beside its random programs",
    "jobs/test_contract.py": "what every runner promises",
    "jobs/test_max_queued.py": "a limit that changes under arrays, in all of jobs and slurm",
    "jobs/test_crash_points.py": "kills around sbatch, in all that a driver on Slurm does",
    "lm/test_families.py": "other families of models, in all that lm does",
    "lm/test_real_model.py": "a real model, in all that lm does",
    "lm/vllm/test_vllm.py": "the real vLLM",
    "report/test_in_browser.py": "the report in a real browser",
    "sandbox/test_apptainer.py": "the modules on Apptainer, and a real container",
    "search/test_damaged_database.py": "damage that goes through search and store",
    "tasks/clrs/test_data.py": "our data against dm-clrs's, whatever module makes them",
    "tasks/clrs/test_parity.py": "our network against dm-clrs's under JAX",
    "tasks/clrs/test_sizes.py": "our parameter counts against the paper's",
    "test_benchmarks.py": "benchmarks/",
    "test_configs.py": "configs/*.yaml",
    "test_docs.py": "README and docs",
    "test_examples.py": "examples/",
    "test_exported.py": "evohpc/__init__.py",
    "test_full_disk.py": "a full disk, through all rooms",
    "test_fuzz.py": "whatever reads what others wrote, in all rooms",
    "test_hostile.py": "tests/hostile/",
    "test_house.py": "the tests themselves",
    "test_kill.py": "kills, through all rooms",
    "test_layers.py": "the rooms and their layers",
    "test_old_runs.py": "runs that 0.1.0 made",
    "test_packaging.py": "the distribution",
    "test_simulation.py": "benchmarks/simulate.py",
    "test_site.py": "the documentation as a site",
    "test_reliability.py": "what a run folder may meet, by the thousand",
    "test_supply_chain.py": "lock files and SBOMs",
}
"""Test files that mirror no module of evohpc, and what they are about."""


REACHED_FOR = {
    "benchmarks/tuning.py: _Trainee _engine _update": "times one step of a tuning alone",
    "tests/evaluation/stage/test_stages.py: _from_words _is_spoilt _keep _own_tensors _size _words": (
        "what a candidate's own process writes and reads of its weights, type by type"
    ),
    "tests/driver/test_at_work.py: _kin": "which round an improvement counts for, whatever a driver has seen",
    "tests/lm/test_model.py: _Product": "how many rows reach the product of one processor",
    "tests/support/clrs/reference.py: _loss": "dm-clrs's",
    "tests/lm/test_token_text.py: _start _text": "the text behind a class's end, too",
    "tests/store/test_queries.py: _db": "the statements, and how SQLite plans them",
    "tests/store/test_compare.py: _Table _db": "how SQLite plans a query; rows changed behind a store",
    "tests/store/test_store.py: _db": "the connection's own limit of pages is what a full disk is to it",
}
"""What evohpc keeps to itself, and a test or benchmark reaches for all the same; and why."""


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def strings(path: Path) -> Iterator[str]:
    """Yield the texts in a file; of those with {} in them, what stands between."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@cache
def names_in(module: str) -> frozenset[str] | None:
    """Return what can be imported from a module of evohpc, submodules included; None if there is no such module."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.exists():
        return None
    names = {child.stem for child in path.glob("*") if child.suffix in ("", ".py")}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)


def missing(text: str) -> list[str]:
    """Return what a program in a text imports from evohpc, or starts, that evohpc does not have."""
    wrong = []
    for module in re.findall(r"^\s*(?:\w.*; ?)?import (evohpc[\w.]*)", text, re.MULTILINE):
        wrong += [module] if names_in(module) is None else []
    for module, listed in re.findall(r"from (evohpc[\w.]*) import ([\w, ]+)", text):
        found = names_in(module)
        asked = {name.split()[0] for name in listed.split(",") if name.split()}
        wrong += [module] if found is None else [f"{module}.{name}" for name in sorted(asked - found)]
    if re.fullmatch(r"evohpc(\.\w+)+", text) and names_in(text) is None:
        above, _, name = text.rpartition(".")
        wrong += [] if name in (names_in(above) or ()) else [text]
    return wrong


def test_no_test_file_imports_another() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{short(path)}: a relative import"
                modules = [node.module or "", *(alias.name for alias in node.names)]
            parts = {part for module in modules for part in module.split(".")}
            assert not [part for part in parts if part.startswith("test_") or part == "tests"], short(path)


def test_every_test_file_stands_where_its_module_does() -> None:
    lost = []
    for path in TEST_FILES:
        place = path.relative_to(TESTS)
        module = PACKAGE / place.parent / path.stem.removeprefix("test_")
        if not module.is_dir() and not module.with_suffix(".py").exists():
            lost.append(str(place))
    assert sorted({name for name in OF_NO_MODULE if not any(Path(path).match(name) for path in lost)}) == []
    assert [path for path in lost if not any(Path(path).match(name) for name in OF_NO_MODULE)] == []


def test_programs_in_texts_import_what_there_is() -> None:
    looked_at = [path for path in [*FILES, *BENCHMARKS] if path != Path(__file__)]
    found = {short(path): [name for text in strings(path) for name in missing(text)] for path in looked_at}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_program_that_imports_what_is_not_there_is_found() -> None:
    assert missing("import sys; import evohpc.nowhere") == ["evohpc.nowhere"]
    assert missing("from evohpc.files import write_atomic, write_twice") == ["evohpc.files.write_twice"]
    assert missing("evohpc.lm.serves") == ["evohpc.lm.serves"]
    assert missing("import evohpc.lm.serve\nfrom evohpc import Search") == []


@pytest.mark.parametrize("path", BENCHMARKS, ids=short)
def test_benchmarks_can_be_imported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "llama_batch":
        pytest.importorskip("llama_cpp", reason="benchmarks/generation.py --llama starts it with a Python that has it")
    monkeypatch.syspath_prepend(path.parent)
    before = set(sys.modules)
    runpy.run_path(str(path), run_name=f"benchmark_{path.stem}")
    for name in set(sys.modules) - before & {other.stem for other in BENCHMARKS}:
        del sys.modules[name]


def private(path: Path) -> Iterator[str]:
    """Yield the private names of evohpc that a file uses: as attributes, in imports, and in the texts of programs."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evohpc"):
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))
        elif isinstance(node, ast.Attribute):
            if node.attr.startswith("_") and ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            yield from (
                each.value for each in node.args[:2] if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )
    for text in strings(path):
        if "import" in text and "evohpc" in text:
            yield from re.findall(r"(?<!self)\.(_\w+)", text)


def test_nothing_reaches_for_what_evohpc_keeps_to_itself() -> None:
    kept = {name for path in PACKAGE.rglob("*.py") for name in names_kept(path)}
    found = []
    for path in [*FILES, *BENCHMARKS]:
        own = names_kept(path)
        used = {part for name in private(path) for part in name.split(".") if part in kept and part not in own}
        found += [f"{short(path)}: {' '.join(sorted(used))}"] if used else []
    assert set(found) - set(REACHED_FOR) == set()
    assert set(REACHED_FOR) - set(found) == set()


@cache
def names_kept(path: Path) -> frozenset[str]:
    """Return the private names that a module and its classes define."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return frozenset(name for name in names if re.match(r"_[A-Za-z]", name))
