"""Site profiles: strict, and the shipped ones valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import ROOT

from evohpc.config.site import Site, load_site
from evohpc.errors import ConfigError

SLURM = ROOT / "slurm"


@pytest.mark.parametrize("path", sorted(SLURM.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_profiles_are_valid_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    site = load_site(path)
    (tmp_path / "copy.yaml").write_text(site.dump())
    assert load_site(tmp_path / "copy.yaml") == site


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("evaluation: {partitoin: gpu}", "unknown key evaluation.partitoin; did you mean evaluation.partition?"),
        ("partition: gpu", "unknown key partition; did you mean evaluation.partition?"),
        ("driver: {go_on_by: magic}", "driver.go_on_by: input should be 'requeue' or 'successor'; it is 'magic'"),
        ("scheduler: {poll_s: 0}", "scheduler.poll_s: input should be greater than 0; it is 0"),
        ("- gpu", "a site profile is a mapping of sections; this file holds list"),
    ],
)
def test_a_mistake_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_site(path)
    assert str(error.value) == f"{path}: {message}"


def test_paths_start_at_the_profiles_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGES", "images")
    path = tmp_path / "site.yaml"
    path.write_text("container: {image: $IMAGES/eval.sif}")
    assert load_site(path).container.image == tmp_path / "images" / "eval.sif"


def test_empty_values_leave_options_out() -> None:
    assert Site().evaluation.sbatch_options({}) == {}
