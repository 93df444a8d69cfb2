import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cluster.daemons import lives, wait_until
from support.requests import prompts, request, write

from evohpc.config.site import LMJobs, SchedulerSection, Site
from evohpc.errors import LMError
from evohpc.lm import completions_file
from evohpc.lm_job import base as lm_job
from evohpc.lm_job.base import progress, read_completions
from evohpc.lm_job.local import LocalLMJob
from evohpc.lm_job.model_folder import check_model_folder
from evohpc.lm_job.scripted import ScriptedLMJob, mutate
from evohpc.lm_job.slurm import SlurmLMJob
from evohpc.messages import LMRequest
from evohpc.run_folder import RoundDir

PROGRAM = "class Model(nn.Module):\n    def __init__(self):\n        self.out = nn.LazyLinear(10)\n"
PROMPT = f'"""Metrics:\n{{}}\n"""\n{PROGRAM}\n"""Metrics:\n{{}}\n"""\nclass Model(nn.Module):\n'


def ask(run: Path, model: Path, *, samples: int = 3, new: int = 12) -> Path:
    """Write a request; return its path."""
    asked = request(model, max_new_tokens=new, prompts=prompts([PROMPT.rstrip("\n")] * 2, samples))
    return write(run, asked).request


def load(path: Path) -> LMRequest:
    return lm_job.load_request(path)


def finish(job) -> None:
    wait_until(job.poll, "the request is answered", 600)


def on_slurm(run: Path) -> SlurmLMJob:
    scheduler = SchedulerSection(poll_s=0.5, submit_every_s=0, settle_s=600, grace_s=1)
    return SlurmLMJob(run, Site(scheduler=scheduler, lm=LMJobs(cpus=2, memory_mb=2000, processes=2)))


@pytest.fixture(params=["local", "scripted", pytest.param("slurm", marks=pytest.mark.slurm)])
def job(request, tmp_path):
    if request.param == "slurm":
        request.getfixturevalue("slurm")
    job = {"local": LocalLMJob, "scripted": ScriptedLMJob, "slurm": lambda: on_slurm(tmp_path)}[request.param]()
    yield job
    job.cancel()
    job.close()


def test_a_job_completes_its_request_in_order(job, tmp_path, tiny_model):
    path = ask(tmp_path, tiny_model)
    assert progress(path) == (0, 6)
    job.start(path)
    finish(job)
    assert progress(path) == (6, 6)
    completions = read_completions(RoundDir(path.parent).completions, load(path))
    assert [(c.prompt, c.sample) for c in completions] == [(p, s) for p in range(2) for s in range(3)]


def test_starting_again_changes_nothing(job, tmp_path, tiny_model):
    path = ask(tmp_path, tiny_model)
    job.start(path)
    job.start(path)
    finish(job)
    before = RoundDir(path.parent).completions.read_bytes()
    job.start(path)
    assert job.poll()
    assert RoundDir(path.parent).completions.read_bytes() == before


@pytest.mark.slow
def test_the_same_request_gets_the_same_answer(job, tmp_path, tiny_model):
    answers = []
    for name in ("a", "b"):
        path = ask(tmp_path / name, tiny_model)
        job.start(path)
        finish(job)
        answers.append(RoundDir(path.parent).completions.read_bytes())
    assert answers[0] == answers[1]


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_ending_it_twice_or_before_the_start_is_fine(job, end, tmp_path, tiny_model):
    getattr(job, end)()
    job.start(ask(tmp_path, tiny_model))
    getattr(job, end)()
    getattr(job, end)()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["cancel", "close"])
def test_a_local_job_that_was_ended_leaves_no_process_and_can_go_on(end, tmp_path, tiny_model):
    path = ask(tmp_path, tiny_model)
    job = LocalLMJob()
    job.start(path)
    pid = job._process.pid
    getattr(job, end)()
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
    job.start(path)
    finish(job)
    assert progress(path) == (6, 6)


DIE = """
import os, signal
from evohpc.lm import completions_file
append = completions_file.append
def append_and_die(path, completions):
    append(path, completions)
    if len(path.read_bytes().splitlines()) >= 5:
        os.kill(os.getpid(), signal.SIGKILL)
completions_file.append = append_and_die
"""
"""What has a job killed that has drawn five completions, imported by its Python when that starts (see `site`)."""


@pytest.mark.slow
def test_a_job_killed_in_the_middle_comes_out_the_same(tmp_path, tiny_model, monkeypatch):
    job = LocalLMJob()
    whole = ask(tmp_path / "whole", tiny_model, samples=20, new=150)
    job.start(whole)
    finish(job)
    path = ask(tmp_path / "killed", tiny_model, samples=20, new=150)
    (tmp_path / "sitecustomize.py").write_text(DIE)
    with monkeypatch.context() as context:
        context.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        job.start(path)
    with pytest.raises(LMError, match=r"killed, most likely for want of memory .* its log is .*lm\.log"):
        finish(job)
    assert 5 <= progress(path)[0] < 40
    job.start(path)
    finish(job)
    assert RoundDir(path.parent).completions.read_bytes() == RoundDir(whole.parent).completions.read_bytes()


@pytest.mark.slow
def test_a_job_that_fails_says_why_and_where_its_log_is(tmp_path):
    job = LocalLMJob()
    job.start(ask(tmp_path, tmp_path / "no model"))
    with pytest.raises(LMError, match=r"failed: .*no model cannot be loaded as .*; its log is .*logs/lm\.log"):
        finish(job)


@pytest.mark.slow
def test_a_job_dies_with_its_driver(tmp_path, tiny_model):
    path = ask(tmp_path, tiny_model, samples=2000, new=200)
    script = (
        "import sys, time; from pathlib import Path; from evohpc.lm_job.local import LocalLMJob\n"
        f"job = LocalLMJob(); job.start(Path({str(path)!r})); print(job._process.pid, flush=True); time.sleep(900)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as driver:
        pid = int(driver.stdout.readline())
        wait_until(lambda: progress(path)[0], "it draws")
        driver.kill()
    wait_until(lambda: not lives(pid), "it is gone")
    assert progress(path)[0] < 4000


def test_what_other_ranks_have_drawn_is_progress_but_completes_nothing(tmp_path, tiny_model):
    path = ask(tmp_path, tiny_model)
    ScriptedLMJob().start(path)
    completions = RoundDir(path.parent).completions
    lines = completions.read_bytes().splitlines(keepends=True)
    completions.write_bytes(b"".join(lines[:2]))
    completions_file.part(completions, 1).write_bytes(b"".join(lines[1:]))
    assert progress(path) == (6, 6)
    assert not lm_job.is_complete(path)


def test_what_was_not_put_in_order_is_not_complete_and_the_next_job_does_only_that(tmp_path, tiny_model):
    path = ask(tmp_path, tiny_model)
    ScriptedLMJob().start(path)
    completions = RoundDir(path.parent).completions
    whole = completions.read_bytes()
    completions.write_bytes(b"".join(reversed(whole.splitlines(keepends=True))))
    assert progress(path) == (6, 6)
    assert not lm_job.is_complete(path)
    job = LocalLMJob()
    job.start(path)
    finish(job)
    job.close()
    assert completions.read_bytes() == whole


def test_an_incomplete_file_is_refused_with_its_first_gap(tmp_path, tiny_model):
    path = ask(tmp_path, tiny_model)
    job = ScriptedLMJob()
    job.start(path)
    completions = RoundDir(path.parent).completions
    completions.write_bytes(b"".join(completions.read_bytes().splitlines(keepends=True)[:4]))
    with pytest.raises(LMError, match="2 completions are missing, the first is prompt 1, sample 1"):
        read_completions(completions, load(path))


@pytest.mark.parametrize("damage", [b'{"prompt":0', b"\x00\x00\x00\n", b'{"prompt":7,"sample":0}\n', b"[]\n"])
def test_what_is_damaged_or_foreign_does_not_count(tmp_path, tiny_model, damage):
    path = ask(tmp_path, tiny_model)
    ScriptedLMJob().start(path)
    completions = RoundDir(path.parent).completions
    lines = completions.read_bytes().splitlines(keepends=True)
    completions.write_bytes(b"".join(lines[:2]) + damage)
    assert progress(path) == (2, 6)
    assert len(completions_file.recover(completions, load(path))) == 2
    assert completions.read_bytes() == b"".join(lines[:2])


def test_scripted_children_are_mutants_copies_and_broken_programs():
    children = [mutate(PROMPT, seed) for seed in range(200)]
    body = PROGRAM.partition("\n")[2]
    assert children == [mutate(PROMPT, seed) for seed in range(200)]
    assert len(set(children)) > 10
    assert 5 <= children.count(body) <= 50
    assert 5 <= sum(child.endswith("(") for child in children) <= 50
    assert sum("LazyLinear(" in child and child != body for child in children) > 60


def test_scripted_texts_are_used_in_turn(tmp_path, tiny_model):
    path = ask(tmp_path, tiny_model)
    ScriptedLMJob(texts=["    a\n", "    b\n"]).start(path)
    found = read_completions(RoundDir(path.parent).completions, load(path))
    assert [c.text.strip() for c in found] == ["a", "b"] * 3


def test_a_whole_model_folder_passes(tiny_model):
    check_model_folder(tiny_model)


@pytest.mark.parametrize(
    ("lacks", "problem"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights"),
        ("tokenizer*", "has no tokenizer"),
    ],
)
def test_what_a_model_folder_lacks_is_named(tmp_path, tiny_model, lacks, problem):
    for file in tiny_model.iterdir():
        if not file.match(lacks):
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(LMError, match=f"{problem}.*evohpc fetch-lm"):
        check_model_folder(tmp_path)


def test_a_missing_model_folder_and_a_missing_shard_are_named(tmp_path, tiny_model):
    with pytest.raises(LMError, match=r"none is missing; lm.path must name"):
        check_model_folder(tmp_path / "none")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    with pytest.raises(LMError, match=r"has no model-2\.safetensors"):
        check_model_folder(tmp_path)
