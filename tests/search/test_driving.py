"""What a driver leaves behind of itself for who looks at the run later."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
from support.searching import make_config

from evohpc.config.site import Site
from evohpc.driver.driver import Driver, Stopped
from evohpc.errors import LMError
from evohpc.report.reader import Reading
from evohpc.search import driving
from evohpc.search.search import Search

pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


@pytest.mark.parametrize("error", [LMError("the LM job failed; its log is lm.log"), ZeroDivisionError("division")])
def test_status_remembers_why_a_driver_ended_until_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run, said = tmp_path / "run", str(error) if isinstance(error, LMError) else "ZeroDivisionError: division"
    with monkeypatch.context() as context:
        context.setattr(Driver, "open_round", _failing(error))
        with Search.create(run, make_config(tmp_path)) as search, pytest.raises(type(error)):
            search.run()
    with Reading(run) as reading:
        lines = dict(reading.headlines())
        assert (lines["driver"], lines["failed"]) == ("none", said)
        assert reading.status()["progress"]["failure"] == said
    (run / "driver.log").touch()
    with Reading(run) as reading:
        assert dict(reading.headlines())["failed"] == f"{said}; see {run}/driver.log"
    stop = Event()
    stop.set()
    with Search.open(run) as search, pytest.raises(Stopped):
        search.run(stop=stop)
    with Reading(run) as reading:
        assert "failed" not in dict(reading.headlines())


@pytest.mark.parametrize(
    ("overlap", "site", "overlaps"),
    [("auto", None, False), ("auto", Site(), True), ("always", None, True), ("never", Site(), False)],
)
def test_drawing_and_evaluations_overlap_where_they_have_machines_of_their_own(
    tmp_path: Path, overlap: str, site: Site | None, overlaps: bool
) -> None:
    config = make_config(tmp_path)
    config = config.model_copy(update={"lm": config.lm.model_copy(update={"overlap": overlap})})
    with Search.create(tmp_path / "run", config, site=site) as search, ExitStack() as resources:
        driver = driving.become_driver(
            search.folder, search.run_id, resources, config=config, site=search.site, waiting=print, stop=Event()
        )
        assert driver.overlaps is overlaps


def _failing(error: Exception) -> object:
    def fail(*given: object) -> None:
        raise error

    return fail
