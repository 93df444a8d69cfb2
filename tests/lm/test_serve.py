"""The LM job of a whole run, with real processes: it answers what comes, leaves in time, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.cluster.daemons import lives, wait_until
from support.requests import prompts, request, write
from support.rows import completion

from evohpc.files import write_atomic
from evohpc.lm import completions_file
from evohpc.lm.serve import END
from evohpc.messages import LMRequest
from evohpc.run_folder import RunDir

ANSWERING = """
    import os, pathlib, sys
    from evohpc.lm import completions_file
    from evohpc.messages import Completion

    request = pathlib.Path(sys.argv[-1])
    print("answering as", os.getpid(), flush=True)
    drawn = Completion(prompt=0, sample=0, text="text", tokens=1, stop="eos")
    completions_file.append(request.with_name("completions.jsonl"), [drawn])
"""
WITH_A_TREE = """
    import os, pathlib, signal, subprocess, sys, time
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    one = subprocess.Popen([sys.executable, "-c", ignoring], start_new_session=True)
    pathlib.Path(sys.argv[-1]).with_name("pids").write_text(f"{os.getpid()} {one.pid}")
"""


@dataclass
class Served:
    """A run folder and a server in it."""

    run: RunDir
    program: Path
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.run.slurm / "r-lm" / "0"
        self.folder.mkdir(parents=True)

    def start(self, source: str, idle_s: float = 60) -> None:
        """Serve the run with a program of that source."""
        self.program.write_text(textwrap.dedent(source))
        command: list[str | Path] = [
            "-m",
            "evohpc.lm.serve",
            self.run.path,
            self.folder,
            f"--idle-minutes={idle_s / 60}",
            "--poll-s=0.02",
        ]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--", sys.executable, self.program, "--model", "m"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SLURM_JOB_ID": "17"},
        )

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it printed."""
        printed = self.process.communicate(timeout=200)[1]
        return self.process.returncode, printed

    def ask(self, round: int) -> LMRequest:
        """Write a request for one completion."""
        asked = request(round=round, prompts=prompts(["x"], samples=1))
        write(self.run.path, asked)
        return asked

    def wait_for_answer(self, round: int) -> int:
        """Wait until a request is answered; return the process that did it."""
        asked, folder = self.ask(round), self.run.round(round)
        wait_until(lambda: completions_file.is_complete(folder.completions, asked), f"round {round} is answered")
        lines = folder.lm_log.read_text().splitlines()
        assert lines[0].startswith("job 17 starts on ")
        return int(lines[1].removeprefix("answering as "))

    def wait_for_tree(self) -> list[int]:
        """Wait until the program of WITH_A_TREE runs; return its processes."""
        self.ask(0)
        file = self.run.round(0).path / "pids"
        wait_until(lambda: file.exists() and len(file.read_text().split()) == 2, "it runs")
        return [int(pid) for pid in file.read_text().split()]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A run whose server is not started yet, and does not outlive the test."""
    served = Served(RunDir(tmp_path / "run"), tmp_path / "program.py")
    yield served
    served.process.terminate()
    served.process.communicate(timeout=200)


def test_it_answers_what_comes_each_in_a_process_of_its_own(served: Served) -> None:
    served.start(ANSWERING)
    assert served.wait_for_answer(0) != served.wait_for_answer(1)
    write_atomic(served.folder / END, "the search needs it no more")
    code, printed = served.end()
    assert code == 0
    assert printed.count("answering") == 4  # began and ended, twice


def test_it_leaves_when_nothing_comes(served: Served) -> None:
    served.start(ANSWERING, idle_s=0.3)
    assert served.end()[0] == 0
    assert (served.folder / END).read_text() == "it had no request for 0.005 minutes"


def test_what_is_answered_is_not_answered_again_unless_it_is_asked_anew(served: Served) -> None:
    served.ask(3)
    round = served.run.round(3)
    completions_file.append(round.completions, [completion(0, 0, "of an earlier job")])
    served.start(ANSWERING)
    assert served.process.stderr is not None
    served.process.stderr.readline()
    time.sleep(0.1)  # it looks several times
    assert not round.lm_log.exists()
    shutil.rmtree(round.path)
    served.wait_for_answer(3)


def test_a_request_that_is_not_whole_is_waited_for(served: Served) -> None:
    whole = served.run.round(0)
    served.ask(0)
    damaged = whole.request.read_text()[:-5]
    write_atomic(whole.request, damaged)
    served.start(ANSWERING, idle_s=0.3)
    assert served.end()[0] == 0
    assert not whole.lm_log.exists()


@pytest.mark.parametrize(
    ("source", "code"),
    [("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 137), ("pass", 1)],
    ids=["fails", "is killed", "ends well without an answer"],
)
def test_a_program_that_does_not_answer_ends_the_job(served: Served, source: str, code: int) -> None:
    served.ask(0)
    served.start(f"import os, signal, sys; print('error: no'); {source}")
    assert served.end()[0] == code
    assert served.run.round(0).lm_log.read_text().startswith("job 17 starts on ")
    assert not (served.folder / END).exists()


def test_a_program_that_fails_after_its_answer_is_no_fault(served: Served) -> None:
    served.start(f"{ANSWERING}    sys.exit(1)\n")
    served.wait_for_answer(0)
    served.wait_for_answer(1)


def _terminate(served: Served) -> None:
    served.process.terminate()
    served.process.terminate()


def _conclude(served: Served) -> None:
    write_atomic(served.folder / END, "cancelled")


@pytest.mark.parametrize(("stop", "code"), [(_terminate, 143), (_conclude, 0)], ids=["SIGTERM", "end"])
def test_it_ends_with_all_its_processes_when_told_to(served: Served, stop: Callable[[Served], None], code: int) -> None:
    served.start(f"{WITH_A_TREE}    time.sleep(600)\n")
    pids = served.wait_for_tree()
    assert all(map(lives, pids))
    stop(served)
    assert served.end()[0] == code
    assert not any(map(lives, pids))


@pytest.mark.slow
def test_what_a_program_leaves_behind_is_ended_before_the_next(served: Served) -> None:
    served.start(f"{WITH_A_TREE}{ANSWERING}")
    pids = served.wait_for_tree()
    served.wait_for_answer(1)
    assert not any(map(lives, pids))
    assert served.process.poll() is None


def test_a_log_that_cannot_be_written_is_named(served: Served) -> None:
    served.ask(0)
    served.run.round(0).logs.write_text("a file where the folder should be")
    served.start(ANSWERING)
    code, printed = served.end()
    assert code == 1
    assert f"error: cannot write {served.run.round(0).lm_log}: File exists; " in printed


def test_a_program_that_is_not_there_is_named(served: Served) -> None:
    served.ask(0)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "evohpc.lm.serve",
        served.run.path,
        served.folder,
        "--idle-minutes=1",
        "/no/torch",
    ]
    served.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    code, printed = served.end()
    assert (code, printed.splitlines()[-1]) == (1, "error: cannot run /no/torch: No such file or directory")
