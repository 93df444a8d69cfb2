"""A trained network as a folder to take away: the program, its weights, what was measured, and how to load it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from evohpc.config.search import Config
from evohpc.errors import RunFolderError
from evohpc.files import check_writable, write_atomic
from evohpc.messages import Candidate, Result, TaskInterface
from evohpc.report.module_name import module_name

WEIGHTS, LOADER = "model.safetensors", "load.py"

_PLAIN = '''\
"""Loads the network of {id}, which a language model may have written: read {module}.py before you run it.

In your own code: `from load import model`, with this folder on Python's path; or `python load.py`.
"""

from pathlib import Path

from {module} import {entry}
from safetensors.torch import load_file

model = {entry}()
model.load_state_dict(load_file(Path(__file__).with_name("{weights}")))
model.eval()
{end}'''

_BY_TASK = '''\
"""Loads the network of {id}, which a language model may have written: read {module}.py before you run it.

The task of the search, {task}, builds it around {entry}. In your own code: `from load import model`, with this folder
on Python's path and evohpc installed; or `python load.py`.
"""

from pathlib import Path

import {module}
from safetensors.torch import load_file

from evohpc.config.task_name import TaskName
from evohpc.tasks.base import load_task

task = load_task(TaskName.parse({name}), {options})
model = task.build({module})
model.load_state_dict(load_file(Path(__file__).with_name("{weights}")), strict=False)
model.eval()
{end}'''

_END = """
if __name__ == "__main__":
    print(model)
    print(sum(tensor.numel() for tensor in model.state_dict().values()), "numbers")
"""


def check_new(folder: Path) -> None:
    """Check that nothing would be overwritten, and that the file system takes files there.

    Raises:
        RunFolderError: there is something of that name.
        StorageError: the file system refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} is there already; name a new folder: -o FOLDER")
    check_writable(folder)


def write_model(
    folder: Path,
    candidate: Candidate,
    result: Result,
    model: bytes,
    *,
    is_plain: bool,
    config: Config,
    task: TaskInterface,
) -> None:
    """Write all of it into a new folder.

    Args:
        model: a safetensors file.
        is_plain: whether the program's class alone can load it.

    Raises:
        RunFolderError: there is something of that name.
        StorageError: the file system refused.
    """
    check_new(folder)
    module = module_name(candidate.id)
    write_atomic(folder / f"{module}.py", candidate.source)
    write_atomic(folder / WEIGHTS, model)
    write_atomic(folder / "config.yaml", config.dump())
    measured = {**asdict(result), "seed": config.search.seed, "weights": WEIGHTS}
    write_atomic(folder / "metrics.json", json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    if config.task.file is not None and not is_plain:
        shutil.copyfile(config.task.file, folder / "task.py")
    write_atomic(folder / LOADER, _loader(candidate.id, module, config, task, is_plain=is_plain))


def _loader(id: str, module: str, config: Config, task: TaskInterface, *, is_plain: bool) -> str:
    """Return load.py. A task file of the user's is called task.py beside it."""
    name = repr(str(config.task))
    if config.task.file is not None:
        name = f'str(Path(__file__).with_name("task.py")) + ":{config.task.name}"'
    return (_PLAIN if is_plain else _BY_TASK).format(
        id=id,
        module=module,
        entry=task.entry,
        weights=WEIGHTS,
        task=task.name,
        name=name,
        options=repr(config.task_options),
        end=_END,
    )
