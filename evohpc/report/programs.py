"""The fittest programs of a search as a folder to take away: modules, what was measured, and how to go on with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any

from evohpc.config.search import Config
from evohpc.errors import RunFolderError
from evohpc.evolution.entry import is_function
from evohpc.files import write_atomic
from evohpc.messages import TaskInterface
from evohpc.report.module_name import module_name
from evohpc.store.rows import Entry

SEED_PREFIX = "seed-"

_README = """\
# The fittest programs of {run_id}

`programs.json` says of each what was measured. The modules are as the search evaluated them, byte for byte; a language
model wrote them: read one before you run it outside a sandbox.

Train one as the search did, in its sandbox:

    evohpc evaluate {first} --config config.yaml

Train it longer, where the task has such an option: add e.g. `--set task_options.steps=8000`.

A search keeps no weights. `evohpc train RUN ID` has them, as safetensors, by the same training again; so has
`evohpc export RUN --programs FOLDER --keep-weights`, which puts each network into a folder here that bears its id.

In your own code: a module defines the {kind} `{entry}`; put it beside yours and write `from {module} import {entry}`.

Start another search from them: let `seeds:` in its config name this folder.
"""


def write_programs(
    folder: Path, entries: Sequence[Entry], *, run_id: str, config: Config, task: TaskInterface
) -> list[Path]:
    """Write programs, their numbers and the search's config into a folder that has no other programs.

    Raises:
        RunFolderError: it has, and a search would take all of them for seeds; nothing was written.
        StorageError: the file system refused.
    """
    names = _named(entries)
    if strangers := sorted(path.name for path in folder.glob("*.py") if path.name not in names):
        raise RunFolderError(f"{folder} has other programs ({', '.join(strangers[:3])}); take a new folder")
    for name, entry in names.items():
        write_atomic(folder / name, entry.candidate.source)
    document = {"schema": 1, "run": run_id, "programs": [_numbers(name, entry) for name, entry in names.items()]}
    write_atomic(folder / "programs.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    write_atomic(folder / "config.yaml", config.model_copy(update={"seeds": folder.resolve()}).dump())
    first = next(iter(names))
    kind = "function" if is_function(task) else "class"
    readme = _README.format(run_id=run_id, first=first, module=first.removesuffix(".py"), kind=kind, entry=task.entry)
    write_atomic(folder / "README.md", readme)
    return [folder / name for name in names]


def _named(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Return the entries by the names of their files. Where two would have one name, the later has its whole id."""
    names: dict[str, Entry] = {}
    for entry in entries:
        whole = module_name(entry.id)
        numbered = (f"{whole}_{number}.py" for number in count(2))
        free = (name for name in chain((_file(entry), f"{whole}.py"), numbered) if name not in names)
        names[next(free)] = entry
    return names


def _file(entry: Entry) -> str:
    """Return a name that can be imported; a seed would else be called seed-seed-NAME when it is one again."""
    return f"{module_name(entry.id.removeprefix(SEED_PREFIX))}.py"


def _numbers(name: str, entry: Entry) -> dict[str, Any]:
    result = asdict(entry.result) if entry.result else {}
    measured = {key: result.get(key) for key in ("fitness", "error", "num_params", "metrics", "source_sha256")}
    return {"file": name, "id": entry.id, "parents": list(entry.candidate.parents), **measured}
