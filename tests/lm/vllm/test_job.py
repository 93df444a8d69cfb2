"""The processes around vLLM, with a program in its place that draws from the tiny model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.requests import identity, request, write
from support.tunings import tuning

from evohpc.errors import LMError
from evohpc.lm import completions_file, generate
from evohpc.lm.vllm import job as vllm_job
from evohpc.messages import LMRequest
from evohpc.run_folder import RoundDir

# Stands in for a Python that has vLLM: says so, and answers with what it was called with.
_PYTHON = """\
#!{python}
import json, os, sys
if sys.argv[1] == "-c":
    sys.exit(0)
with open({calls!r}, "a") as file:
    file.write(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}) + "\\n")
if {complaint!r}:
    print("error: " + {complaint!r}, file=sys.stderr)
    sys.exit(1)
if {signal}:
    os.kill(os.getpid(), {signal})
"""


@pytest.fixture
def asked(model_folder: Path) -> LMRequest:
    return request(model_folder, engine="vllm")


Calls = Callable[[], list[dict[str, Any]]]
Make = Callable[..., Calls]


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a Python that notes how it was called; return a function that reads the notes."""

    def make(complaint: str = "", signal: int = 0) -> Calls:
        calls = tmp_path / "calls"
        program = tmp_path / "python"
        program.write_text(_PYTHON.format(python=sys.executable, calls=str(calls), complaint=complaint, signal=signal))
        program.chmod(0o755)
        monkeypatch.setenv(vllm_job.PYTHON, str(program))
        return lambda: [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    return make


def test_a_python_without_vllm_ends_the_job_before_anything_is_done(
    tmp_path: Path, asked: LMRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(vllm_job.PYTHON, raising=False)
    if find_spec("vllm"):
        pytest.skip("this Python has vLLM")
    round = write(tmp_path, replace(asked, tuning=tuning()))
    with pytest.raises(LMError, match=r"lm\.engine is vllm, and .*python.* has none: pip install 'evohpc\[vllm\]'"):
        generate.answer(round)
    assert [path.name for path in round.path.iterdir()] == ["request.json"]


def test_a_python_that_is_not_there_is_named(tmp_path: Path, asked: LMRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm_job.PYTHON, "/nowhere/python")
    with pytest.raises(LMError, match="EVOHPC_VLLM_PYTHON names /nowhere/python: No such file"):
        generate.answer(write(tmp_path, asked))


def test_vllm_gets_the_request_and_no_word_of_torchrun(
    tmp_path: Path, asked: LMRequest, python: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = python()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    round = write(tmp_path, asked)
    generate.answer(round, "/here/model")
    (call,) = calls()
    assert call["arguments"] == [
        *("-m", "evohpc.lm.vllm.engine", "--gpus", "4", "--model", "/here/model"),
        *("--parent", str(os.getpid()), str(round.request)),
    ]
    environment = call["environment"]
    assert not {"RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"} & environment.keys()
    assert environment["VLLM_NO_USAGE_STATS"] == environment["HF_HUB_OFFLINE"] == "1"
    assert Path(environment["PYTHONPATH"].split(os.pathsep)[0], "evohpc/lm/vllm/engine.py").is_file()


def test_other_ranks_leave_the_drawing_to_the_first(
    tmp_path: Path, asked: LMRequest, python: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = python()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    generate.answer(write(tmp_path, asked))
    assert calls() == []


def test_a_complete_request_starts_nothing(tmp_path: Path, asked: LMRequest, python: Make) -> None:
    calls = python()
    round = write(tmp_path, asked)
    generate.answer(write(tmp_path, replace(asked, engine="deepspeed")))
    write(tmp_path, asked)
    generate.answer(round)
    assert calls() == []


def test_what_vllm_says_last_is_what_the_job_says_last(
    tmp_path: Path, asked: LMRequest, python: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    python(complaint="it does not fit")
    with pytest.raises(SystemExit) as ended:
        generate.answer(write(tmp_path, asked))
    assert ended.value.code == 1
    assert capfd.readouterr().err.splitlines()[-1] == "error: it does not fit"


def test_a_killed_vllm_is_told_with_its_signal(tmp_path: Path, asked: LMRequest, python: Make) -> None:
    python(signal=9)
    with pytest.raises(LMError, match=r"vllm\.engine was killed by SIGKILL, most likely for want of memory"):
        generate.answer(write(tmp_path, asked))


@pytest.mark.slow
def test_the_tuning_is_done_and_over_before_vllm_starts(tmp_path: Path, asked: LMRequest, python: Make) -> None:
    """And it is the very one that our own engine would have drawn with."""
    calls = python()
    tuned = replace(asked, tuning=tuning())
    round = write(tmp_path / "a", tuned)
    generate.answer(round)
    assert len(calls()) == 1
    assert generate.adapter_to_use(tuned, round) == round.adapter
    other = write(tmp_path / "b", replace(tuned, engine="deepspeed"))
    generate.answer(other)
    weights = "adapter_model.safetensors"
    assert (round.adapter / weights).read_bytes() == (other.adapter / weights).read_bytes()
    assert not completions_file.read(round.completions, tuned)
    before = identity(round.tuning)
    generate.answer(round)
    assert identity(round.tuning) == before


def test_a_round_without_a_tuning_of_its_own_generates_with_the_last(tmp_path: Path, asked: LMRequest) -> None:
    round = RoundDir(tmp_path / "rounds/003")
    assert generate.adapter_to_use(asked, round) is None
    assert (
        generate.adapter_to_use(replace(asked, adapter="rounds/002/adapter"), round) == tmp_path / "rounds/002/adapter"
    )
    for start in ("rounds/001/adapter", None):  # None: each tuning begins anew (tuning.restart)
        failed = replace(asked, tuning=tuning(start_from=start), adapter="rounds/001/adapter")
        assert generate.adapter_to_use(failed, round) == tmp_path / "rounds/001/adapter"


def test_nothing_but_python_itself_is_needed_to_start_the_processes() -> None:
    script = "import sys, evohpc.lm.generate, evohpc.lm.vllm.job; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "vllm", "transformers"} & set(loaded)
