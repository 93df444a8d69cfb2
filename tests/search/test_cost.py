"""Upper bounds of what a search costs, and the estimate once something was trained."""

from __future__ import annotations

from typing import Any

import pytest
from support.paths import MNIST1D_SEEDS

from evohpc.config.lm import LMConfig
from evohpc.config.search import Config
from evohpc.config.site import EvaluationJobs, LMJobs, Site
from evohpc.search import cost
from evohpc.search.cost import bound, estimate, lines

SITE = Site(evaluation=EvaluationJobs(gres="gpu:a100:1"), lm=LMJobs(gpus_per_node="4", minutes=120, cpus=8))
RUNG = {"keep": 0.5, "task_options": {"steps": 5}}


def config(**sections: Any) -> Config:
    given: dict[str, Any] = {
        "seeds": MNIST1D_SEEDS,
        "search": {"rounds": 10, "prompts_per_round": 10, "samples_per_prompt": 16},
        "lm": {"path": "model"},
        "evaluation": {"time_limit_s": 1800, "threads": 2},
    }
    return Config.model_validate({**given, **sections})


def test_a_search_on_a_cluster() -> None:
    most = bound(config(), 4, SITE)
    assert (most.evaluations, most.evaluation_hours, most.lm_hours) == (1604, 802, 20)
    assert most.cpu_hours == 802 * 2 + 20 * 8
    assert most.gpu_hours == 802 * 1 + 20 * 4
    assert list(lines(most)) == [
        ("evaluations", "at most 1,604, each on 2 cores: 1,604 CPU-hours, 802 GPU-hours"),
        ("language model", "at most 2 h on 8 cores in each of 10 rounds: 160 CPU-hours, 80 GPU-hours"),
        ("run folder", "at most 311 MB, and 960 files at a time"),
    ]


def test_a_search_on_this_machine() -> None:
    most = bound(config(lm={"engine": "scripted"}), 4)
    assert (most.lm_jobs, most.gpu_hours, most.cpu_hours) == (0, 0, 1604)
    assert [what for what, _ in lines(most)] == ["evaluations", "run folder"]


@pytest.mark.parametrize(
    ("section", "evaluations", "hours"),
    [
        ({"search": {"rounds": 0}}, 4, 2),
        ({"search": {"variant": "naive", "rounds": 3, "prompts_per_round": 2, "samples_per_prompt": 5}}, 34, 17),
        ({"search": {"stop": {"evaluations": 96}}}, 100, 50),
        ({"search": {"stop": {"compute_hours": 7}}}, 1604, 7),
        ({"evaluation": {"time_limit_s": 1800, "rungs": [RUNG, RUNG]}}, 4804, 2402),
        ({"evaluation": {"time_limit_s": 1800, "rungs": [RUNG], "repeats": 2}}, 6404, 3202),
    ],
)
def test_what_bounds_a_search(section: dict[str, Any], evaluations: int, hours: float) -> None:
    most = bound(config(**section), 4)
    assert (most.evaluations, most.evaluation_hours) == (evaluations, hours)


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ({}, 0),
        ({"gres": "gpu:a100:2"}, 2),
        ({"gres": "gpu,tmpfs:100"}, 1),
        ({"gres": "tmpfs:100"}, 0),
        ({"gpus_per_node": "a100:4"}, 4),
        ({"gpus_per_node": 2}, 2),
        ({"options": {"gpus": "3"}}, 3),
    ],
)
def test_the_gpus_of_a_job(options: dict[str, Any], gpus: int) -> None:
    site = Site(evaluation=EvaluationJobs.model_validate(options))
    assert bound(config(), 4, site).gpus == gpus


def test_candidates_that_share_a_gpu_cost_their_parts_of_its_hours() -> None:
    shared = config(evaluation={"time_limit_s": 1800, "candidates_per_task": 8, "candidates_at_once": 4})
    site = Site(evaluation=EvaluationJobs(gpus_per_node="2"))
    most = bound(shared, 4, site)
    assert (most.gpus, most.evaluation_hours, most.gpu_hours) == (0.5, 802, 401)


def test_an_estimate_needs_something_that_was_trained() -> None:
    most = bound(config(), 4)
    assert estimate(most, 0.0, 0, 4, 1600) is None
    assert estimate(most, 4 * 36.0, 4, 4, 1600) == pytest.approx(1604 * 0.01), "each takes as long as the seeds"
    assert estimate(most, 84 * 36.0, 84, 164, 1440) == pytest.approx((84 + 1440 * 84 / 164) * 0.01)
    assert estimate(most, 4 * 3600.0, 4, 4, 1600) == most.evaluation_hours, "no more than the limits allow"
    assert cost.in_figures(0.123) == "0.12"


def test_a_scripted_search_on_a_site_has_no_lm_jobs() -> None:
    assert bound(config(lm=LMConfig(engine="scripted").model_dump()), 4, SITE).lm_jobs == 0
