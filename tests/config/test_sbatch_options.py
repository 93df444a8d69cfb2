"""Options of sbatch in a profile: what a search rests on is refused, the rest reaches sbatch once and as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evohpc.config import sbatch_options
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.site import Site, load_site
from evohpc.errors import ConfigError
from evohpc.jobs import array_script
from evohpc.jobs.array_script import ArrayShape
from evohpc.lm_job import script as lm_script
from evohpc.run_folder import RoundDir
from evohpc.search import driver_job

SECTIONS = ["driver", "evaluation", "lm"]


def profile(folder: Path, section: str, options: str) -> Site:
    path = folder / "site.yaml"
    path.write_text(f"lm: {{}}\n{section}:\n  options: {options}\n".replace("lm: {}\nlm:", "lm:"))
    return load_site(path)


def directives(site: Site, section: str) -> list[str]:
    """Return the options in the script of a section's jobs."""
    script = {
        "driver": lambda: driver_job.script(Path("/r"), "r", site),
        "evaluation": lambda: array_script.text(Path("/r"), ArrayShape("n", 1, 1), (), site, EvaluationConfig()),
        "lm": lambda: lm_script.text(lm_script.work_of(RoundDir(Path("/r/rounds/000")), "r", 0, Path("/m")), site),
    }[section]()
    return re.findall(r"^#SBATCH --(.*)$", script, re.MULTILINE)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("name", sorted(sbatch_options.REFUSED))
def test_what_a_search_rests_on_is_refused_with_the_reason(tmp_path: Path, section: str, name: str) -> None:
    reason = re.escape(f"{section}.options: {name} is not for options: {sbatch_options.REFUSED[name]}; it is ")
    with pytest.raises(ConfigError, match=reason):
        profile(tmp_path, section, f"{{{name}: x}}")


@pytest.mark.parametrize("section", SECTIONS)
def test_all_that_evohpc_sets_for_its_own_needs_is_refused_or_replaced(section: str) -> None:
    own = {option.partition("=")[0] for option in directives(Site.model_validate({"lm": {}}), section)}
    assert own - sbatch_options.REFUSED.keys() == {"mem", "time"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{job: x}", "job-name is not for options"),
        (
            "{--mail-type: FAIL}",
            "--mail-type is written without dashes in front, in small letters and with -: mail-type",
        ),
        ("{mail_type: FAIL}", "mail_type is written without dashes in front, in small letters and with -: mail-type"),
        ("{Mail-Type: FAIL}", "with -: mail-type"),
        ("{M: c1}", "with -: m"),
        ("{cluster: alpha}", "cluster is written in full: clusters"),
        ("{exclud: n13}", "exclud is written in full: exclude"),
        ("{mem-per-c: 2G}", "mem-per-c is written in full: mem-per-cpu"),
        ("{part: gpu}", "part is written in full: partition"),
        ("{p: gpu}", "'p' is no option by its long name, e.g. mail-type"),
        ("{a b: gpu}", "'a b' is no option by its long name"),
        ('{comment: "two\\nlines"}', "comment takes one line, true or false"),
        ("{clusters: all}", "clusters takes names: evohpc asks each of them"),
        ('{comment: ""}', "comment takes one line, true or false"),
    ],
)
def test_what_sbatch_would_misread_is_refused(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        profile(tmp_path, "driver", options)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(
    ("options", "written"),
    [
        ("{exclusive: no}", []),
        ("{exclusive: off, overcommit: false}", []),
        ("{exclusive: yes}", ["exclusive"]),
        ("{exclusive: user}", ["exclusive=user"]),
        ("{kill-on-invalid-dep: no}", ["kill-on-invalid-dep=no"]),
        ("{export: NONE, chdir: /scratch}", ["export=NONE", "chdir=/scratch"]),
    ],
)
def test_yes_and_no_switch_an_option_on_and_off(tmp_path: Path, section: str, options: str, written: list[str]) -> None:
    added = set(directives(profile(tmp_path, section, options), section))
    assert added - set(directives(profile(tmp_path, section, "{}"), section)) == set(written)


@pytest.mark.parametrize("section", SECTIONS)
def test_time_and_memory_of_the_site_take_the_place_of_evohpc_s(tmp_path: Path, section: str) -> None:
    merged = directives(profile(tmp_path, section, "{time: 12:30:00, mem: 8G}"), section)
    assert sorted(line for line in merged if line.startswith(("time", "mem"))) == ["mem=8G", "time=12:30:00"]
    per_cpu = directives(profile(tmp_path, section, "{mem-per-cpu: 2G}"), section)
    assert [line for line in per_cpu if line.startswith("mem")] == ["mem-per-cpu=2G"]


def test_the_clusters_of_all_sections_are_known(tmp_path: Path) -> None:
    site = profile(tmp_path, "lm", "{clusters: 'alpha, beta'}")
    assert (site.clusters, site.evaluation.clusters) == (("", "alpha", "beta"), ("",))
    assert site.lm is not None
    assert site.lm.clusters == ("alpha", "beta")
    assert "clusters=alpha,beta" in directives(site, "lm")
