from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.requests import ask
from support.rows import completion
from support.tunings import tuning

from evohpc import envelopes
from evohpc.lm import completions_file
from evohpc.lm_job.phase import Phase, phase
from evohpc.run_folder import RoundDir, read_request


@pytest.fixture
def round(tmp_path: Path) -> RoundDir:
    """A round whose request asks for a tuning."""
    folder = ask(tmp_path, tmp_path)
    folder.request.write_bytes(envelopes.encode(replace(read_request(folder), tuning=tuning())).encode())
    return folder


def note(round: RoundDir, doing: str) -> None:
    with round.lm_times.open("a") as file:
        file.write(json.dumps({"doing": doing, "seconds": 1.0, "ended_at": ""}) + "\n")


def test_it_loads_then_tunes_then_draws(round: RoundDir) -> None:
    total = len(completions_file.keys(read_request(round)))
    assert phase(round) == Phase("load", 0, 1)
    note(round, "loading")
    assert phase(round) == Phase("tune", 0, 1)
    round.logs.mkdir(parents=True, exist_ok=True)
    round.lm_log.write_text("x" * 9000 + "\ntuning: step 3 of 8, loss 0.5\nrank 1: tuning: step 4 of 8, loss 0.4\n")
    assert phase(round) == Phase("tune", 4, 8)
    round.tuning.write_text("{}")
    assert phase(round) == Phase("generate", 0, total)
    prompt, sample = completions_file.keys(read_request(round))[0]
    completions_file.append(round.completions, [completion(prompt, sample, "x")])
    assert phase(round) == Phase("generate", 1, total)


def test_without_a_tuning_it_draws_at_once(tmp_path: Path) -> None:
    round = ask(tmp_path, tmp_path)
    note(round, "loading")
    assert phase(round).step == "generate"
