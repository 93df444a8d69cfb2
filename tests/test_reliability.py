"""What a run folder may meet, by the thousand: nothing is lost, doubled or believed wrongly, and nothing stops it.

The kills are in test_kill.py and driver/test_driver.py, hostile candidates in test_hostile.py, damaged databases in
store/.
"""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from support.driving import CONFIG, RUN_ID, Clock, Driving, drive, make_run, measure, tables
from support.killing import declare_dead, mortal
from support.paths import ROOT
from support.tally import Tally, told

from evohpc import envelopes
from evohpc.errors import StorageError
from evohpc.messages import Attempt, Candidate, Result, Status
from evohpc.run_folder import RoundDir, RunDir

LONG = [pytest.mark.long, pytest.mark.timeout(7200)]
pytestmark = pytest.mark.usefixtures("unsynced")

ENVELOPES = [200, pytest.param(2000, marks=pytest.mark.slow), pytest.param(10_000, marks=LONG)]
ROUNDS = "rounds: 3, prompts_per_round: 2, samples_per_prompt: 4"
WIDE = CONFIG.replace(ROUNDS, "rounds: 1, prompts_per_round: 4, samples_per_prompt: 15")
SHORT = CONFIG.replace(ROUNDS, "rounds: 2, prompts_per_round: 1, samples_per_prompt: 4")


def outcome(candidate: Candidate, attempt: int) -> Result:
    """Return the one true result of an attempt: a machine fault, or what the program is worth."""
    result = measure(candidate.source, Attempt(candidate.id, attempt))
    return result or Result(candidate.id, attempt, Status.NODE_FAIL, "the node failed")


Damage = Callable[[bytes, Result, random.Random], bytes]
"""(whole envelope, its result, generator) -> what is written instead."""


def sealed(result: Result, run_id: str = RUN_ID, epoch: int = 1) -> bytes:
    return envelopes.seal(run_id, epoch, result)


def flipped(data: bytes, result: Result, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) - 1)  # the newline at the end says nothing
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def with_another_schema(data: bytes, result: Result, rng: random.Random) -> bytes:
    body = {**json.loads(data), "schema": rng.choice([0, 2, 99, "1", None])}
    return json.dumps(body).encode()


BAD: dict[str, Damage] = {
    "torn": lambda data, result, rng: data[: rng.randrange(len(data) - 2)],
    "doubled": lambda data, result, rng: data + data,
    "flipped": flipped,
    "garbage": lambda data, result, rng: rng.randbytes(rng.randrange(1, 400)),
    "zeros": lambda data, result, rng: bytes(len(data)),
    "foreign run": lambda data, result, rng: sealed(result, "run-2"),
    "another schema": with_another_schema,
    "another candidate": lambda data, result, rng: sealed(replace(result, candidate_id="r000p99s099")),
    "another attempt": lambda data, result, rng: sealed(replace(result, attempt=result.attempt + 1)),
    "another source": lambda data, result, rng: sealed(replace(result, source_sha256="0" * 64)),
    "impossible size": lambda data, result, rng: sealed(replace(result, num_params=-1)),
    "not an outcome": lambda data, result, rng: sealed(replace(result, status=Status.PENDING)),
    "a number as text": lambda data, result, rng: data.replace(b'"attempt":', b'"attempt":"', 1),
}


def place_special_file(path: Path, rng: random.Random) -> None:
    """Put something that is no regular file, or far too large, where a result is expected."""
    kind = rng.randrange(4)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 33)


def arrivals(candidates: list[Candidate], rng: random.Random) -> Iterator[tuple[Candidate, int, str]]:
    """Yield (candidate, attempt, kind of envelope) in any order; good ones are as rare as each kind of bad ones."""
    while True:
        yield rng.choice(candidates), rng.randrange(1, 4), rng.choice([*BAD, "special file", "good"])


def deliver(folder: RoundDir, candidate: Candidate, attempt: int, kind: str, rng: random.Random) -> bool:
    """Write an envelope to its place unless one is there; return whether it was written."""
    path, result = folder.result(candidate.id, attempt), outcome(candidate, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        return False
    if kind == "special file":
        place_special_file(path, rng)
    else:
        data = sealed(result, epoch=rng.randrange(1, 9))  # a driver that was replaced had asked for it: it counts
        path.write_bytes(data if kind == "good" else BAD[kind](data, result, rng))
    return True


@pytest.mark.parametrize("count", ENVELOPES)
def test_of_thousands_of_envelopes_each_true_one_is_entered_once(tmp_path: Path, count: int, tally: Tally) -> None:
    prompts, widths = max(4, count // 150), range(100, 103 + count // 50)  # or there are too few children for so many
    config = WIDE.replace("prompts_per_round: 4", f"prompts_per_round: {prompts}")
    config = config.replace("survivors: 3", f"survivors: {len(widths)}")
    rng, run = random.Random(20261126), make_run(tmp_path / "run", config, widths)
    with Driving(run) as driving:
        driving.driver.open_round(-1)
        driving.runner.evaluate(-1, [Attempt(f"seed-w{width}", 1) for width in widths])  # type: ignore[attr-defined]
        driving.intake.collect(-1)
        driving.driver.close_round(-1)
        driving.driver.open_round(0)
        candidates = [entry.candidate for entry in driving.store.entries(0, Status.PENDING)]
        due = [(candidate, attempt) for candidate in candidates for attempt in (1, 2, 3)]
        folder, came, refused = run.round(0), 0, 0
        for candidate, attempt, kind in islice(arrivals(candidates, rng), 10 * count):
            is_new = deliver(folder, candidate, attempt, kind, rng)
            came, refused = came + is_new, refused + (is_new and kind != "good")
            if rng.random() < 0.05:
                driving.intake.collect(0)
            if came == count:
                break
        assert came == count, "all places are taken"
        driving.intake.collect(0)
        for candidate, attempt in rng.sample(due, len(due)):  # what did not come yet, comes now
            deliver(folder, candidate, attempt, "good", rng)
        driving.intake.collect(0)
        for candidate in candidates:
            entered = driving.store.results(candidate.id)
            assert entered == [outcome(candidate, attempt) for attempt in (1, 2, 3)]
    reasons = list(folder.quarantine.glob("*.reason"))
    assert len(reasons) == refused > count / 2
    assert all(len(path.read_text()) > 10 for path in reasons)
    tally("envelopes: torn, altered, foreign, impossible, doubled, late; none entered wrongly, lost or twice", count)


REFUSALS = (
    *(errno.ENOSPC, errno.EIO),
    *(pytest.param(code, marks=pytest.mark.slow) for code in (errno.EDQUOT, errno.ESTALE, errno.EROFS)),
)


def small(path: Path) -> RunDir:
    return make_run(path, SHORT, seeds=(8, 16))


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("stride", [pytest.param(1, marks=LONG), 37])
def test_a_file_system_that_refuses_at_any_step_costs_time_and_nothing_else(
    tmp_path: Path, code: int, stride: int, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    with mortal() as steps:
        expected = drive(small(tmp_path / "undisturbed"))
    with mortal() as to_begin, Driving(small(tmp_path / "begun")):
        first = to_begin.taken
    clock = Clock()
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    tried = range(first, steps.taken, stride)
    for step in tried:
        run = small(tmp_path / str(step))
        with mortal(refused=step, code=code):
            assert drive(run, patience_s=60, wait=clock) == expected, f"{errno.errorcode[code]} at step {step}"
    tally("refusals of the file system while a driver runs; each was waited out", len(tried))


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("stride", [pytest.param(1, marks=LONG), 37])
def test_a_driver_without_patience_names_the_refusal_and_the_next_goes_on(
    tmp_path: Path, code: int, stride: int, tally: Tally
) -> None:
    with mortal() as steps:
        expected = drive(small(tmp_path / "undisturbed"))
    tried, said = range(3, steps.taken, stride), []
    for step in tried:
        run = small(tmp_path / str(step))
        with mortal(refused=step, code=code):
            try:
                with Driving(run) as driving:
                    driving.driver.drive()
            except StorageError as error:
                said.append(str(error))
        declare_dead(run)
        with mortal(), Driving(run) as driving:
            driving.driver.drive()
            assert tables(driving.store) == expected, f"{errno.errorcode[code]} at step {step}"
    assert len(said) > 0.4 * len(tried)
    assert all(str(tmp_path) in message for message in said)
    tally("refusals of the file system that end a driver; the next one ended in the same tables", len(tried))


GRACE_S = 60


@pytest.mark.parametrize(
    "late_s", [5, GRACE_S - 1, GRACE_S + 1, pytest.param(90, marks=LONG), pytest.param(900, marks=LONG)]
)
def test_results_that_a_file_system_shows_late_are_all_entered(
    tmp_path: Path, late_s: int, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    expected, clock, since = drive(small(tmp_path / "undisturbed")), Clock(), dict[str, float]()
    listdir = os.listdir

    def late(folder: Path) -> list[str]:
        """List as a client does that has an old listing: what the server has, whoever links that name is told."""
        names = listdir(folder)
        if Path(folder).name != "results":
            return names
        return [name for name in names if clock.now - since.setdefault(f"{folder}/{name}", clock.now) >= late_s]

    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    monkeypatch.setattr(os, "listdir", late)
    assert drive(small(tmp_path / "late"), wait=clock, grace_s=GRACE_S) == expected
    assert len(since) >= len(expected["results"])
    tally("results that a file system showed 5 to 900 s late; each was entered", len(since))


@pytest.mark.slow
def test_two_clients_of_one_run_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    program = ROOT / "tests/support/two_clients.py"
    clients = [str(tmp_path / name) for name in ("a", "b")]
    command = [sys.executable, str(program), *clients, "--kills", "2", "--races", "2", "--no-takeover"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout).values()) == [300, 2, 2]


@pytest.mark.parametrize("name", ["reliability", "nfs"])
def test_the_figures_that_the_guarantees_quote_are_those_of_the_last_run(name: str) -> None:
    page = (ROOT / "docs/guarantees.md").read_text()
    file = f"docs/results/{name}.json"
    assert f"<!-- {file} -->\n{told(ROOT / file)}<!-- end -->\n" in page
