"""Failures explain themselves: where a candidate's own words are, why most of them failed, and what to try."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import call
from support.paths import MNIST1D_SEEDS
from support.searching import make_config, measure

from evohpc.linux import python
from evohpc.messages import Candidate, Result, Status
from evohpc.report import failures
from evohpc.report.reader import Reading
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")

CONFIG = """
task: mnist1d
task_options: {steps: 5, eval_every: 5}
seeds: seeds
search: {rounds: 0}
lm: {engine: scripted}
evaluation: {workers: 1, time_limit_s: 250, memory_mb: 1500, disk_mb: 64}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config and two seeds, of which one fails in its forward pass."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "seeds").mkdir()
    source = (MNIST1D_SEEDS / "mlp.py").read_text()
    (tmp_path / "seeds/good.py").write_text(source)
    head, call_of_forward, tail = source.partition("    def forward(self, x):\n")
    broken = "        print('shape', x.shape)\n        x = self.absent(x)\n"
    (tmp_path / "seeds/bad.py").write_text(head + call_of_forward + broken + tail)
    return tmp_path


@pytest.mark.slow
def test_a_candidate_that_failed_is_shown_with_the_end_of_its_log(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "run", "r", "c.yaml")
    assert code == 0
    assert re.search(r"not trained, with .*\n +1 shape_error +seed-bad: AttributeError: .*absent.*line \d+", err)
    code, out, _ = call(capsys, "show", "r", "seed-bad")
    assert code == 0
    assert "log r/rounds/seeds/archive.zip, logs/seed-bad.1.log, its end:" in out
    assert "  AttributeError: 'Model' object has no attribute 'absent'" in out
    assert out.index("its end:") < out.index("class Model")
    code, out, _ = call(capsys, "show", "r", "seed-bad", "--log")
    assert out.count("shape torch.Size") == 1
    assert "Traceback (most recent call last)" in out
    assert "class Model" not in out
    assert "its end:" not in call(capsys, "show", "r", "seed-good")[1]
    code, _, err = call(capsys, "show", "r", "seed-good", "--log")
    assert (code, err) == (1, "error: there is no log of seed-good: it printed nothing, or its log is gone\n")


@pytest.mark.slow
def test_seeds_that_all_fail_are_no_success(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "seeds/good.py").unlink()
    code, _, err = call(capsys, "run", "r", "c.yaml")
    assert code == 1
    assert "no seed was trained; look at one: evohpc show r seed-bad; try a larger language model, or seeds" in err


@pytest.mark.slow
def test_evaluate_prints_what_the_candidate_printed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "evaluate", "seeds/bad.py", "--config", "c.yaml")
    assert code == 1
    assert "shape_error: AttributeError" in out
    assert "--- what seeds/bad.py printed, its end ---" in err
    assert "shape torch.Size" in err
    assert "Traceback (most recent call last)" in err


@pytest.mark.slow
def test_evaluate_leaves_nothing_when_it_is_ended(project: Path) -> None:
    (project / "slow.py").write_text((MNIST1D_SEEDS / "mlp.py").read_text() + "\nwhile True:\n    pass\n")
    temporary = project / "tmp"
    temporary.mkdir()
    command = [*python(), "-m", "evohpc", "evaluate", "slow.py", "--config", "c.yaml"]
    with subprocess.Popen(command, cwd=project, env={**os.environ, "TMPDIR": str(temporary)}) as evaluating:
        while not list(temporary.glob("evohpc-run-*/labels/labels.safetensors")):
            assert evaluating.poll() is None
            time.sleep(0.05)
        time.sleep(1)
        evaluating.send_signal(signal.SIGTERM)
        assert evaluating.wait(200) == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []


def told(folder: Path, outcome: dict[str, tuple[Status, str]]) -> Path:
    """Return a search of one round in which children ended as told, by the last digits of their ids."""

    def result(candidate: Candidate) -> Result:
        status, detail = outcome.get(candidate.id[-1], (Status.TRAINED, ""))
        if candidate.id.startswith("seed-") or status is Status.TRAINED:
            return measure(candidate)
        return replace(Result(candidate.id, 1, status, detail))

    with Search.create(folder / "run", make_config(folder, "search.rounds=1", "search.error_threshold=1")) as search:
        while candidates := search.ask():
            for candidate in candidates:
                search.tell(result(candidate))
    return folder / "run"


def test_failures_are_counted_by_reason_the_most_frequent_first(tmp_path: Path) -> None:
    run = told(tmp_path, {"1": (Status.TIMEOUT, "x" * 200)})
    with Reading(run) as reading:
        found = failures.reasons(reading.store)
        counts = [count for _, count, _ in found]
        assert counts == sorted(counts, reverse=True)
        shown = list(failures.lines(reading.store, run))
    assert shown[0] == "not trained, with an example of each reason:"
    assert any(re.fullmatch(r" +\d+ timeout +r000p0\ds001: x{97}\.\.\.", line) for line in shown)
    assert not [line for line in shown if line.startswith("no ")]


def test_a_search_in_which_no_child_is_trained_says_what_to_try(tmp_path: Path) -> None:
    run = told(tmp_path, {str(digit): (Status.TIMEOUT, "too slow") for digit in range(10)})
    with Reading(run) as reading:
        *_, last = failures.lines(reading.store, run)
    assert last.startswith(f"no child was trained; look at one: evohpc show {run} r000p0")
    assert "; try a larger evaluation.time_limit_s, or" in last or "; try higher search.temperatures" in last
