import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.driving import RUN_ID, TASK, make_run, program
from support.requests import request
from support.rows import completion, trained

from evohpc.config.search import load_config
from evohpc.driver.intake import Intake
from evohpc.envelopes import seal
from evohpc.errors import RunFolderError
from evohpc.evolution.prompts import Example
from evohpc.files import write_atomic
from evohpc.messages import SEED_ROUND, Prompt, Result, Sample, Status
from evohpc.store.rows import Entry, Score
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced")


Make = Callable[..., Intake]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Returns a function from config changes to an intake with its seeds admitted."""
    stores = []

    def intake(epoch: int = 1, **search: object) -> Intake:
        run = make_run(tmp_path / "run")
        store = Store(run.database, epoch=epoch)
        stores.append(store)
        config = load_config(run.config)
        evaluation = config.evaluation.model_copy(update={k: search.pop(k) for k in ["retries"] if k in search})
        changed = config.model_copy(
            update={"search": config.search.model_copy(update=search), "evaluation": evaluation}
        )
        made = Intake(run, RUN_ID, changed, TASK, store)
        made.admit_seeds()
        return made

    yield intake
    for store in stores:
        store.close()


def name(round: int, sample: int) -> str:
    return f"r{round:03d}p00s{sample:03d}"


def admit(intake: Intake, round: int, widths: list[int]) -> list[str]:
    """Enter children of these widths; return their ids."""
    samples = tuple(Sample(i, i, 1.0) for i in range(len(widths)))
    asked = request(run_id=RUN_ID, round=round, prompts=(Prompt(0, "p", (), samples),))
    bodies = [program(width).partition("nn.Module):\n")[2] for width in widths]
    intake.admit_children(asked, [completion(0, i, body) for i, body in enumerate(bodies)])
    return [name(round, i) for i in range(len(widths))]


def report(intake: Intake, candidate: str, fitness: float | None, attempt: int = 1, **changes: Any) -> None:
    """Put a result on disk: trained with that fitness, or lost."""
    found = Result(candidate, attempt, Status.LOST)
    if fitness is not None:
        found = trained(candidate, attempt, error=0.3, fitness=fitness, metrics={"acc": 0.7})
    round = SEED_ROUND if candidate.startswith("seed") else int(candidate[1:4])
    path = intake.run.round(round).result(candidate, attempt)
    write_atomic(path, seal(RUN_ID, 1, replace(found, **changes)))


def play(intake: Intake, round: int, fitnesses: list[float]) -> list[str]:
    """Admit, evaluate and close a round; return the survivors."""
    first = 100 * (round + 1)
    names = admit(intake, round, [first + i for i in range(len(fitnesses))])
    for candidate, fitness in zip(names, fitnesses, strict=True):
        report(intake, candidate, fitness)
    intake.collect(round)
    intake.close(round)
    return [entry.candidate.id for entry in intake.store.survivors(round)]


def entry(intake: Intake, id: str) -> Entry:
    found = intake.store.entry(id)
    assert found is not None
    return found


def plant(intake: Intake) -> None:
    """Evaluate and close the seeds: w8 is the fittest, w32 fails."""
    report(intake, "seed-w8", -1.0)
    report(intake, "seed-w16", -2.0)
    report(intake, "seed-w32", None, status=Status.TIMEOUT)
    intake.collect(SEED_ROUND)
    intake.close(SEED_ROUND)


def ids(examples: Iterable[Example]) -> list[str]:
    return [example.candidate_id for example in examples]


def test_the_fittest_is_followed_without_looking_at_all_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what was trained since, some is worse, some better, and some fitter still with too large an error."""
    intake = make(error_threshold=0.5)
    assert intake.fittest() is None
    plant(intake)
    scores, asked = intake.store.scores, list[int]()

    def noted() -> Iterator[Score]:
        asked.append(1)
        return scores()

    monkeypatch.setattr(intake.store, "scores", noted)
    names = admit(intake, 0, [100, 101, 102, 103])
    found = []
    for candidate, fitness, error in zip(names, (-3.0, -0.5, -0.1, -9.0), (0.3, 0.3, 0.9, 0.3), strict=True):
        report(intake, candidate, fitness, error=error)
        intake.collect(0)
        fittest = intake.fittest()
        assert fittest is not None
        found.append(fittest.id)
    assert not asked
    assert found == ["seed-w8", names[1], names[1], names[1]]
    assert [fittest] == intake.best(1)


def test_the_trained_seeds_are_the_parents_of_round_0(make: Make) -> None:
    intake = make()
    plant(intake)
    assert ids(intake.parents(0)) == ["seed-w8", "seed-w16"]
    assert intake.parents(0)[0].source == program(8)
    assert intake.tuning_examples(0) == []


def test_admitting_twice_changes_nothing(make: Make) -> None:
    intake = make()
    names = admit(intake, 0, [5, 8, 5, 6])
    rows = intake.store.rows("candidates")
    admit(intake, 0, [5, 8, 5, 6])
    assert intake.store.rows("candidates") == rows
    entries = [entry(intake, n).candidate for n in names]
    assert [(c.status, c.detail) for c in entries] == [
        (Status.PENDING, ""),
        (Status.DUPLICATE, "same program as seed-w8"),
        (Status.DUPLICATE, "same program as r000p00s000"),
        (Status.PENDING, ""),
    ]
    assert sorted(os.listdir(intake.run.round(0).candidates)) == [f"{name(0, 0)}.py", f"{name(0, 3)}.py"]


def test_a_duplicate_of_an_earlier_round_is_found(make: Make) -> None:
    intake = make()
    admit(intake, 0, [5])
    (later,) = admit(intake, 1, [5])
    assert entry(intake, later).candidate.detail == "same program as r000p00s000"


def test_candidate_files_are_there_before_the_rows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = make()
    monkeypatch.setattr(Store, "add_candidates", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        admit(intake, 0, [5])
    assert intake.run.round(0).candidate(name(0, 0)).read_text().startswith("import torch.nn as nn\n")


def test_results_are_collected_as_they_arrive_and_once(make: Make) -> None:
    intake = make()
    one, two = admit(intake, 0, [5, 6])
    assert intake.collect(0) == []
    report(intake, one, -1.0)
    assert [r.candidate_id for r in intake.collect(0)] == [one]
    assert intake.collect(0) == []
    report(intake, two, -2.0)
    assert [r.candidate_id for r in intake.collect(0)] == [two]
    assert intake.store.pending(0) == []


def test_a_restarted_driver_collects_the_same_again(make: Make) -> None:
    first = make()
    (one,) = admit(first, 0, [5])
    report(first, one, -1.0)
    first.collect(0)
    rows = first.store.rows("candidates"), first.store.rows("pool")
    again = make(epoch=2)
    again.collect(0)
    assert (again.store.rows("candidates"), again.store.rows("pool")) == rows


def test_a_result_for_a_candidate_that_was_refused_is_foreign(make: Make) -> None:
    intake = make()
    admit(intake, 0, [8])
    report(intake, name(0, 0), -1.0)
    assert intake.collect(0) == []
    assert list(intake.store.pool()) == []
    assert entry(intake, name(0, 0)).candidate.status is Status.DUPLICATE
    assert "no such candidate" in (intake.run.round(0).quarantine / f"{name(0, 0)}.1.json.reason").read_text()


def test_rows_and_conclusions_are_one_transaction(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = make()
    (one,) = admit(intake, 0, [5])
    report(intake, one, -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "add_to_pool", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            intake.collect(0)
    assert intake.store.rows("results") == []
    assert intake.store.pending(0) == [one]
    intake.collect(0)
    assert list(intake.store.pool()) == [one]


def test_machine_faults_are_retried_and_never_charged_to_the_candidate(make: Make) -> None:
    intake = make(retries=2)
    (one,) = admit(intake, 0, [5])
    for attempt, fault in [(1, Status.NODE_FAIL), (2, Status.PREEMPTED)]:
        report(intake, one, None, attempt, status=fault)
        intake.collect(0)
        assert intake.store.pending(0) == [one]
    report(intake, one, -1.0, 3)
    intake.collect(0)
    found = entry(intake, one)
    assert found.result is not None
    assert (found.candidate.status, found.result.attempt, found.fitness) == (Status.TRAINED, 3, -1.0)
    assert list(intake.store.pool()) == [one]


def test_a_candidate_is_given_up_after_its_last_retry(make: Make) -> None:
    intake = make(retries=1)
    (one,) = admit(intake, 0, [5])
    report(intake, one, None, 1)
    report(intake, one, None, 2, status=Status.CONTAINER_ERROR)
    intake.collect(0)
    assert intake.store.pending(0) == []
    assert entry(intake, one).candidate.status is Status.CONTAINER_ERROR
    assert list(intake.store.pool()) == []


def test_fewer_retries_than_before_do_not_bring_a_fault_back(make: Make) -> None:
    intake = make(retries=0)
    (one,) = admit(intake, 0, [5])
    report(intake, one, None, 1)
    report(intake, one, -1.0, 2)
    intake.collect(0)
    assert entry(intake, one).candidate.status is Status.TRAINED


@pytest.mark.parametrize("status", [s for s in Status if s.is_candidate_fault])
def test_a_candidates_own_fault_is_final(make: Make, status: Status) -> None:
    intake = make()
    (one,) = admit(intake, 0, [5])
    report(intake, one, None, status=status)
    intake.collect(0)
    assert entry(intake, one).candidate.status is status


def test_only_errors_below_alpha_get_into_the_pool(make: Make) -> None:
    """Algorithm 3: `if c.error < alpha`."""
    intake = make(error_threshold=0.5)
    names = admit(intake, 0, [5, 6, 7])
    for candidate, error in zip(names, (0.49, 0.5, 0.9), strict=True):
        report(intake, candidate, -1.0, error=error)
    intake.collect(0)
    assert list(intake.store.pool()) == names[:1]


def test_the_fittest_survive_and_retire(make: Make) -> None:
    intake = make(survivors=2)
    plant(intake)
    assert play(intake, 0, [-5.0, -1.0, -3.0, -2.0]) == [name(0, 1), name(0, 3)]
    assert ids(intake.parents(1)) == [name(0, 1), name(0, 3)]
    # G holds what is left of round 0 and all of round 1.
    assert play(intake, 1, [-4.0, -9.0]) == [name(0, 2), name(1, 0)]


def test_parents_that_do_not_retire_may_survive_again(make: Make) -> None:
    intake = make(survivors=2, retire_parents=False)
    plant(intake)
    assert play(intake, 0, [-5.0, -1.0, -2.0]) == [name(0, 1), name(0, 2)]
    assert play(intake, 1, [-1.5]) == [name(0, 1), name(1, 0)]


def test_the_pool_can_be_the_last_round_only(make: Make) -> None:
    intake = make(survivors=2, pool="last_round")
    plant(intake)
    play(intake, 0, [-1.0, -2.0, -3.0])
    assert play(intake, 1, [-9.0, -8.0, -7.0]) == [name(1, 2), name(1, 1)]


@pytest.mark.parametrize("seeds_in_pool", [True, False])
def test_seeds_are_selected_again_only_if_they_are_in_the_pool(make: Make, seeds_in_pool: bool) -> None:
    intake = make(survivors=2, seeds_in_pool=seeds_in_pool)
    plant(intake)
    survivors = play(intake, 0, [-1.5, -3.0])
    assert survivors == (["seed-w8", name(0, 0)] if seeds_in_pool else [name(0, 0), name(0, 1)])


def test_with_fewer_than_p_in_the_pool_all_of_them_survive(make: Make) -> None:
    intake = make(survivors=10)
    plant(intake)
    assert play(intake, 0, [-2.0, -1.0]) == [name(0, 1), name(0, 0)]


def test_with_nothing_in_the_pool_the_last_parents_go_on(make: Make) -> None:
    intake = make()
    plant(intake)
    admit(intake, 0, [5])
    report(intake, name(0, 0), None, status=Status.TIMEOUT)
    intake.collect(0)
    intake.close(0)
    assert ids(intake.parents(1)) == ["seed-w8", "seed-w16"]


@pytest.mark.parametrize("pool", ["all_rounds", "last_round"])
def test_random_parents_do_not_look_at_fitness(make: Make, pool: str) -> None:
    intake = make(variant="random_parents", survivors=4, seed=3, pool=pool)
    plant(intake)
    first = play(intake, 0, [float(-i) for i in range(1, 21)])
    assert len(set(first)) == 4
    assert first != [name(0, i) for i in range(4)]
    second = play(intake, 1, [float(-i) for i in range(1, 21)])
    assert not set(first) & set(second)
    assert all(s.startswith("r001") for s in second) == (pool == "last_round")


def test_what_survivors_json_says_is_never_computed_again(make: Make) -> None:
    intake = make()
    plant(intake)
    admit(intake, 0, [5, 6])
    report(intake, name(0, 0), -1.0)
    report(intake, name(0, 1), -2.0)
    intake.collect(0)
    write_atomic(intake.run.round(0).survivors, json.dumps([name(0, 1)]))
    for _ in range(2):
        intake.close(0)
        assert ids(intake.parents(1)) == [name(0, 1)]
    assert list(intake.store.pool()) == [name(0, 0)]


@pytest.mark.parametrize("damaged", ["", "[1]", '{"a": 1}', '["r000p00s000', '["nobody"]'])
def test_damaged_survivors_are_named(make: Make, damaged: str) -> None:
    intake = make()
    path = intake.run.round(SEED_ROUND).survivors
    write_atomic(path, damaged)
    with pytest.raises(RunFolderError, match=f"{path}: .*; delete it to have the survivors selected again"):
        intake.close(SEED_ROUND)
    assert not intake.store.is_closed(SEED_ROUND)


@pytest.mark.parametrize("tuning_data", ["unselected", "all_evaluated"])
def test_the_soft_prompt_is_tuned_on_the_last_rounds_children(make: Make, tuning_data: str) -> None:
    """Algorithm 1, line 11: C_EVALED \\ P; those at or above alpha are in neither."""
    intake = make(survivors=1, tuning_data=tuning_data)
    plant(intake)
    names = admit(intake, 0, [5, 6, 7, 9, 10])
    for candidate, fitness in zip(names, [-3.0, -1.0, -2.0], strict=False):
        report(intake, candidate, fitness)
    report(intake, names[3], -0.5, error=0.5)
    report(intake, names[4], None, status=Status.NONFINITE)
    intake.collect(0)
    intake.close(0)
    expected = [names[2], names[0]] if tuning_data == "unselected" else [names[1], names[2], names[0]]
    assert ids(intake.tuning_examples(1)) == expected


def test_an_example_shows_what_was_measured(make: Make) -> None:
    intake = make()
    plant(intake)
    first = intake.parents(0)[0]
    assert (first.num_params, first.metric) == (100, 0.7)
