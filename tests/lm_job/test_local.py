import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cluster.daemons import lives, wait_until
from support.processes import beneath
from support.requests import ask

from evohpc.errors import LMError
from evohpc.lm_job.base import LMJob, progress
from evohpc.lm_job.local import LocalLMJob


def finish(job: LMJob) -> None:
    wait_until(job.poll, "the request is answered", 600)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["cancel", "close"])
def test_a_local_job_that_was_ended_leaves_no_process_and_can_go_on(end: str, tmp_path: Path, tiny_model: Path) -> None:
    round = ask(tmp_path, tiny_model)
    job = LocalLMJob()
    job.start(round)
    (pid,) = beneath(os.getpid(), "evohpc.lm.generate")
    getattr(job, end)()
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
    job.start(round)
    finish(job)
    assert progress(round) == (6, 6)


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
def test_a_job_killed_in_the_middle_comes_out_the_same(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = LocalLMJob()
    whole = ask(tmp_path / "whole", tiny_model, samples=20, new=150)
    job.start(whole)
    finish(job)
    round = ask(tmp_path / "killed", tiny_model, samples=20, new=150)
    (tmp_path / "sitecustomize.py").write_text(DIE)
    with monkeypatch.context() as context:
        context.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        job.start(round)
    with pytest.raises(LMError, match=r"killed, most likely for want of memory .* its log is .*lm\.log"):
        finish(job)
    assert 5 <= progress(round)[0] < 40
    job.start(round)
    finish(job)
    assert round.completions.read_bytes() == whole.completions.read_bytes()


@pytest.mark.slow
def test_a_job_that_fails_says_why_and_where_its_log_is(tmp_path: Path) -> None:
    job = LocalLMJob()
    job.start(ask(tmp_path, tmp_path / "no model"))
    with pytest.raises(LMError, match=r"failed: .*no model cannot be loaded as .*; its log is .*logs/lm\.log"):
        finish(job)


@pytest.mark.slow
def test_a_job_dies_with_its_driver(tmp_path: Path, tiny_model: Path) -> None:
    round = ask(tmp_path, tiny_model, samples=2000, new=200)
    script = (
        "import sys, time; from pathlib import Path; from evohpc.lm_job.local import LocalLMJob\n"
        "from evohpc.run_folder import RoundDir\n"
        f"job = LocalLMJob(); job.start(RoundDir(Path({str(round.path)!r})))\n"
        "print(flush=True); time.sleep(900)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()
        (pid,) = beneath(driver.pid, "evohpc.lm.generate")
        wait_until(lambda: progress(round)[0], "it draws")
        driver.kill()
    wait_until(lambda: not lives(pid), "it is gone")
    assert progress(round)[0] < 4000
