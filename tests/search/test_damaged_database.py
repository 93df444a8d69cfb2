"""Bit flips, overwritten and missing parts of the database: a sentence, or the very rows that were written."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.command_line import call
from support.tally import Tally

from evohpc.errors import EvohpcError
from evohpc.run_folder import RunDir
from evohpc.search.rebuild import rebuild
from evohpc.search.search import Search
from evohpc.store import integrity
from evohpc.store.store import TABLES, Store

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")

Damage = Callable[[bytes, random.Random], bytes]


def flip_a_bit(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(8 * len(data))
    return data[: place // 8] + bytes([data[place // 8] ^ 1 << place % 8]) + data[place // 8 + 1 :]


def flip_eight_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(8):
        changed[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    return bytes(changed)


def flip_in_text(data: bytes, rng: random.Random) -> bytes:
    """Change what SQLite cannot see: a letter of a program or of a detail, a digit of a metric."""
    letters = [at for at in range(100, len(data)) if chr(data[at]).isalnum()]
    at = rng.choice(letters)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def cut_off(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def put_noise(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(min(512, len(data) - start)) + data[start + 512 :]


DAMAGES = [flip_a_bit, flip_eight_bytes, flip_in_text, cut_off, put_noise]
each_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
how_often = pytest.mark.parametrize("count", [8, pytest.param(300, marks=pytest.mark.slow)])


def tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    with closing(store):
        return {table: store.rows(table) for table in TABLES}


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(finished_run, tmp_path / "run")))


@how_often
@each_damage
def test_a_damaged_snapshot_is_refused_or_read_as_it_was_written(
    run: RunDir, damage: Damage, count: int, tally: Tally
) -> None:
    written, data = tables(Store.snapshot_reader(run.snapshot)), run.snapshot.read_bytes()
    refused = 0
    for seed in range(count):
        run.snapshot.write_bytes(damage(data, random.Random(seed)))
        try:
            assert tables(Store.snapshot_reader(run.snapshot)) == written, f"damage {seed} is not seen"
        except EvohpcError:
            refused += 1
    assert refused >= 0.95 * count
    tally("damaged databases; none was read with a wrong table", count)


@how_often
@each_damage
def test_a_damaged_database_is_refused_or_gone_on_with_as_it_was_written(
    run: RunDir, damage: Damage, count: int, tally: Tally
) -> None:
    written, data = tables(Store.snapshot_reader(run.snapshot)), run.database.read_bytes()
    snapshot, refused = run.snapshot.read_bytes(), 0
    for seed in range(count):
        shutil.rmtree(run.lease)
        run.database.with_name("search.db-journal").unlink(missing_ok=True)
        run.database.write_bytes(damage(data, random.Random(seed)))
        try:
            with Search.open(run.path) as search:
                assert search.ask() == []
            assert tables(Store.snapshot_reader(run.database)) == written, f"damage {seed} is not seen"
        except EvohpcError:
            refused += 1
            assert run.snapshot.read_bytes() == snapshot
        run.snapshot.write_bytes(snapshot)
    assert refused > 0.1 * count or count < 100  # the others lie where no row is
    tally("damaged databases; none was read with a wrong table", count)


@each_damage
def test_whatever_is_damaged_a_rebuild_mends_it(run: RunDir, damage: Damage) -> None:
    written, data = tables(Store.snapshot_reader(run.snapshot)), run.database.read_bytes()
    for seed in range(4):
        run.database.write_bytes(damage(data, random.Random(seed)))
        rebuild(run, accept_loss=True)  # a damaged header may be that of another program
        assert tables(Store.snapshot_reader(run.database)) == written


@each_damage
@pytest.mark.parametrize(
    "words", [("status",), ("list", "--best", "5"), ("show", "seed-cnn"), ("export", "--csv", "-")]
)
def test_commands_say_in_a_sentence_that_a_snapshot_is_damaged(
    run: RunDir, capsys: pytest.CaptureFixture[str], damage: Damage, words: tuple[object, ...]
) -> None:
    data = run.snapshot.read_bytes()
    for seed in range(3):
        run.snapshot.write_bytes(changed := damage(data, random.Random(seed)))
        code, out, err = call(capsys, words[0], run.path, *words[1:])
        assert changed == data or (code, out) == (1, "")
        assert err.startswith(f"error: {run.snapshot}: ")
        assert err.count("\n") == 1


def test_a_snapshot_of_an_older_evohpc_has_no_checksum_and_is_read(run: RunDir) -> None:
    written = tables(Store.snapshot_reader(run.snapshot))
    data = bytearray(run.snapshot.read_bytes())
    data[60:64] = bytes(4)
    run.snapshot.write_bytes(data)
    assert not integrity.check_seal(run.snapshot)
    assert tables(Store.snapshot_reader(run.snapshot)) == written


@how_often
@each_damage
def test_a_damaged_snapshot_of_an_older_evohpc_is_never_a_traceback(run: RunDir, damage: Damage, count: int) -> None:
    data = bytearray(run.snapshot.read_bytes())
    data[60:64] = bytes(4)
    for seed in range(count):
        run.snapshot.write_bytes(damage(bytes(data), random.Random(seed)))
        try:
            with closing(Store.snapshot_reader(run.snapshot)) as store:
                assert all(entry.candidate.id for entry in store.every())
        except EvohpcError:
            continue


def test_a_snapshot_that_is_put_in_the_place_of_its_database_is_gone_on_with(run: RunDir) -> None:
    written = tables(Store.snapshot_reader(run.snapshot))
    shutil.copyfile(run.snapshot, run.database)
    with Search.open(run.path) as search:
        assert search.ask() == []
    assert tables(Store.snapshot_reader(run.database)) == written
