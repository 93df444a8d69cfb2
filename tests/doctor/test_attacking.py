"""Hostile candidates on this host, and what the doctor makes of those that get through."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import call
from support.old_kernel import without_landlock
from support.paths import ROOT

from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.lm import LMConfig
from evohpc.config.search import Config
from evohpc.config.site import ContainerSection, Site
from evohpc.doctor import attacks
from evohpc.doctor.attacking import HEALTHY, LOOKS_AFTERWARDS, attack_host
from evohpc.doctor.attacks import Attack
from evohpc.messages import Isolation
from evohpc.sandbox.probe import probe

ANY = Config(seeds=Path("seeds"), lm=LMConfig(engine="scripted"))
CONFIG = (str(ROOT / "configs/quickstart.yaml"), "--set", "lm.engine=scripted")
LABELS = next(attack for aim, attack in attacks.chosen() if attack.name == "hunts_labels")
FORK = next(attack for aim, attack in attacks.chosen() if attack.name == "starts_children")


@pytest.fixture(autouse=True)
def confined() -> None:
    if probe().isolation is not Isolation.CONFINED:
        pytest.skip("no attack is made where nothing holds it")


@pytest.mark.slow
def test_what_holds_and_what_does_not() -> None:
    through = replace(LABELS, expected="chance")
    healthy = Attack("healthy", "F", "honest", "nothing", HEALTHY + "# CANARY")
    outcomes = attack_host(ANY, None, [("tests", attack) for attack in (LABELS, through, FORK, healthy)])
    first = next(outcomes)
    assert (first.happened, first.holds) == ("the honest score", True)
    second = next(outcomes)
    assert re.fullmatch(r"trained with error 0\.\d+ and 410 numbers", second.happened)
    assert second.holds is False
    assert next(outcomes).holds
    scratch = Path(os.environ["TMPDIR"])
    (scratch.parent / "home/id_canary").write_text("")  # as an attack would that got so far, and then:
    (scratch / "trap").touch()
    with subprocess.Popen(["sleep", "600"]) as left:
        assert [(outcome.happened, outcome.holds) for outcome in outcomes] == [
            ("a file of this user was changed", False),
            (f"processes {left.pid}", False),
            ("trap", False),
        ]
        left.kill()


@pytest.mark.slow
def test_when_time_is_up_the_rest_is_not_tried() -> None:
    outcomes = attack_host(ANY, None, [("tests", LABELS), ("tests", FORK)], budget_s=-1)
    assert [outcome.holds for outcome in outcomes] == [None, None, True, True]


def test_where_nothing_would_hold_nothing_is_tried(tmp_path: Path) -> None:
    old = without_landlock(tmp_path, sys.executable)
    command = [str(old), "-m", "evohpc", "doctor", "--attack", *CONFIG]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert "isolation" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_the_command_prints_what_holds(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "doctor", "--attack", *CONFIG)
    assert code == 0, out
    total = sum(map(len, attacks.CHOSEN.values())) + LOOKS_AFTERWARDS
    assert out.count(" held") == total
    assert not re.search("NOT HELD|UNKNOWN", out)
    assert f"{total} of {total} hold" in err


@pytest.mark.slurm
def test_what_holds_in_containers(containers: ContainerSection) -> None:
    in_containers = ANY.model_copy(update={"evaluation": EvaluationConfig(runtime="apptainer")})
    outcomes = list(attack_host(in_containers, Site(container=containers), list(attacks.chosen())))
    assert [outcome for outcome in outcomes if not outcome.holds] == []
