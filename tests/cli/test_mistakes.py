"""What people get wrong, and the one sentence that each is answered with: the file, the wrong value, the right ones.

Nothing here may take long, show a traceback, or leave a run folder that is in the way of the next try.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.command_line import call
from support.paths import MNIST1D_SEEDS, ROOT

from evohpc.config.search import load_config
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")

CONFIG = """
task: mnist1d
task_options: {steps: 5, eval_every: 5}
seeds: seeds
search: {rounds: 1, prompts_per_round: 1, samples_per_prompt: 2, survivors: 2, error_threshold: 1.0}
lm: {engine: scripted}
evaluation: {workers: 1, time_limit_s: 250, memory_mb: 1500, disk_mb: 64}
"""
REAL_LM = ("--set", "lm.engine=deepspeed")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config, a seed, a task of one's own, and files that are not what they should be."""
    monkeypatch.chdir(tmp_path)
    files = {
        "c.yaml": CONFIG,
        "seeds/mlp.py": (MNIST1D_SEEDS / "mlp.py").read_text(),
        "empty/nothing.py": "\n",
        "none/readme.txt": "",
        "own.py": (ROOT / "docs/own_task/spirals.py").read_text(),
        "twice.yaml": f"{CONFIG}\nseeds: seeds\n",
        "list.yaml": "- seeds\n",
        "tab.yaml": "seeds:\tseeds\n  x: 1\n",
        "model/config.json": "{}",
        "file": "",
        "site.yaml": "python: python3\n",
        "taken/notes.txt": "mine",
        "alone.db": "",
        "runs/first/provenance.json": "{}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    os.rename("model/config.json", "model/tokenizer.json")
    return tmp_path


CONFIGS = [
    ("no.yaml", "no.yaml: cannot read a config: No such file or directory"),
    ("c.yml", "c.yml: cannot read a config: No such file or directory; did you mean c.yaml?"),
    ("../{name}/c.yam", "c.yam: cannot read a config: No such file or directory; did you mean ../{name}/c.yaml?"),
    ("seeds", "seeds: cannot read a config: Is a directory"),
    ("twice.yaml", "the key seeds is there twice"),
    ("list.yaml", "a config is a mapping of sections; this file holds list"),
    ("tab.yaml", "tab.yaml: not valid YAML"),
]


@pytest.mark.parametrize(("config", "said"), CONFIGS)
def test_a_config_that_is_none(world: Path, capsys: pytest.CaptureFixture[str], config: str, said: str) -> None:
    refused(capsys, said.format(name=world.name), "run", "r", config.format(name=world.name))


VALUES = [
    ("population=10", "unknown key population"),
    ("rounds=3", "unknown key rounds; did you mean search.rounds?"),
    ("search.round=3", "unknown key search.round; did you mean search.rounds?"),
    ("search.rounds=-1", "search.rounds: input should be greater than or equal to 0; it is -1"),
    ("search.rounds=many", "search.rounds: input should be a valid integer; it is 'many'"),
    ("search.rounds", "--set search.rounds: write it as section.key=value"),
    ("search.error_threshold=-0.5", "search.error_threshold: input should be greater than or equal to 0"),
    ("search.variant=evo", "search.variant: input should be 'evoprompting', 'no_tuning'"),
    ("search.temperatures=0.8", "search.temperatures: input should be a list, e.g. [0.8]; it is 0.8"),
    ("trackers=wandb", "trackers: input should be a list, e.g. [wandb]; it is 'wandb'"),
    ("trackers={a: 1}", "trackers: input should be a list, e.g. [1, 2]; it is {'a': 1}"),
    ("seeds=nowhere", "nowhere: no such folder; it is the folder of the seed programs, *.py"),
    ("seeds=none", "none has no *.py file; it is the folder of the seed programs"),
    ("seeds=empty", "nothing.py is empty; write a program into it, or remove it"),
    ("task=mnist", "unknown task 'mnist'; did you mean mnist1d? write one of mnist1d, clrs"),
    ("task=imagenet", "unknown task 'imagenet'; write one of mnist1d, clrs"),
    ("task=own.py", "a task file is named with its class, path/to/file.py:ClassName; it is 'own.py'"),
    ("task=no.py:Task", "no.py: no such file; write a built-in task's name, or path/to/file.py:ClassName"),
    ("task_options.stepz=5", "task_options: there is no stepz; did you mean steps?"),
    ("task_options.steps=0", "steps is 0, it must be above 0"),
    ("evaluation.runtime=docker", "evaluation.runtime: input should be 'process' or 'apptainer'; it is 'docker'"),
    ("evaluation.runtime=apptainer", "evaluation.runtime is apptainer, which needs a site profile: pass --site FILE"),
    ("evaluation.memory_mb=2G", "evaluation.memory_mb: input should be a valid integer; it is '2G'"),
    ("evaluation.time_limit_s=0", "evaluation.time_limit_s: input should be greater than 0; it is 0"),
    ("evaluation.minimum_isolation=high", "evaluation.minimum_isolation: input should be 'none', 'process'"),
]


@pytest.mark.parametrize(("value", "said"), VALUES, ids=[value for value, _ in VALUES])
def test_a_value_of_a_config(world: Path, capsys: pytest.CaptureFixture[str], value: str, said: str) -> None:
    refused(capsys, said, "run", "r", "c.yaml", "--set", value)
    assert call(capsys, "run", "r", "c.yaml", "--set", "search.rounds=-1")[0] == 1, "and the folder can be used again"


MODELS = [
    ("lm.path=Qwen/Qwen2.5-Coder-0.5B-Instruct", "Qwen/Qwen2.5-Coder-0.5B-Instruct"),
    ("lm.path=model", "model has no config.json"),
    ("lm.path=file", "lm.path must name the folder of a Hugging Face causal LM"),
]


@pytest.mark.parametrize(("value", "said"), MODELS, ids=[value for value, _ in MODELS])
def test_a_language_model(world: Path, capsys: pytest.CaptureFixture[str], value: str, said: str) -> None:
    refused(capsys, said, "run", "r", "c.yaml", *REAL_LM, "--set", value)
    assert not (world / "r").exists()


def test_a_language_model_that_is_not_named(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        capsys,
        "lm.path is missing: the folder of a Hugging Face causal LM; `evohpc fetch-lm",
        "run",
        "r",
        "c.yaml",
        *REAL_LM,
    )


FOLDERS = [
    (("run", "taken", "c.yaml"), "taken holds other files (notes.txt); take a new folder"),
    (("run", "file", "c.yaml"), "file is a file; a run needs a folder"),
    (("run", "c.yaml", "r"), "c.yaml is a file; a run needs a folder, which comes before the config: RUN CONFIG"),
    (("submit", "c.yaml", "r", "--site", "site.yaml", "--dry-run"), "c.yaml is a file; a run needs a folder, which"),
    (("run", "c.yaml"), "c.yaml is no run folder but a file; a search is begun by naming its folder before the config"),
    (("status", "alone.db"), "alone.db is no run folder but a file; a snapshot alone is for `evohpc report alone.db"),
    (("status", "runs"), "runs is no run folder, but holds 1: name one, e.g. runs/first"),
    (("submit", "nowhere", "--site", "site.yaml", "--dry-run"), "nowhere is no run folder (it has no provenance.json)"),
    (("report", "nowhere", "-o", "a.pdf"), "a.pdf: a report is HTML; name a file that ends in .html"),
    (("run", "nowhere"), "nowhere is no run folder (it has no provenance.json); start one: evohpc run"),
    (("run", "r\udcff", "c.yaml"), r"r\udcff: a name in this path is not UTF-8, which SQLite needs; take another"),
    (("status", "nowhere"), "nowhere is no run folder"),
    (("list", "taken"), "taken is no run folder"),
    (("list", "runs/frist"), "(it has no provenance.json); did you mean runs/first? start one: evohpc run runs/frist"),
    (("status", "run/first"), "(it has no provenance.json); did you mean runs/first? start one: evohpc run run/first"),
    (("show", "../{name}/runs/frst"), "did you mean ../{name}/runs/first? start one"),
    (("show", "runs/b"), "runs/b is no run folder (it has no provenance.json); start one"),
    (("report", "runs/frist"), "runs/frist: no such run folder; did you mean runs/first? name one, or a snapshot"),
    (("aggregate", "runs/frist"), "runs/frist: no such run folder; did you mean runs/first? name one, or a snapshot"),
    (("rebuild", "nowhere"), "nowhere is no run folder"),
    (("retry", "nowhere"), "nowhere is no run folder"),
    (("cancel", "nowhere"), "nowhere is no run folder"),
    (("submit", "r", "c.yaml"), "no site profile"),
    (("submit", "r", "c.yaml", "--dry-run"), "--site FILE is missing: the profile of the cluster"),
    (("submit", "r", "c.yaml", "--site", "no.yaml", "--dry-run"), "no.yaml: cannot read"),
    (("evaluate", "no.py", "--config", "c.yaml"), "no.py: cannot read the candidate: No such file or directory"),
    (("evaluate", "/dev/zero", "--config", "c.yaml"), "/dev/zero: cannot read the candidate: it has more than 16 MiB"),
    (("run", "r", "/dev/zero"), "/dev/zero: cannot read a config: it has more than 16 MiB"),
    (("doctor", "--gpu", "--results", "file/gpu.json"), "cannot write file: Not a directory"),
    (("init", "taken"), "taken is there already and not empty; name a new folder"),
    (("check-task", "no.yaml"), "no.yaml: cannot read a config"),
]


DRY_RUNS = [
    (("r", "--set", "seeds=nowhere"), "nowhere: no such folder; it is the folder of the seed programs"),
    (("r", *REAL_LM, "--set", "lm.path=model"), "model has no config.json"),
    (("r", "--set", "task_options.stepz=5"), "task_options: there is no stepz; did you mean steps?"),
    (("r", "--set", "evaluation.runtime=apptainer"), "the site profile has no container.image"),
    (("width%100",), "width%100: Slurm reads a % in a path as a pattern; take another run folder"),
    (("taken",), "taken holds other files (notes.txt); take a new folder"),
    (("made", "--set", "search.seed=7"), "made holds another search: search.seed is 0 there and 7 in this config"),
]


@pytest.mark.parametrize(("more", "said"), DRY_RUNS, ids=[said for _, said in DRY_RUNS])
def test_a_dry_run_is_refused_what_a_submission_would_be(
    world: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    if more[0] == "made":
        Search.create(world / "made", load_config(world / "c.yaml")).close()
    before = sorted(world.rglob("*"))
    submit = ("submit", more[0], "c.yaml", "--site", "site.yaml", *more[1:])
    error = refused(capsys, said, *submit, "--dry-run")
    assert sorted(world.rglob("*")) == before
    assert refused(capsys, said, *submit) == error


def test_a_dry_run_leaves_nothing(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(world.rglob("*"))
    code, out, err = call(capsys, "submit", "r", "c.yaml", "--site", "site.yaml", "--dry-run")
    assert code == 0
    assert err.startswith("evaluations: at most 3, each on 1 core: 0.21 CPU-hours\nrun folder: at most 1 MB, and ")
    assert f"# sbatch {world}/r/driver.sbatch" in out
    assert sorted(world.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"), FOLDERS, ids=[" ".join(a).encode(errors="replace").decode() for a, _ in FOLDERS]
)
def test_a_folder_or_a_file(
    world: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    refused(capsys, said.format(name=world.name), *(text.format(name=world.name) for text in arguments))


def test_a_file_where_the_doctor_wants_a_folder(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "doctor", "fs", "file")
    assert (code, out, err) == (
        1,
        "FAULT    run folder: file is a file\n         -> name a folder\n",
        "1 to mend first\n",
    )


def test_a_seed_whose_name_is_no_text(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.rename("seeds/mlp.py", "seeds/m\udcff.py")
    refused(capsys, r"m\udcff.py: its name is not UTF-8, and becomes an id; rename it", "run", "r", "c.yaml")


def test_a_task_file_without_an_end(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink("/dev/zero", "endless.py")
    evaluate = ("evaluate", "seeds/mlp.py", "--config", "c.yaml", "--set", "task=endless.py:Mine")
    refused(capsys, "it has more than 16 MiB", *evaluate)


@pytest.mark.parametrize(("target", "said"), [("/dev/zero", "it has more than 16 MiB"), (".", "Is a directory")])
def test_a_seed_that_is_no_program(world: Path, capsys: pytest.CaptureFixture[str], target: str, said: str) -> None:
    os.symlink(target, "seeds/other.py")
    refused(capsys, f"seeds/other.py: cannot read it: {said}", "run", "r", "c.yaml")


@pytest.mark.slow
def test_a_seed_of_an_editor_that_begins_with_a_mark(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = world / "seeds/mlp.py"
    seed.write_bytes(b"\xef\xbb\xbf" + seed.read_bytes())
    code, out, err = call(capsys, "run", "r", "c.yaml", "--set", "search.rounds=0")
    assert code == 0, err
    assert "trained" in call(capsys, "list", "r")[1]
    code, out, _ = call(capsys, "evaluate", "seeds/mlp.py", "--config", "c.yaml")
    assert (code, out.split()[:2]) == (0, ["outcome", "trained"])


OWN = [
    ('header="class Model(nn.Module):"', 'header="class Model(nn.Module)"', "and end in a colon, as in"),
    ('allowed_imports=("math", "torch")', 'allowed_imports=("torch")', "write ('torch',)"),
    (
        "def train(self, model, data, seed)",
        "def train(self, model, data)",
        "train is called as train(model, data, seed)",
    ),
    ("import numpy as np", "import numpy as np\nimport helper", "line 4: importing it raised ModuleNotFoundError"),
    ("import numpy as np", "import numpy as np\nfrom . import helper", "put the code into the file, or install them"),
    ("np.random.default_rng(seed)", "np.load('data.npz')", "name the data in task_options, where './data.npz'"),
    ("x, y = self._spirals", "x, y = self._spiral", "AttributeError: 'TwoSpirals' object has no attribute"),
    ("return Splits(", "return dict(", "prepare must return Splits, it returned dict"),
    ("    def fitness", "    def fit", "TwoSpirals is no Task: it lacks fitness"),
]


@pytest.mark.slow  # tests/tasks/test_prepare.py tries more of them, below the command line
@pytest.mark.parametrize(("old", "new", "said"), OWN, ids=[said for *_, said in OWN])
def test_a_task_of_ones_own(world: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str) -> None:
    source = (world / "own.py").read_text()
    assert old in source
    (world / "own.py").write_text(source.replace(old, new, 1))
    own = ("--set", "task=own.py:TwoSpirals", "--set", "task_options={steps: 5}")
    message = refused(capsys, said, "run", "r", "c.yaml", *own)
    assert f"{world}/own.py" in message


def refused(capsys: pytest.CaptureFixture[str], said: str, *arguments: str) -> str:
    """Call the command line, which must answer with one sentence; return it."""
    code, out, err = call(capsys, *arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    return err


@pytest.mark.slow  # tests/evaluation/test_program.py has such tasks, below the command line
@pytest.mark.parametrize("command", ["evaluate", "run"])
def test_a_score_of_ones_own_that_fails_is_told_at_once(
    world: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    source = (world / "own.py").read_text()
    (world / "own.py").write_text(source.replace("error=1 - accuracies[best]", "error=labels['z']"))
    config = (world / "c.yaml").read_text().replace("task: mnist1d", "task: own.py:TwoSpirals")
    (world / "c.yaml").write_text(config.replace("steps: 5, eval_every: 5", "steps: 5"))
    (world / "seeds/mlp.py").write_text((ROOT / "docs/own_task/seeds/mlp.py").read_text())
    line = next(n for n, text in enumerate((world / "own.py").read_text().splitlines(), 1) if "labels['z']" in text)
    if command == "evaluate":
        said = f"error: task two_spirals: score raised KeyError: 'z' ({world}/own.py, line {line})\n"
        assert call(capsys, "evaluate", "seeds/mlp.py", "--config", "c.yaml")[::2] == (1, said)
        return
    code, _, err = call(capsys, "run", "r", "c.yaml")
    assert code == 1
    assert f"/task.py, line {line}); the task itself is at fault, on seed-mlp: mend it" in err
    assert len(list((world / "r/rounds/seeds/results").iterdir())) == 1, "it was tried once"
