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
        (
            "driver: {minutes: 5}",
            "driver.minutes is 5 and driver.stop_before_s 300, at which the driver would be stopped as it begins: "
            "take an hour or more",
        ),
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


def test_a_tilde_and_variables_in_paths_are_those_of_who_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("SW", "/sw")
    path = tmp_path / "site.yaml"
    path.write_text(
        "python: ~/venv/bin/python\nlm: {image: ~/lm.sif}\n"
        "container: {apptainer: $SW/bin/apptainer, local_folder: $TMPDIR,\n"
        "  binds: ['~/drivers:/drivers', '${SW}/lib', data]}"
    )
    site = load_site(path)
    assert (site.python, site.container.apptainer) == ("/home/ada/venv/bin/python", "/sw/bin/apptainer")
    assert site.container.binds == ("/home/ada/drivers:/drivers", "/sw/lib", f"{tmp_path}/data")
    assert (site.lm and site.lm.image, site.container.local_folder) == (Path("/home/ada/lm.sif"), "$TMPDIR")
    (tmp_path / "run.yaml").write_text(site.dump())
    assert load_site(tmp_path / "run.yaml") == site


def test_the_python_of_an_environment_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "python").symlink_to("/usr/bin/python3")
    path = tmp_path / "site.yaml"
    path.write_text("python: venv/python")
    assert load_site(path).python == f"{tmp_path}/venv/python"
    path.write_text("python: python3.12")
    assert load_site(path).python == "python3.12"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "python: $NO_SUCH/bin/python",
            "python: $NO_SUCH/bin/python: there is no $NO_SUCH here; write the path in full",
        ),
        ("python: ~nobody-here/python", "python: ~nobody-here/python: there is no ~nobody-here here"),
        ("container: {image: '${NO_SUCH}/e.sif'}", "container.image: ${NO_SUCH}/e.sif: there is no ${NO_SUCH} here"),
        ("container: {binds: [$NO_SUCH]}", "container.binds: $NO_SUCH: there is no $NO_SUCH here"),
    ],
)
def test_a_variable_that_is_not_set_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_site(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_empty_values_leave_options_out() -> None:
    assert Site().evaluation.sbatch_options({}) == {}
