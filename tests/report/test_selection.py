from __future__ import annotations

from pathlib import Path

import pytest
from support.searching import finish, make_config

from evohpc.evolution.population import get_top
from evohpc.report.reader import Reading
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("search.retire_parents=false",),
        ("search.seeds_in_pool=true",),
        ("search.pool=last_round", "search.error_threshold=0.3"),
    ],
)
def test_the_pool_is_what_the_survivors_were_selected_from(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    with Search.create(tmp_path / "run", make_config(tmp_path, "search.rounds=3", *overrides)) as search:
        finish(search)
    with Reading(tmp_path / "run") as reading:
        selections = reading.selections()
        for round in range(3):
            pool = [one.id for one in selections.pool(round)]
            assert get_top(pool, 3) == list(selections.survivors[round])
            assert all(round in selections.selected_after(id) for id in pool[:3])
        assert [one.id for one in selections.best()] == [entry.id for entry in search.best(1000)]
