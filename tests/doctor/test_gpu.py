"""The checks of `evohpc doctor --gpu`: on a GPU where there is one, and tried themselves on a CPU."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.command_line import call
from support.paths import ROOT

from evohpc.doctor import gpu
from evohpc.doctor.gpu import Check

ALL = ["device", *gpu.CHECKS]
FAKE = {"name": "a card", "free_mib": 8000, "total_mib": 8192, "torch": "2"}


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_without_a_gpu_nothing_is_tried_and_each_check_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "seen_by_torch", lambda within_s: {})
    checks = list(gpu.examine())
    assert [check.name for check in checks] == ALL
    assert {check.found for check in checks} == {gpu.NO_GPU}
    assert [check.holds for check in checks] == [False] + [None] * len(gpu.CHECKS)


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "seen_by_torch", lambda within_s: {})
    code, out, _ = call(capsys, "doctor", "--gpu", "--results", tmp_path / "gpu.json")
    assert code == 1
    assert out.count("no GPU here") == len(ALL)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [check["name"] for check in found["checks"]] == ALL


@pytest.mark.parametrize(
    "more", [("configs/quickstart.yaml",), ("--node",), ("--set", "search.rounds=1")], ids=["config", "node", "set"]
)
def test_what_has_no_meaning_beside_it_is_refused(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = call(capsys, "doctor", "--gpu", *more)
    assert (code, "--gpu takes --lm and --results, and nothing else" in said) == (2, True)


def test_results_without_a_gpu_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = call(capsys, "doctor", ROOT / "configs/quickstart.yaml", "--results", tmp_path / "gpu.json")
    assert (code, "--lm and --results go with --gpu" in said) == (2, True)


def test_a_check_that_raises_is_one_that_fails_and_one_without_an_end_was_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raises(bench: object) -> Check:
        raise OSError("no such\ndevice")

    def hangs(bench: object) -> Check:
        raise subprocess.TimeoutExpired("run", 1)

    monkeypatch.setattr(gpu, "CHECKS", {"one": raises, "two": hangs})
    checks = by_name(list(gpu.examine("cpu")))
    assert (checks["one"].holds, checks["one"].found) == (False, "no such device")
    assert (checks["two"].holds, checks["two"].found) == (None, "time is up")


def test_after_its_time_no_check_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "seen_by_torch", lambda within_s: FAKE)
    checks = list(gpu.examine(budget_s=-1))
    assert {check.found for check in checks[1:]} == {"time is up"}


@pytest.mark.slow
def test_the_checks_themselves_hold_on_a_cpu(tmp_path: Path) -> None:
    from support.tiny_lm import write_tiny_lm

    write_tiny_lm(tmp_path / "lm", max_position_embeddings=4096)
    small = ("search.rounds=1", "search.prompts_per_round=1", "search.samples_per_prompt=2", "task_options.steps=20")
    more = ("lm.max_new_tokens=16", "search.survivors=2", "evaluation.time_limit_s=120")
    checks = by_name(list(gpu.examine("cpu", tmp_path / "lm", (*small, *more), budget_s=1800)))
    assert {check.name: check.found for check in checks.values() if check.holds is False} == {}
    assert checks["device"].found == "a CPU: this tries the checks, and no GPU"
    assert "one seed, two trainings: the same" in checks["evaluation in the sandbox"].found
    assert checks["memory of a killed candidate"].found.startswith(("timeout", "not judged: "))
    assert checks["out of memory"].found.startswith("out_of_memory")
    assert checks["two at once"].found.startswith("one that takes all memory: out_of_memory")
    assert checks["two at once"].found.endswith("beside it: trained")
    numbers: dict[str, Any] = checks["language model"].numbers
    assert numbers["device"] == "cpu"
    assert numbers["agree"] == 1
    assert numbers["tokens_per_s"] > 0
    assert numbers["tuning_step_s"] > 0
    assert checks["quickstart"].numbers["seconds"] > 0


@pytest.mark.gpu
def test_what_a_search_does_holds_on_this_gpu() -> None:
    model = ROOT / "models/qwen2.5-coder-0.5b-instruct"
    checks = list(gpu.examine(model=model if model.is_dir() else None))
    if checks[0].found == gpu.NO_GPU:
        pytest.skip(gpu.NO_GPU)
    assert [check for check in checks if check.holds is False] == []
