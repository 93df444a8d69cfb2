from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import call
from support.searching import measure, train_finalists

from evohpc.config.site import Site, load_site
from evohpc.messages import Status
from evohpc.search.search import Search
from evohpc.search.verification import Asked, Verification, read_table

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


@pytest.fixture
def verified(finished_run: Path, tmp_path: Path) -> Path:
    """A verification of two finalists with three seeds, one of which the fitter one fails with."""
    made = Verification.create(finished_run, Asked(2), seeds=1, folder=tmp_path / "v")
    train_finalists(made.folder, 0, fails=[made.plan.finalists[0].id])
    for seed in (1, 2):
        made = Verification.create(finished_run, seeds=seed + 1, folder=tmp_path / "v")
        made.search(seed)
        train_finalists(made.folder, seed)
    return made.folder


def test_a_finished_verification_prints_its_table_at_once(
    finished_run: Path, verified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.csv"
    code, out, err = call(capsys, "verify", finished_run, "--best", 2, "--to", verified, "-o", mine)
    assert code == 0
    assert "2 of 3" in out
    assert "3 of 3" in out
    assert "seed 0: timeout: too slow" in err
    assert f"wrote {mine}" in err
    rows = list(csv.DictReader(mine.read_text().splitlines()))
    assert [row["trained"] for row in rows] == ["2", "3"]
    assert float(rows[0]["fitness"]) > float(rows[1]["fitness"])


def test_the_table_as_json_is_that_of_the_file(
    finished_run: Path, verified: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, "verify", finished_run, "--to", verified, "--json")
    assert code == 0
    document = json.loads(out)
    assert (document["schema"], document["kind"]) == (1, "verify")
    assert document["run"] == Search.open(finished_run).run_id
    rows = document["finalists"]
    with open(verified / "table.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows] == written
    assert rows[0]["search_fitness"] == rows[0]["fitness_max"]  # the same arithmetic measures both


def test_a_seed_that_a_machine_failed_can_be_trained_again_as_a_whole(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, seed, site = tmp_path / "v", tmp_path / "v" / "seed-0", Site(python="/opt/python")
    asked = Asked(2, None, ("evaluation.retries=0",))
    Verification.create(finished_run, asked, seeds=1, folder=folder, site=site)
    with Search.open(seed) as search:
        unlucky, other = search.ask()
        search.tell(replace(measure(unlucky), status=Status.NODE_FAIL, fitness=None))
        search.tell(measure(other))
        assert search.ask() == []
    said = call(capsys, "retry", seed)[2]
    assert "and this run has no round to come" in said
    assert f"trained again as a whole: mv {seed} {seed}.old; then the command of `evohpc verify` again" in said
    assert "rounds to come: " not in said
    seed.rename(f"{seed}.old")
    assert Verification.create(finished_run, folder=folder).search(0).site == site
    train_finalists(folder, 0)
    assert [(row.trained, row.failures) for row in read_table(folder)] == [(1, ""), (1, "")]


def test_mistakes_are_one_sentence(
    finished_run: Path, verified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        ([tmp_path / "none"], "is no run folder"),
        ([finished_run, "--to", verified, "--best", 5], "holds another verification"),
        ([finished_run, "--to", verified, "--max-error", 4.5], "holds another verification"),
        ([finished_run, "--to", tmp_path / "w", "--max-error", 0], "has no candidate with an error below 0"),
        ([finished_run, "--to", tmp_path / "w", "--set", "search.rounds=2"], "can change task_options"),
        ([finished_run, "--to", tmp_path / "w", "--set", "task_options.stepz=2"], "no stepz; did you mean steps"),
        ([finished_run, "--to", tmp_path / "w", "--site", tmp_path / "no.yaml"], "no.yaml: cannot read"),
    ):
        code, out, err = call(capsys, "verify", *arguments)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert said in err
        assert err.count("\n") == 1
        assert not (tmp_path / "w" / "plan.json").exists()


@pytest.mark.parametrize("names_the_site", [True, False])
def test_what_was_stopped_goes_on_where_it_ran(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    names_the_site: bool,
) -> None:
    """Where the search itself had no site, its seeds were trained on the login node from then on."""
    (tmp_path / "site.yaml").write_text("scheduler: {poll_s: 1}\n")
    stopped: list[tuple[Verification, str]] = []

    def stop(start: Callable[[], Verification], go_on: str) -> None:
        stopped.append((start(), go_on))
        sys.exit(130)

    monkeypatch.setattr("evohpc.cli.verify.drive", stop)
    call(capsys, "verify", finished_run, "--site", tmp_path / "site.yaml", "--to", tmp_path / "v")
    _, _, *words = shlex.split(stopped[0][1])
    assert words == [str(finished_run), "--to", str(tmp_path / "v"), "--site", str(tmp_path / "site.yaml")]
    call(capsys, "verify", *(words if names_the_site else words[:3]))
    assert [made.search(1).site for made, _ in stopped] == [load_site(tmp_path / "site.yaml")] * 2
