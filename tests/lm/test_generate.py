import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from support.killing import Killed, mortal
from support.requests import PROMPT, identity, prompts, request, write
from support.tally import Tally
from support.tunings import tuning

from evohpc.envelopes import encode
from evohpc.errors import RunFolderError
from evohpc.lm import completions_file, generate, soft_prompt
from evohpc.lm import tuning as tuning_module
from evohpc.lm.generate import answer
from evohpc.lm_job import times
from evohpc.messages import Completion, LMRequest, LowRank
from evohpc.run_folder import RoundDir, RunDir


def answered(run: Path, asked: LMRequest) -> bytes:
    round = write(run, asked)
    answer(round)
    return round.completions.read_bytes()


def test_a_request_is_answered_in_order_and_always_the_same(tmp_path: Path, model_folder: Path) -> None:
    asked = request(model_folder)
    first = answered(tmp_path / "a", asked)
    assert [(c["prompt"], c["sample"]) for c in map(json.loads, first.splitlines())] == completions_file.keys(asked)
    assert answered(tmp_path / "b", asked) == first


@pytest.mark.parametrize("kept", range(6))
def test_what_was_finished_is_kept_and_the_rest_comes_out_the_same(
    tmp_path: Path, model_folder: Path, kept: int
) -> None:
    asked = request(model_folder)
    whole = answered(tmp_path / "a", asked)
    lines = whole.splitlines(keepends=True)
    torn = b"".join(lines[:kept]) + lines[kept][:-9]
    round = write(tmp_path / "b", asked)
    round.completions.write_bytes(torn)
    answer(round)
    assert round.completions.read_bytes() == whole


def test_a_complete_request_loads_no_model(tmp_path: Path, model_folder: Path) -> None:
    asked = request(model_folder)
    answered(tmp_path, asked)
    completions = tmp_path / "rounds/000/completions.jsonl"
    before = identity(completions)
    write(tmp_path, replace(asked, model_path="/nowhere"))
    answer(RunDir(tmp_path).round(0))
    assert identity(completions) == before


def test_a_request_whose_prompts_are_all_rescaled_loads_no_model(tmp_path: Path) -> None:
    asked = request("/nowhere", prompts=[replace(each, is_rescaled=True) for each in prompts([PROMPT] * 2)])
    lines = answered(tmp_path, asked).splitlines()
    assert [json.loads(line)["stop"] for line in lines] == ["rescaled"] * 6


def test_the_others_are_drawn_as_if_no_prompt_were_rescaled(tmp_path: Path, model_folder: Path) -> None:
    both = prompts([PROMPT] * 2)
    plain = answered(tmp_path / "a", request(model_folder, prompts=both)).splitlines()
    mixed = answered(
        tmp_path / "b", request(model_folder, prompts=(replace(both[0], is_rescaled=True), both[1]))
    ).splitlines()
    assert mixed[3:] == plain[3:]
    assert all(json.loads(line)["stop"] == "rescaled" for line in mixed[:3])


def test_completions_begin_with_the_half_that_was_given(tmp_path: Path, model_folder: Path) -> None:
    half = "    def __init__(self):\n        super().__init__()\n"
    plain = prompts([f"{PROMPT}{half}"])
    begun = [replace(prompt, given=half) for prompt in plain]
    texts = [
        [
            json.loads(line)["text"]
            for line in answered(tmp_path / name, request(model_folder, prompts=each)).splitlines()
        ]
        for name, each in (("plain", plain), ("begun", begun))
    ]
    assert texts[1] == [half + text for text in texts[0]]


def test_tuning_leaves_a_prompt_its_curve_and_other_completions(tmp_path: Path, model_folder: Path) -> None:
    plain = answered(tmp_path / "a", request(model_folder))
    tuned = answered(tmp_path / "b", request(model_folder, tuning=tuning()))
    record = json.loads((tmp_path / "b/rounds/000" / "tuning.json").read_text())
    assert record["outcome"] == "tuned"
    assert len(record["losses"]) == 8
    assert soft_prompt.load(tmp_path / "b/rounds/000/adapter").shape == (4, 32)
    assert tuned != plain


def test_a_lora_is_tuned_gone_on_from_and_generated_with(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"lora": LowRank(4, 8.0), "learning_rate": 1e-2, "epochs": 6}
    plain = answered(tmp_path / "a", request(model_folder))
    run = tmp_path / "b"
    tuned = answered(run, request(model_folder, tuning=tuning(**changes)))
    assert tuned != plain
    follow = tuning(**changes, start_from="rounds/000/adapter")
    answered(run, request(model_folder, round=1, tuning=follow))
    first, second = (json.loads((run / "rounds" / r / "tuning.json").read_text())["losses"] for r in ("000", "001"))
    assert sum(second[:2]) < sum(first[:2])
    untuned = replace(request(model_folder, round=2), adapter="rounds/000/adapter")
    assert answered(run, untuned) == tuned
    (run / "rounds/000/completions.jsonl").unlink()
    monkeypatch.setattr(tuning_module, "tune", lambda *_: pytest.fail("tuned again"))
    assert answered(run, request(model_folder, tuning=tuning(**changes))) == tuned


def test_the_next_round_continues_from_this_ones_prompt(tmp_path: Path, model_folder: Path) -> None:
    answered(tmp_path, request(model_folder, tuning=tuning()))
    first = soft_prompt.load(tmp_path / "rounds/000/adapter")
    follow = tuning(start_from="rounds/000/adapter", learning_rate=1e-6)
    answered(tmp_path, request(model_folder, round=1, tuning=follow))
    torch.testing.assert_close(soft_prompt.load(tmp_path / "rounds/001/adapter"), first, rtol=0, atol=1e-4)


def test_a_prompt_that_was_tuned_is_not_tuned_again(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(model_folder, tuning=tuning())
    whole = answered(tmp_path, asked)
    (tmp_path / "rounds/000/completions.jsonl").unlink()
    monkeypatch.setattr(tuning_module, "tune", lambda *_: pytest.fail("tuned again"))
    assert answered(tmp_path, asked) == whole


class Mortal:
    """An LM job in this process that is killed before its n-th step: each sync, rename, removal and new folder, each
    cut of a damaged line, and in the middle of each line of completions. What was not synced is lost by half."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def answer(self, round: RoundDir, fatal: float = float("inf")) -> int:
        """Answer a request, or die of it; return how many steps were taken."""
        with mortal(fatal) as steps, self._patch.context() as patch:
            append, truncate, fsync, synced = completions_file.append, os.truncate, os.fsync, set[int]()

            def append_by_halves(path: Path, completions: Sequence[Completion]) -> None:
                whole, last = completions[:-1], completions[-1:]
                append(path, whole)
                try:
                    steps.file()
                except Killed:
                    with path.open("a") as file:
                        file.write("".join(map(encode, last))[:-5])
                    raise
                append(path, last)

            def sync(descriptor: int) -> None:
                fsync(descriptor)
                synced.add(os.fstat(descriptor).st_ino)

            def cut(path: Path, length: int) -> None:
                steps.file()
                truncate(path, length)

            patch.setattr(completions_file, "append", append_by_halves)
            patch.setattr(os, "fsync", sync)
            patch.setattr(os, "truncate", cut)
            try:
                answer(round)
            except Killed:
                for path in round.path.rglob("*"):
                    if path.is_file() and path != round.request and path.stat().st_ino not in synced:
                        truncate(path, path.stat().st_size // 2)
            return steps.taken


def outcome(round: RoundDir) -> dict[str, object]:
    """Return what later rounds make use of: file -> its bytes, but for how long things took."""
    left = {path.name: path.read_bytes() for path in (*round.adapter.iterdir(), round.completions)}
    return {**left, "tuning": {**json.loads(round.tuning.read_text()), "seconds": 0}}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"lora": LowRank(4, 8.0)}], ids=["soft prompt", "LoRA"])
def test_killed_at_any_step_a_job_ends_in_the_same_bytes(
    changes: dict[str, Any], tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    asked = request(model_folder, tuning=tuning(epochs=1, **changes))
    job, undisturbed = Mortal(monkeypatch), write(tmp_path / "undisturbed", asked)
    job.answer(undisturbed)  # in a process that tunes for the first time, with steps of torch's own
    count = job.answer(write(tmp_path / "counted", asked))
    assert count > 10
    for step in range(count):
        round = write(tmp_path / str(step), asked)
        assert job.answer(round, fatal=step) == step
        job.answer(round)
        assert outcome(round) == outcome(undisturbed), f"killed at step {step}"
    tally("crash points of an LM job (each sync, rename, removal and line); the same adapter and completions", count)


def test_a_tuning_that_fails_goes_on_untuned_and_says_so(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = answered(tmp_path / "a", request(model_folder))

    def fail(*_: Any) -> None:
        raise tuning_module.TuningFailed("the loss is nan in epoch 0")

    monkeypatch.setattr(tuning_module, "tune", fail)
    asked = request(model_folder, tuning=tuning())
    assert answered(tmp_path / "b", asked) == plain
    record = json.loads((tmp_path / "b/rounds/000" / "tuning.json").read_text())
    assert (record["outcome"], record["detail"]) == ("failed", "the loss is nan in epoch 0")
    assert not (tmp_path / "b/rounds/000/adapter").exists()
    monkeypatch.setattr(tuning_module, "tune", lambda *_: pytest.fail("a restart must not try again"))
    (tmp_path / "b/rounds/000/completions.jsonl").unlink()
    assert answered(tmp_path / "b", asked) == plain


def test_where_a_tuning_that_begins_anew_fails_the_last_adapter_is_used(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(request(model_folder), adapter="rounds/007/adapter")
    for run in ("a", "b"):
        torch.manual_seed(1)
        soft_prompt.save(torch.randn(4, 32), tmp_path / run / "rounds/007/adapter", "model")
    with_the_last = answered(tmp_path / "a", asked)

    def fail(*_: Any) -> None:
        raise tuning_module.TuningFailed("the loss is nan in epoch 0")

    monkeypatch.setattr(tuning_module, "tune", fail)
    assert answered(tmp_path / "b", replace(asked, tuning=tuning())) == with_the_last
    assert answered(tmp_path / "c", request(model_folder)) != with_the_last


def test_a_round_whose_prompts_are_all_rescaled_is_tuned_all_the_same(tmp_path: Path, model_folder: Path) -> None:
    """Else what it was to learn is lost: the next round has other examples."""
    by_rule = [replace(each, is_rescaled=True) for each in prompts([PROMPT] * 2)]
    answered(tmp_path, request(model_folder, prompts=by_rule, tuning=tuning()))
    assert (tmp_path / "rounds/000/adapter").is_dir()
    record = json.loads((tmp_path / "rounds/000/tuning.json").read_text())
    assert record["outcome"] == "tuned"


def test_what_other_ranks_finished_before_a_crash_is_kept(tmp_path: Path, model_folder: Path) -> None:
    asked = request(model_folder)
    whole = answered(tmp_path / "a", asked)
    round = write(tmp_path / "b", asked)
    (round.path / "completions.rank1.jsonl").write_bytes(whole.splitlines(keepends=True)[4])
    answer(round)
    assert round.completions.read_bytes() == whole
    assert not list(round.path.glob("*.rank*"))


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), ("{}", "not a valid LMRequest")])
def test_a_request_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, problem: str) -> None:
    round = RoundDir(tmp_path)
    if content is not None:
        round.request.write_text(content)
    with pytest.raises(RunFolderError, match=f"request.json: .*{problem}"):
        answer(round)


def test_an_error_is_the_last_line_and_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["generate", str(tmp_path / "none.json")])
    assert generate.main() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert torch.get_num_threads() >= 1


def test_what_the_time_was_spent_on_is_written_down(tmp_path: Path, model_folder: Path) -> None:
    answered(tmp_path, request(model_folder, tuning=tuning()))
    spans = times.spans(RunDir(tmp_path).round(0))
    assert [span.doing for span in spans] == ["loading", "tuning", "drawing"]
    assert all(span.seconds > 0 and datetime.fromisoformat(span.ended_at).tzinfo for span in spans)
