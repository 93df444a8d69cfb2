from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.cluster.daemons import wait_until
from support.requests import ask

from evohpc.config.site import LMJobs, SchedulerSection, Site
from evohpc.errors import LMError
from evohpc.lm import completions_file
from evohpc.lm_job import base as lm_job
from evohpc.lm_job.base import LMJob, progress
from evohpc.lm_job.local import LocalLMJob
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.lm_job.slurm import SlurmLMJob
from evohpc.run_folder import read_request


def finish(job: LMJob) -> None:
    wait_until(job.poll, "the request is answered", 600)


def on_slurm(run: Path) -> SlurmLMJob:
    scheduler = SchedulerSection(poll_s=0.5, submit_every_s=0, settle_s=600, grace_s=1)
    return SlurmLMJob(run, Site(scheduler=scheduler, lm=LMJobs(cpus=2, memory_mb=2000, processes=2)))


@pytest.fixture(params=["local", "scripted", pytest.param("slurm", marks=pytest.mark.slurm)])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LMJob]:
    if request.param == "slurm":
        request.getfixturevalue("slurm")
    kinds: dict[str, Callable[[], LMJob]] = {
        "local": LocalLMJob,
        "scripted": ScriptedLMJob,
        "slurm": lambda: on_slurm(tmp_path),
    }
    job = kinds[request.param]()
    yield job
    job.cancel()
    job.close()


def test_a_job_completes_its_request_in_order_however_often_it_is_started(
    job: LMJob, tmp_path: Path, tiny_model: Path
) -> None:
    round = ask(tmp_path, tiny_model)
    assert progress(round) == (0, 6)
    job.start(round)
    job.start(round)
    finish(job)
    assert progress(round) == (6, 6)
    completions = completions_file.read_complete(round.completions, read_request(round))
    assert [(c.prompt, c.sample) for c in completions] == [(p, s) for p in range(2) for s in range(3)]
    before = round.completions.read_bytes()
    job.start(round)
    assert job.poll()
    assert round.completions.read_bytes() == before


@pytest.mark.slow
def test_the_same_request_gets_the_same_answer(job: LMJob, tmp_path: Path, tiny_model: Path) -> None:
    answers = []
    for name in ("a", "b"):
        round = ask(tmp_path / name, tiny_model)
        job.start(round)
        finish(job)
        answers.append(round.completions.read_bytes())
    assert answers[0] == answers[1]


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_ending_it_twice_or_before_the_start_is_fine(job: LMJob, end: str, tmp_path: Path, tiny_model: Path) -> None:
    getattr(job, end)()
    job.start(ask(tmp_path, tiny_model))
    getattr(job, end)()
    getattr(job, end)()


def test_what_other_ranks_have_drawn_is_progress_but_completes_nothing(tmp_path: Path, tiny_model: Path) -> None:
    round = ask(tmp_path, tiny_model)
    ScriptedLMJob().start(round)
    completions = round.completions
    lines = completions.read_bytes().splitlines(keepends=True)
    completions.write_bytes(b"".join(lines[:2]))
    completions_file.part(completions, 1).write_bytes(b"".join(lines[1:]))
    assert progress(round) == (6, 6)
    assert not lm_job.is_complete(round)


def test_what_was_not_put_in_order_is_not_complete_and_the_next_job_does_only_that(
    tmp_path: Path, tiny_model: Path
) -> None:
    round = ask(tmp_path, tiny_model)
    ScriptedLMJob().start(round)
    completions = round.completions
    whole = completions.read_bytes()
    completions.write_bytes(b"".join(reversed(whole.splitlines(keepends=True))))
    assert progress(round) == (6, 6)
    assert not lm_job.is_complete(round)
    job = LocalLMJob()
    job.start(round)
    finish(job)
    job.close()
    assert completions.read_bytes() == whole


def test_an_incomplete_file_is_refused_with_its_first_gap(tmp_path: Path, tiny_model: Path) -> None:
    round = ask(tmp_path, tiny_model)
    job = ScriptedLMJob()
    job.start(round)
    completions = round.completions
    completions.write_bytes(b"".join(completions.read_bytes().splitlines(keepends=True)[:4]))
    with pytest.raises(LMError, match="2 completions are missing, the first is prompt 1, sample 1"):
        completions_file.read_complete(completions, read_request(round))


@pytest.mark.parametrize("damage", [b'{"prompt":0', b"\x00\x00\x00\n", b'{"prompt":7,"sample":0}\n', b"[]\n"])
def test_what_is_damaged_or_foreign_does_not_count(tmp_path: Path, tiny_model: Path, damage: bytes) -> None:
    round = ask(tmp_path, tiny_model)
    ScriptedLMJob().start(round)
    completions = round.completions
    lines = completions.read_bytes().splitlines(keepends=True)
    completions.write_bytes(b"".join(lines[:2]) + damage)
    assert progress(round) == (2, 6)
    assert len(completions_file.recover(completions, read_request(round))) == 2
    assert completions.read_bytes() == b"".join(lines[:2])
