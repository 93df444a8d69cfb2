import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.cluster.daemons import lives, wait_until

from evohpc import files
from evohpc.driver import lease
from evohpc.driver.lease import Holder, acquire, holder, is_alive_here
from evohpc.envelopes import decode, encode
from evohpc.errors import LeaseError, StorageError
from evohpc.files import write_atomic
from evohpc.run_folder import RunDir


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self._events: list[tuple[float, Callable[[], object]]] = []

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        """Have something happen while somebody sleeps."""
        self._events.append((self.now + seconds, event))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [event for at, event in self._events if at <= self.now]
        self._events = [(at, event) for at, event in self._events if at > self.now]
        for event in due:
            event()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return clock


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def put(run: RunDir, current: Holder) -> None:
    write_atomic(run.lease / f"{current.epoch:06d}.json", encode(asdict(current)))


def held_by(run: RunDir) -> Holder:
    current = holder(run)
    assert current is not None
    return current


def hearts() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def elsewhere(run: RunDir, **changes: Any) -> Holder:
    """Have the run held on another host, which the tests play; return its holder."""
    current = replace(Holder.of_this_process(epoch=4), **{"host": "node7", "slurm_job_id": "99", **changes})
    put(run, current)
    return current


def test_the_first_driver_gets_the_run(run: RunDir) -> None:
    mine = acquire(run)
    assert mine.epoch == 1
    assert held_by(run).pid == os.getpid()
    assert is_alive_here(held_by(run)) is True


def test_a_second_driver_is_refused_and_told_by_whom(run: RunDir) -> None:
    acquire(run)
    with pytest.raises(LeaseError, match=f"{run.path}: already driven by process {os.getpid()} on .*; wait for it, or"):
        acquire(run)


def test_a_run_has_one_driver_by_whatever_path(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire(run)
    (tmp_path / "link").symlink_to(run.path)
    monkeypatch.chdir(run.path.parent)
    for path in (Path(run.path.name), tmp_path / "link"):
        with pytest.raises(LeaseError, match="already driven"):
            acquire(RunDir(path))


def test_a_lease_that_a_refusal_left_behind_is_taken_over_by_its_process(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(116, "Stale file handle")

    run.lease.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", refuse)
        with pytest.raises(StorageError):
            acquire(run)
    assert held_by(run).epoch == 1
    assert acquire(run).epoch == 2


def test_a_released_run_is_free_at_once(run: RunDir) -> None:
    first = acquire(run)
    first.release()
    assert holder(run) is None
    assert acquire(run).epoch == 2


def test_a_driver_that_was_killed_is_replaced_at_once(run: RunDir) -> None:
    script = (
        "import os, sys; from pathlib import Path; from evohpc.driver import lease; from evohpc import run_folder\n"
        "lease.acquire(run_folder.RunDir(Path(sys.argv[1]))); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(run.path)])
    assert killed.returncode == -9
    assert is_alive_here(held_by(run)) is False
    assert acquire(run).epoch == 2


def test_a_later_process_of_the_same_pid_is_not_the_holder(run: RunDir) -> None:
    me = Holder.of_this_process(epoch=3)
    put(run, replace(me, started=me.started - 1))
    assert acquire(run).epoch == 4


def test_a_zombie_holds_nothing(run: RunDir) -> None:
    child = subprocess.Popen(["true"])
    while lives(child.pid):
        time.sleep(0.005)
    put(run, replace(Holder.of_this_process(epoch=1), pid=child.pid))
    assert acquire(run).epoch == 2
    child.wait()


@pytest.mark.parametrize(
    "change", [{"host": "node7"}, {"boot_id": "another boot"}], ids=["another host", "another boot or PID namespace"]
)
def test_a_holder_that_cannot_be_seen_is_replaced_once_its_heart_stands_still(
    run: RunDir, clock: Clock, change: dict[str, str]
) -> None:
    current = elsewhere(run, **{"host": Holder.of_this_process(epoch=1).host, **change})
    said: list[str] = []
    assert is_alive_here(current) is None
    assert acquire(run, waiting=said.append).epoch == 5
    assert 220 <= clock.now < 222
    assert said == [f"waiting up to 120 s to see whether the driver that holds this run still lives: {current}"]
    assert "Slurm job 99" in said[0]


def test_a_holder_elsewhere_whose_heart_beats_keeps_the_run(run: RunDir, clock: Clock) -> None:
    current = elsewhere(run)
    clock.after(119, lambda: put(run, replace(current, beat=1)))
    with pytest.raises(LeaseError, match=f"already driven by process {os.getpid()} on node7, Slurm job 99"):
        acquire(run)


def test_a_requeued_job_waits_until_slurm_has_ended_its_earlier_start(
    run: RunDir, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node was down for slurmctld alone: the process there beat on."""
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    current = elsewhere(run)
    for beat in range(1, 100):
        clock.after(15 * beat, partial(put, run, replace(current, beat=beat)))
    with pytest.raises(LeaseError, match="Slurm job 99"):
        acquire(run)  # two drivers in one allocation
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    said: list[str] = []
    assert acquire(run, waiting=said.append).epoch == 5
    assert clock.now >= 100 + 99 * 15 + 120
    assert len(said) == 1
    monkeypatch.setenv("SLURM_JOB_ID", "98")
    current = elsewhere(run, epoch=6)
    clock.after(5, lambda: put(run, replace(current, beat=1)))
    with pytest.raises(LeaseError, match="Slurm job 99"):
        acquire(run)


def test_a_holder_elsewhere_that_lets_go_is_replaced_before_the_time(run: RunDir, clock: Clock) -> None:
    current = elsewhere(run)
    clock.after(5, lambda: put(run, replace(current, released=True)))
    assert acquire(run).epoch == 5
    assert clock.now < 107


def test_who_waited_for_a_dead_holder_is_refused_if_another_was_faster(run: RunDir, clock: Clock) -> None:
    elsewhere(run)
    clock.after(119, lambda: put(run, replace(Holder.of_this_process(epoch=5), pid=1, started=1)))
    with pytest.raises(LeaseError, match="already driven"):
        acquire(run)


def test_of_many_drivers_that_start_together_exactly_one_drives(run: RunDir) -> None:
    put(run, replace(Holder.of_this_process(epoch=1), started=1))

    def start(_: object) -> int:
        try:
            return acquire(run).epoch
        except LeaseError:
            return 0

    with ThreadPoolExecutor(20) as pool:
        epochs = list(pool.map(start, range(100)))
    assert sorted(epochs) == [0] * 99 + [2]


def test_a_heart_beats_when_it_is_due(run: RunDir, clock: Clock) -> None:
    mine = acquire(run)
    for passed, beats in [(0, 0), (14, 0), (16, 1), (30, 1), (32, 2)]:
        clock.now = 100.0 + passed
        mine.beat()
        assert held_by(run).beat == beats


def test_inside_it_the_heart_beats_by_itself_and_leaving_it_releases_the_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    with acquire(run) as held:
        time.sleep(0.3)
        assert held_by(run).beat >= 3
        held.beat()
    assert holder(run) is None
    assert not hearts()


def test_a_heart_that_skipped_a_beat_for_a_full_disk_goes_on(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    with acquire(run), monkeypatch.context() as full:
        full.setattr(lease, "write_atomic", raising(StorageError("full")))
        time.sleep(0.1)
        before = held_by(run).beat
        full.undo()
        monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
        time.sleep(0.1)
        assert held_by(run).beat > before


def test_a_deposed_driver_that_beats_by_itself_is_told(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    with acquire(run) as held:
        put(run, replace(Holder.of_this_process(epoch=held.epoch + 1), host="node7"))
        wait_until(lambda: not hearts(), "its heart stands still")
        with pytest.raises(LeaseError, match="another driver has taken over"):
            held.beat()
    assert held_by(run).epoch == held.epoch + 1


def raising(error: Exception) -> Callable[..., None]:
    def refuse(*args: object) -> None:
        raise error

    return refuse


@pytest.mark.parametrize("successors", [1, 2, 3])
def test_a_deposed_driver_sees_it_at_its_next_beat(
    run: RunDir, successors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was suspended, taken for dead, and wakes up after one or more others have taken over."""
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0)
    mine = acquire(run)
    for epoch in range(1, successors + 1):
        put(run, replace(Holder.of_this_process(epoch=epoch), started=1))
        acquire(run)
    with pytest.raises(LeaseError, match="another driver has taken over this run; this one stops"):
        mine.beat()
    assert held_by(run).epoch == successors + 1


def test_old_lease_files_are_removed_but_for_the_predecessors(run: RunDir) -> None:
    for _ in range(5):
        acquire(run).release()
    assert sorted(os.listdir(run.lease)) == ["000004.json", "000005.json"]


def test_the_epoch_goes_on_past_six_digits(run: RunDir) -> None:
    put(run, replace(Holder.of_this_process(epoch=999_999), released=True))
    acquire(run).release()
    assert acquire(run).epoch == 1_000_001


def test_a_file_under_way_is_no_lease(run: RunDir) -> None:
    write_atomic(run.lease / ".tmp-000009.json-ff", "{")
    write_atomic(run.lease / "notes.txt", "x")
    assert acquire(run).epoch == 1


def test_a_damaged_lease_is_named(run: RunDir) -> None:
    write_atomic(run.lease / "000001.json", '{"epoch": 1')
    with pytest.raises(LeaseError, match=r"000001.json: .*; delete this file if no driver of this run is alive"):
        acquire(run)


def test_a_file_that_a_successor_has_removed_is_looked_for_again(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = acquire(run)
    listings = iter([["000001.json", "000007.json"], ["000001.json"]])
    with monkeypatch.context() as stale:
        stale.setattr(os, "listdir", lambda folder: next(listings))
        assert held_by(run).epoch == mine.epoch
    assert next(listings, None) is None


def test_a_full_disk_is_named(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="free some space"):
        acquire(run)


def test_the_holder_says_what_is_needed_to_find_it(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    acquire(run)
    written = decode((run.lease / "000001.json").read_bytes(), Holder)
    assert (written.pid, written.slurm_job_id, written.beat, written.released) == (os.getpid(), "4711", 0, False)
    assert is_alive_here(written)
