"""Makes a project: a folder with a config, seeds, a site profile and the commands, of what evohpc ships."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from evohpc.errors import ConfigError
from evohpc.files import write_atomic
from evohpc.shipped.catalogue import root

MODEL = "models/qwen2.5-coder-0.5b-instruct"


@dataclass(frozen=True, slots=True)
class Template:
    """What a project is made of: files of the catalogue."""

    config: str
    seeds: str
    about: str
    """The config's first line."""
    rehearsal: str = ""
    """Further options of a rehearsal, to keep it short."""
    task_file: str = ""
    """'' for a task that evohpc ships."""
    needs: str = ""
    """What must be installed besides evohpc[train]."""


TEMPLATES = {
    "mnist1d": Template(
        "configs/quickstart.yaml", "seeds/mnist1d", "Small networks for MNIST-1D.", " --set task_options.steps=100"
    ),
    "clrs": Template(
        "configs/clrs_quick.yaml",
        "seeds/clrs",
        "Networks that learn an algorithm of CLRS-30: Dijkstra's, at hidden size 32; about a minute of a core a child.",
        rehearsal=" --set task_options.steps=20",
        needs="pip install --no-deps dm-clrs==2.0.3 attrs",
    ),
    "own": Template(
        "docs/own_task/config.yaml",
        "docs/own_task/seeds",
        "A task of your own: here two spirals to tell apart. Edit spirals.py and seeds/, then check-task",
        task_file="docs/own_task/spirals.py",
    ),
    "program": Template(
        "examples/bin_packing/config.yaml",
        "examples/bin_packing/seeds",
        "Programs that are no networks: here online bin packing. Edit bins.py and seeds/, then check-task",
        task_file="examples/bin_packing/bins.py",
    ),
}
"""What `evohpc init --task` knows."""

_LM = f"""\
lm:
  engine: scripted  # a rehearsal: rules change the parents; take this line out for a search with a language model
  path: {MODEL}  # `evohpc fetch-lm` makes it; any folder of a Hugging Face causal LM will do
"""

_README = """\
# What to type in this folder

{needs}Rehearse without a language model:

    evohpc check-task config.yaml{rehearsal}
    evohpc run runs/rehearsal config.yaml --set search.rounds=1 --set search.prompts_per_round=2{rehearsal}
    evohpc list runs/rehearsal --best 10
    evohpc report runs/rehearsal

Search with one: take the line `engine: scripted` out of config.yaml, then

    evohpc fetch-lm {model}
    evohpc run runs/first config.yaml

On a Slurm cluster, describe the site in site.yaml first (`evohpc configs` lists profiles of other sites). `submit` has
sbatch start the driver, and the driver has it start all else; `--dry-run` shows each script:

    evohpc doctor config.yaml --site site.yaml
    evohpc submit runs/first config.yaml --site site.yaml --dry-run
    evohpc submit runs/first config.yaml --site site.yaml

For candidates in containers, build their image once, name it in site.yaml (container.image), and set
evaluation.runtime: apptainer in config.yaml:

    sbatch --mem=4G --time=60 --wrap '"$(evohpc configs --root)"/containers/build.sh eval-cpu images/eval.sif'
"""


def make(folder: Path, task: str) -> list[Path]:
    """Make a project; return its files.

    Args:
        task: a key of TEMPLATES.

    Raises:
        ConfigError: the folder holds something already.
        StorageError: the file system refused.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already and not empty; name a new folder: evohpc init FOLDER")
    template = TEMPLATES[task]
    texts = {"README.md": _readme(template), "config.yaml": _config(folder, template), "site.yaml": _site()}
    for name, text in texts.items():
        write_atomic(folder / name, text)
    shutil.copytree(root() / template.seeds, folder / "seeds", ignore=shutil.ignore_patterns("__pycache__"))
    if template.task_file:
        shutil.copy(root() / template.task_file, folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _config(folder: Path, template: Template) -> str:
    """Return the shipped config, with the project's own paths and a language model to rehearse with."""
    text = (root() / template.config).read_text(encoding="utf-8")
    text = re.sub(r"\A(#.*\n)*", "", text)
    text = re.sub(r"^seeds: .*$", "seeds: seeds", text, flags=re.MULTILINE)
    text = re.sub(r"^  (engine|path): .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^lm:\n", lambda _: _LM, text, flags=re.MULTILINE)
    return f"# {template.about}\n#   evohpc run runs/first config.yaml\n{text}"


def _site() -> str:
    return (root() / "slurm/local.yaml").read_text(encoding="utf-8")


def _readme(template: Template) -> str:
    needs = f"Install what this task needs besides PyTorch:\n\n    {template.needs}\n\n" if template.needs else ""
    return _README.format(needs=needs, model=MODEL, rehearsal=template.rehearsal)
