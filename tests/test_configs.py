from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from evohpc.cli import evohpc as command_line
from evohpc.config.evaluation import EvaluationConfig, ScreeningConfig
from evohpc.config.lm import TuningConfig
from evohpc.config.prompt import PromptConfig
from evohpc.config.search import SearchConfig, load_config
from evohpc.config.site import load_site
from evohpc.config.strict_yaml import read_mapping
from evohpc.evolution.population import Budget
from evohpc.tasks.clrs.transfer import Transfer

CONFIGS = sorted(
    path for pattern in ("configs/*.yaml", "examples/*/*.yaml", "docs/own_task/*.yaml") for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_config_loads_and_its_seeds_are_there(path: Path) -> None:
    config = load_config(path)
    assert list(config.seeds.glob("*.py"))
    assert f"evohpc run runs/{path.stem} configs/{path.name}" in path.read_text() or path.stem != "quickstart"


EXPERIMENTS = sorted(ROOT.glob("configs/experiments/*/"))


def experiment(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "configs/experiments/run.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda folder: folder.name)
def test_each_arm_of_an_experiment_is_a_config_and_all_have_as_many_children(folder: Path) -> None:
    lines = experiment(str(folder), "--dry-run").stdout.splitlines()
    assert len(lines) == len(set(lines)) > 1
    budgets = set()
    for line in lines:
        _, _, _, verb, run, base, *rest = shlex.split(line)
        config = load_config(ROOT / base, [setting for setting in rest if setting != "--set"])
        assert (verb, config.search.seed) == ("run", int(run.rpartition("-")[2]))
        budget = Budget.of(config.search)
        budgets.add(budget.rounds * budget.per_round)
    assert len(budgets) == 1


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda folder: folder.name)
def test_a_part_of_an_experiment_can_be_run(folder: Path) -> None:
    arm = next(iter(read_mapping(folder / "arms.yaml", "arms")["arms"]))
    done = experiment(str(folder), "--dry-run", "--arm", arm, "--seed", "7", "--runs", "elsewhere")
    assert [shlex.split(line)[4] for line in done.stdout.splitlines()] == [f"elsewhere/{arm}-7"]


def test_an_arm_that_an_experiment_has_not_is_named() -> None:
    done = experiment(str(EXPERIMENTS[0]), "--dry-run", "--arm", "scriptd")
    assert done.returncode == 2
    assert "has no arm 'scriptd'; it has " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_results_are_kept_and_a_search_that_has_them_is_not_run_again(tmp_path: Path) -> None:
    base = (ROOT / "configs/experiments/mnist1d/base.yaml").read_text()
    (tmp_path / "base.yaml").write_text(base.replace("../../../", f"{ROOT}/").replace("steps: 1000", "steps: 20"))
    rungs = "evaluation.rungs: [{keep: 0.5, task_options: {steps: 4}}]"
    settings = f"{{lm.engine: scripted, search.rounds: 1, search.prompts_per_round: 2, {rungs}}}"
    (tmp_path / "arms.yaml").write_text(f"base: base.yaml\nseeds: [3]\narms:\n  tiny: {settings}\n")
    arguments = [str(tmp_path), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "kept")]
    first = experiment(*arguments)
    assert first.returncode == 0, first.stderr
    with (tmp_path / "kept/tiny-3.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 + 2 * 3
    assert {row["search"] for row in rows} == {"tiny-3"}
    assert {row["outcome"] for row in rows if row["id"].startswith("seed-")} == {"trained"}
    assert sum(bool(row["source"]) for row in rows) == min(5, sum(row["counts"] == "True" for row in rows))
    steps = {(row["outcome"], float(row["steps_in_all"] or 0)) for row in rows if row["round"] == "0"}
    assert ("trained", 24.0) in steps  # 4 at the rung, and all 20
    assert {count for outcome, count in steps if outcome == "dropped"} <= {4.0}
    shutil.rmtree(tmp_path / "runs")
    again = experiment(*arguments)
    assert (again.returncode, (tmp_path / "runs").exists()) == (0, False)
    assert "tiny-3.csv is there; remove it to run this search again" in again.stderr


def transfers(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "configs/experiments/transfer.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_each_transfer_of_an_experiment_is_one_algorithm_with_a_budget_that_the_task_knows() -> None:
    lines = transfers("configs/experiments/clrs", "--dry-run").stdout.splitlines()
    assert len(lines) >= 10
    for line in lines:
        words = shlex.split(line)
        options = dict(
            setting.removeprefix("task_options.").split("=") for setting in words if "task_options." in setting
        )
        (task,) = Transfer(
            algorithms=[words[words.index("--algorithms") + 1]], **{key: int(value) for key, value in options.items()}
        ).tasks.values()
        assert task.hidden == 32
        assert words[4] == f"runs/transfer/{task.algorithm}"
        assert len([word for word in words if "clrs_discovered" in word]) == 5


def test_an_algorithm_that_the_transfers_have_not_is_named() -> None:
    done = transfers("configs/experiments/clrs", "--dry-run", "--algorithm", "bfss")
    assert done.returncode == 2
    assert "has no algorithm 'bfss'; it has bfs," in done.stderr


@pytest.mark.slow
def test_transfers_are_kept_and_one_that_is_kept_is_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(ROOT / "seeds/clrs/v3_sum.py", tmp_path / "models")
    shutil.copy(ROOT / "seeds/clrs/v1_standard.py", tmp_path)
    budget = "{steps: 2, samples: 2}"
    (tmp_path / "transfer.yaml").write_text(
        "models: models\nbaseline: v1_standard.py\nseeds: 2\noptions: {hidden: 8, batch_size: 2}\n"
        f"algorithms:\n  bfs: {budget}\n  segments_intersect: {budget}\n"
    )
    arguments = [str(tmp_path), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "kept")]
    first = transfers(*arguments, "--algorithm", "segments_intersect")
    assert first.returncode == 0, first.stderr
    done = transfers(*arguments)
    assert done.returncode == 0, done.stderr
    assert "segments_intersect has its results; remove them to run it again" in done.stderr
    with (tmp_path / "kept/transfer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["algorithm"], row["model"]) for row in rows] == [
        (algorithm, model) for algorithm in ("segments_intersect", "bfs") for model in ("baseline", "v3_sum")
    ]
    assert {(row["trained"], row["seeds"], row["steps"], row["samples"]) for row in rows} == {("2", "2", "2", "2")}


def winners(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "configs/experiments/winners.py", "configs/experiments/mnist1d", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_winners_of_an_arm_that_the_results_have_not_are_an_error(tmp_path: Path) -> None:
    done = winners("docs/results/mnist1d", "--arm", "scriptd", "-o", str(tmp_path / "table.csv"))
    assert done.returncode == 2
    assert "has no search of the arm 'scriptd'; it has evoprompting, extended," in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_winners_are_the_fittest_of_their_searches_trained_again_by_the_recipe_asked_for(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in ROOT.glob("docs/results/mnist1d/iid_extended-*.csv"):
        shutil.copy(path, kept)
    shutil.copy(kept / "iid_extended-0.csv", kept / "iid_extended-9.csv")  # two searches with the same winner
    recipe = "--seeds", "2", "--set", "task_options.steps=2"
    where = "--runs", str(tmp_path / "runs"), "-o", str(tmp_path / "table.csv")
    done = winners(str(kept), *recipe, *where)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    for path in kept.iterdir():
        with path.open(newline="") as file:
            counted = [row for row in csv.DictReader(file) if row["counts"] == "True"]
        best = max(counted, key=lambda row: float(row["fitness"]))
        row = rows.pop(f"{path.stem}/{best['id']}")
        assert (row["search_fitness"], row["search_error"]) == (best["fitness"], best["error"])
        assert (row["num_params"], row["trained"], row["seeds"]) == (best["num_params"], "2", "2")
        assert float(row["error"]) > 0.7, "after two steps"
    assert not rows
    again = winners(str(kept), *recipe, *where)
    assert again.returncode == 0, "a second time it goes on with what is there"
    (kept / "iid_extended-1.csv").unlink()
    fewer = winners(str(kept), *recipe, *where)
    assert "was begun with other programs; give another folder with --runs" in " ".join(fewer.stderr.split())
    assert "Traceback" not in fewer.stderr


@pytest.mark.parametrize("path", sorted(ROOT.glob("slurm/*.yaml")), ids=lambda path: path.stem)
def test_each_site_profile_loads(path: Path) -> None:
    assert load_site(path).scheduler.poll_s > 0


def test_the_papers_search_is_what_the_defaults_are() -> None:
    config = load_config(ROOT / "configs" / "mnist1d.yaml")
    search = config.search
    assert (search.rounds, search.prompts_per_round, search.samples_per_prompt) == (10, 10, 16)
    assert (search.examples_per_prompt, search.survivors, search.error_threshold) == (2, 10, 0.5)
    assert search.temperatures == (0.2, 0.6, 0.8, 1.0)
    tuning = config.tuning
    assert (tuning.virtual_tokens, tuning.epochs, tuning.batch_size, tuning.learning_rate) == (16, 5, 16, 0.1)
    assert config.task_options == {}
    assert config.search == SearchConfig()
    assert config.tuning == TuningConfig()
    assert config.prompt == PromptConfig(size_rounding=100)
    assert config.screening == ScreeningConfig()


def test_the_papers_searches_state_only_what_differs_from_the_defaults() -> None:
    for path in ROOT.glob("configs/clrs_*.yaml"):
        stated = read_mapping(path, "a config").get("evaluation", {})
        defaults = EvaluationConfig().model_dump(mode="json")
        assert not [key for key, value in stated.items() if defaults[key] == value], path


MAKEFILE = (ROOT / "Makefile").read_text()
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "configs/*.yaml", "docs/**/*.yaml", "evohpc/**/*.py")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_model_folder_that_a_text_names_is_made_by_a_documented_command(path: Path) -> None:
    made = set(re.findall(r"^MODEL := (\S+)", MAKEFILE, re.MULTILINE))
    documented = (ROOT / "README.md").read_text() + (ROOT / "docs" / "cluster.md").read_text() + MAKEFILE
    made |= set(re.findall(r"fetch-lm (models/[\w.-]+)", documented))
    for named in re.findall(r"\bmodels/[a-z0-9][\w.-]*", path.read_text()):
        assert named.rstrip(".") in made, f"{path}: {named} is made by no command of README, docs or the Makefile"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_the_repository_that_a_text_names_is_there(path: Path) -> None:
    for named in re.findall(
        r"(?<![\w/.-])(?:docs|configs|seeds|slurm|containers|benchmarks)/[\w/.-]*\w(?![\w*/.-]*\*)(?!\w)",
        path.read_text(),
    ):
        if not re.search(r"mysite|/results|/mine|YOURS", named):
            assert any((root / named).exists() for root in (ROOT, ROOT / "evohpc", ROOT / "tests")), (
                f"{path} names {named}, which is not there"
            )


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_command_that_a_text_names_is_one(path: Path) -> None:
    commands = set(command_line.commands)
    for named in re.findall(r"(?:`|^ {0,4}|\$ |srun )evohpc ([a-z][a-z-]+)\b", path.read_text(), re.MULTILINE):
        assert named in commands, f"{path} names `evohpc {named}`; the commands are {', '.join(sorted(commands))}"
