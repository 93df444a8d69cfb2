from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from support.command_line import call
from support.paths import MNIST1D_SEEDS, ROOT
from support.searching import finish, make_config

from evohpc import cli
from evohpc.linux import python
from evohpc.run_folder import RunDir
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")

TRAINING = """
task: mnist1d
task_options: {steps: 20, eval_every: 10}
seeds: seeds
search: {rounds: 2, prompts_per_round: 1, samples_per_prompt: 3, survivors: 2, error_threshold: 1.0}
lm: {engine: scripted}
evaluation: {workers: 1, time_limit_s: 250, memory_mb: 1500, disk_mb: 64}
"""
HANG_S = 250
"""No command here takes so long on any machine."""


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [*python(), "-m", "evohpc", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture
def training_config(tmp_path: Path) -> Path:
    (tmp_path / "seeds").mkdir()
    for name in ("cnn.py", "mlp.py"):
        shutil.copy(MNIST1D_SEEDS / name, tmp_path / "seeds")
    path = tmp_path / "config.yaml"
    path.write_text(TRAINING)
    return path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['evohpc', '--help']\n"
        "from evohpc.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(set(sys.modules) & {'torch', 'numpy', 'pydantic', 'rich', 'submitit', 'sqlite_utils', 'yaml'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert "evohpc run runs/first" in done.stdout


def test_a_shell_can_complete_commands() -> None:
    environment = {**os.environ, "_EVOHPC_COMPLETE": "bash_complete", "COMP_WORDS": "evohpc in", "COMP_CWORD": "1"}
    code = "from evohpc.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "plain,init\n"


@pytest.mark.parametrize("name", sorted(cli.evohpc.commands))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, name, "--help")
    assert code == 0
    assert f"evohpc {name}" in out
    assert "\n  Examples:\n" in out, "README.md says that each has some"
    assert cli.evohpc.commands[name].help


def test_rebuild_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path)) as search:
        finish(search)
    (tmp_path / "run" / "search.db").unlink()
    code, _, err = call(capsys, "rebuild", tmp_path / "run")
    assert code == 0
    assert f"look: evohpc status {tmp_path / 'run'}" in err
    assert Search.open(tmp_path / "run").best(1)


def test_retry_says_how_many(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path)) as search:
        search.ask()
    assert "no candidate of the open round has used up" in call(capsys, "retry", tmp_path / "run")[2]


def test_a_run_on_this_machine_has_no_slurm_jobs_to_cancel(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "cancel", finished_run)
    assert code == 1
    assert "does not run on Slurm" in err


def mistakes(folder: Path) -> dict[str, tuple[list[object], str]]:
    """Return what a user may type, and what the one sentence must say."""
    good = folder / "given.yaml"
    broken = [*_set("task", f"{folder / 'broken.py'}:Broken")]
    return {
        "no config": (["run", folder / "r", folder / "none.yaml"], "none.yaml: cannot read a config: No such file"),
        "unknown key": (["run", folder / "r", good, *_set("search.round", 3)], "did you mean search.rounds?"),
        "bad value": (
            ["run", folder / "r", good, *_set("search.rounds", "many")],
            "given.yaml --set search.rounds=many: .*it is 'many'",
        ),
        "no folder": (["run", folder / "r"], "is no run folder .*start one: evohpc run"),
        "other files": (["run", folder, good], "holds other files .*take a new folder"),
        "a file": (["run", good, good], "is a file; a run needs a folder"),
        "a file to go on with": (["run", good], "given.yaml is no run folder"),
        "retry what": (["retry", folder / "r"], "is no run folder"),
        "no seeds": (
            ["run", folder / "r", good, *_set("seeds", folder / "x")],
            r"no such folder; it is the folder of the seed programs",
        ),
        "no LM": (
            ["run", folder / "r", good, *_set("lm.engine", "deepspeed"), *_set("lm.path", folder / "lm")],
            "lm is missing; lm.path must name .*evohpc fetch-lm",
        ),
        "no LM path": (["run", folder / "r", good, *_set("lm.engine", "deepspeed")], "lm.path is missing"),
        "task with a syntax error": (["run", folder / "r", good, *broken], "/broken.py, line 1: expected ':'"),
        "unknown task": (
            ["run", folder / "r", good, *_set("task", "mnist")],
            r"unknown task 'mnist'; did you mean mnist1d\? write one of",
        ),
        "task option": (["run", folder / "r", good, *_set("task_options.step", 5)], "no step; did you mean steps"),
        "no site": (["submit", folder / "r", good, "--dry-run"], "--site FILE is missing"),
        "bad site": (["run", folder / "r", good, "--site", good], "given.yaml: unknown key"),
        "no candidate": (["evaluate", folder / "x.py", "--config", good], "x.py: cannot read the candidate"),
    }


def _set(key: str, value: object) -> list[object]:
    return ["--set", f"{key}={value}"]


@pytest.mark.parametrize("name", mistakes(Path()))
def test_a_mistake_is_one_readable_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_config(tmp_path)
    (tmp_path / "broken.py").write_text("class Broken\n")
    arguments, message = mistakes(tmp_path)[name]
    code, out, err = call(capsys, *arguments)
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert re.search(message, err), err


def test_a_mistake_that_only_the_task_finds_can_be_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_config(tmp_path)
    code, _, err = call(capsys, "run", tmp_path / "run", tmp_path / "given.yaml", "--set", "task_options.steps=-1")
    assert code == 1
    assert "steps is -1, it must be above 0" in err
    with Search.create(tmp_path / "run", make_config(tmp_path, "task_options.steps=10")) as search:
        assert search.config.task_options == {"steps": 10}


def test_dry_run_makes_nothing_and_shows_all_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_config(tmp_path)
    site = ROOT / "slurm" / "local.yaml"
    code, out, _ = call(capsys, "submit", tmp_path / "run", tmp_path / "given.yaml", "--site", site, "--dry-run")
    assert code == 0
    assert "#SBATCH --dependency=singleton" in out
    assert "#SBATCH --array=0-7" in out
    assert not (tmp_path / "run").exists()


def test_a_search_runs_through_and_names_the_best(
    tmp_path: Path, training_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.py").write_text("raise SystemExit('the queue of a user, not that of Python')\n")
    process = start("run", tmp_path / "run", training_config)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    best = Search.open(tmp_path / "run").best(1)[0].candidate.id
    assert best in out
    assert "6 children: " in out
    assert err.endswith(f"next: evohpc show {tmp_path / 'run'} {best}\n")
    assert "round 1 (of 0-1): training candidates" in err


def test_ctrl_c_while_a_run_is_made_asks_for_the_same_command(capsys: pytest.CaptureFixture[str]) -> None:
    def start() -> Search:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        cli.run.drive(start, go_on="")
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped before the search began; run the same command again\n"


@pytest.mark.parametrize("command", ["run", "list", "report"])
def test_ctrl_c_before_a_command_waits_for_it_is_no_failure(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.evohpc.commands[command], "callback", Mock(side_effect=KeyboardInterrupt))
    code, out, err = call(capsys, command, "run")
    assert (code, out, err.strip()) == (130, "", "stopped by Ctrl-C; run the same command again")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 85), (signal.SIGUSR1, 85)])
def test_a_signal_stops_it_cleanly(number: int, code: int, tmp_path: Path, training_config: Path) -> None:
    endless = ["--set", "task_options.steps=1000000000", "--set", "evaluation.time_limit_s=86400"]
    process = start("run", tmp_path / "run", training_config, *endless)
    assert process.stderr is not None
    said = iter(process.stderr.readline, "")
    assert any("training candidates" in line for line in said)
    process.send_signal(number)
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == code
    assert err.endswith(f"stopped; nothing is lost. Go on with: evohpc run {tmp_path / 'run'}\n")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("steps: 1000000000", "steps: 20"))
    process = start("run", tmp_path / "run")
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, err
    assert "6 children" in out


@pytest.mark.slow
def test_evaluate_measures_one_file(tmp_path: Path, training_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candidate = tmp_path / "mine.py"
    candidate.write_text((MNIST1D_SEEDS / "cnn.py").read_text())
    code, out, _ = call(capsys, "evaluate", candidate, "--config", training_config, "--json")
    assert code == 0
    assert json.loads(out)["num_params"] == 5210
    candidate.write_text("import os\n")
    code, out, _ = call(capsys, "evaluate", candidate, "--config", training_config)
    assert code == 1
    assert "outcome" in out


ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e"


def test_what_a_candidate_wrote_cannot_steer_a_terminal(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    with sqlite3.connect(RunDir(run).snapshot) as database:
        database.execute(
            "UPDATE candidates SET source = source || ?, detail = ? WHERE id = 'seed-cnn'",
            (f"# {ESCAPES}\n", ESCAPES),
        )
        database.execute("UPDATE results SET detail = ? WHERE candidate_id = 'seed-cnn'", (ESCAPES,))
        database.execute("PRAGMA user_version = 0")  # no seal, as in 0.1.0: this change is no damage
    for command in (["show", run, "seed-cnn"], ["list", run]):
        code, shown, _ = call(capsys, *command)
        assert code == 0
        assert "\\x1b]0;owned\\x07\\x1b[2J\\u202e" in shown
        assert not {"\x1b", "\u202e"} & set(shown)
    _, source, _ = call(capsys, "show", run, "seed-cnn", "--source")
    assert source.endswith(f"# {ESCAPES}\n")
    _, document, _ = call(capsys, "show", run, "seed-cnn", "--json")
    assert json.loads(document)["candidate"]["source"] == source
