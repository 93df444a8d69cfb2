import json
import os
from dataclasses import replace

import pytest
from support.driving import RUN_ID, TASK, make_run, program
from support.requests import request
from support.rows import completion, trained

from evohpc.config.search import load_config
from evohpc.driver.intake import Ledger
from evohpc.envelopes import seal
from evohpc.errors import RunFolderError
from evohpc.files import write_atomic
from evohpc.messages import SEED_ROUND, Prompt, Result, Sample, Status
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced")


@pytest.fixture
def make(tmp_path):
    """Returns a function from config changes to a ledger with its seeds admitted."""
    stores = []

    def ledger(epoch: int = 1, **search: object) -> Ledger:
        run = make_run(tmp_path / "run")
        store = Store(run.database, epoch=epoch)
        stores.append(store)
        config = load_config(run.config)
        evaluation = config.evaluation.model_copy(update={k: search.pop(k) for k in ["retries"] if k in search})
        changed = config.model_copy(
            update={"search": config.search.model_copy(update=search), "evaluation": evaluation}
        )
        made = Ledger(run, RUN_ID, changed, TASK, store)
        made.admit_seeds()
        return made

    yield ledger
    for store in stores:
        store.close()


def name(round: int, sample: int) -> str:
    return f"r{round:03d}p00s{sample:03d}"


def admit(ledger: Ledger, round: int, widths: list[int]) -> list[str]:
    """Enter children of these widths; return their ids."""
    samples = tuple(Sample(i, i, 1.0) for i in range(len(widths)))
    asked = request(run_id=RUN_ID, round=round, prompts=(Prompt(0, "p", (), samples),))
    bodies = [program(width).partition("nn.Module):\n")[2] for width in widths]
    ledger.admit_children(asked, [completion(0, i, body) for i, body in enumerate(bodies)])
    return [name(round, i) for i in range(len(widths))]


def report(ledger: Ledger, candidate: str, fitness: float | None, attempt: int = 1, **changes: object) -> None:
    """Put a result on disk: trained with that fitness, or lost."""
    found = Result(candidate, attempt, Status.LOST)
    if fitness is not None:
        found = trained(candidate, attempt, error=0.3, fitness=fitness, metrics={"acc": 0.7})
    round = SEED_ROUND if candidate.startswith("seed") else int(candidate[1:4])
    path = ledger.run.round(round).result(candidate, attempt)
    write_atomic(path, seal(RUN_ID, 1, replace(found, **changes)))


def play(ledger: Ledger, round: int, fitnesses: list[float]) -> list[str]:
    """Admit, evaluate and close a round; return the survivors."""
    first = 100 * (round + 1)
    names = admit(ledger, round, [first + i for i in range(len(fitnesses))])
    for candidate, fitness in zip(names, fitnesses, strict=True):
        report(ledger, candidate, fitness)
    ledger.collect(round)
    ledger.close(round)
    return [entry.candidate.id for entry in ledger.store.survivors(round)]


def plant(ledger: Ledger) -> None:
    """Evaluate and close the seeds: w8 is the fittest, w32 fails."""
    report(ledger, "seed-w8", -1.0)
    report(ledger, "seed-w16", -2.0)
    report(ledger, "seed-w32", None, status=Status.TIMEOUT)
    ledger.collect(SEED_ROUND)
    ledger.close(SEED_ROUND)


def ids(examples) -> list[str]:
    return [example.candidate_id for example in examples]


def test_the_trained_seeds_are_the_parents_of_round_0(make):
    ledger = make()
    plant(ledger)
    assert ids(ledger.parents(0)) == ["seed-w8", "seed-w16"]
    assert ledger.parents(0)[0].source == program(8)
    assert ledger.tuning_examples(0) == []


def test_admitting_twice_changes_nothing(make):
    ledger = make()
    names = admit(ledger, 0, [5, 8, 5, 6])
    rows = ledger.store.rows("candidates")
    admit(ledger, 0, [5, 8, 5, 6])
    assert ledger.store.rows("candidates") == rows
    entries = [ledger.store.entry(n).candidate for n in names]
    assert [(c.status, c.detail) for c in entries] == [
        (Status.PENDING, ""),
        (Status.DUPLICATE, "same program as seed-w8"),
        (Status.DUPLICATE, "same program as r000p00s000"),
        (Status.PENDING, ""),
    ]
    assert sorted(os.listdir(ledger.run.round(0).candidates)) == [f"{name(0, 0)}.py", f"{name(0, 3)}.py"]


def test_a_duplicate_of_an_earlier_round_is_found(make):
    ledger = make()
    admit(ledger, 0, [5])
    (later,) = admit(ledger, 1, [5])
    assert ledger.store.entry(later).candidate.detail == "same program as r000p00s000"


def test_candidate_files_are_there_before_the_rows(make, monkeypatch):
    ledger = make()
    monkeypatch.setattr(Store, "add_candidates", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        admit(ledger, 0, [5])
    assert ledger.run.round(0).candidate(name(0, 0)).read_text().startswith("import torch.nn as nn\n")


def test_results_are_collected_as_they_arrive_and_once(make):
    ledger = make()
    one, two = admit(ledger, 0, [5, 6])
    assert ledger.collect(0) == []
    report(ledger, one, -1.0)
    assert [r.candidate_id for r in ledger.collect(0)] == [one]
    assert ledger.collect(0) == []
    report(ledger, two, -2.0)
    assert [r.candidate_id for r in ledger.collect(0)] == [two]
    assert ledger.store.pending(0) == []


def test_a_restarted_driver_collects_the_same_again(make):
    first = make()
    (one,) = admit(first, 0, [5])
    report(first, one, -1.0)
    first.collect(0)
    rows = first.store.rows("candidates"), first.store.rows("pool")
    again = make(epoch=2)
    again.collect(0)
    assert (again.store.rows("candidates"), again.store.rows("pool")) == rows


def test_a_result_for_a_candidate_that_was_refused_is_foreign(make):
    ledger = make()
    admit(ledger, 0, [8])
    report(ledger, name(0, 0), -1.0)
    assert ledger.collect(0) == []
    assert list(ledger.store.pool()) == []
    assert ledger.store.entry(name(0, 0)).candidate.status is Status.DUPLICATE
    assert "no such candidate" in (ledger.run.round(0).quarantine / f"{name(0, 0)}.1.json.reason").read_text()


def test_rows_and_conclusions_are_one_transaction(make, monkeypatch):
    ledger = make()
    (one,) = admit(ledger, 0, [5])
    report(ledger, one, -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "add_to_pool", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ledger.collect(0)
    assert ledger.store.rows("results") == []
    assert ledger.store.pending(0) == [one]
    ledger.collect(0)
    assert list(ledger.store.pool()) == [one]


def test_machine_faults_are_retried_and_never_charged_to_the_candidate(make):
    ledger = make(retries=2)
    (one,) = admit(ledger, 0, [5])
    for attempt, fault in [(1, Status.NODE_FAIL), (2, Status.PREEMPTED)]:
        report(ledger, one, None, attempt, status=fault)
        ledger.collect(0)
        assert ledger.store.pending(0) == [one]
    report(ledger, one, -1.0, 3)
    ledger.collect(0)
    entry = ledger.store.entry(one)
    assert (entry.candidate.status, entry.result.attempt, entry.result.fitness) == (Status.TRAINED, 3, -1.0)
    assert list(ledger.store.pool()) == [one]


def test_a_candidate_is_given_up_after_its_last_retry(make):
    ledger = make(retries=1)
    (one,) = admit(ledger, 0, [5])
    report(ledger, one, None, 1)
    report(ledger, one, None, 2, status=Status.CONTAINER_ERROR)
    ledger.collect(0)
    assert ledger.store.pending(0) == []
    assert ledger.store.entry(one).candidate.status is Status.CONTAINER_ERROR
    assert list(ledger.store.pool()) == []


def test_fewer_retries_than_before_do_not_bring_a_fault_back(make):
    ledger = make(retries=0)
    (one,) = admit(ledger, 0, [5])
    report(ledger, one, None, 1)
    report(ledger, one, -1.0, 2)
    ledger.collect(0)
    assert ledger.store.entry(one).candidate.status is Status.TRAINED


@pytest.mark.parametrize("status", [s for s in Status if s.is_candidate_fault])
def test_a_candidates_own_fault_is_final(make, status):
    ledger = make()
    (one,) = admit(ledger, 0, [5])
    report(ledger, one, None, status=status)
    ledger.collect(0)
    assert ledger.store.entry(one).candidate.status is status


def test_only_errors_below_alpha_get_into_the_pool(make):
    """Algorithm 3: `if c.error < alpha`."""
    ledger = make(error_threshold=0.5)
    names = admit(ledger, 0, [5, 6, 7])
    for candidate, error in zip(names, (0.49, 0.5, 0.9), strict=True):
        report(ledger, candidate, -1.0, error=error)
    ledger.collect(0)
    assert list(ledger.store.pool()) == names[:1]


def test_the_fittest_survive_and_retire(make):
    ledger = make(survivors=2)
    plant(ledger)
    assert play(ledger, 0, [-5.0, -1.0, -3.0, -2.0]) == [name(0, 1), name(0, 3)]
    assert ids(ledger.parents(1)) == [name(0, 1), name(0, 3)]
    # G holds what is left of round 0 and all of round 1.
    assert play(ledger, 1, [-4.0, -9.0]) == [name(0, 2), name(1, 0)]


def test_parents_that_do_not_retire_may_survive_again(make):
    ledger = make(survivors=2, retire_parents=False)
    plant(ledger)
    assert play(ledger, 0, [-5.0, -1.0, -2.0]) == [name(0, 1), name(0, 2)]
    assert play(ledger, 1, [-1.5]) == [name(0, 1), name(1, 0)]


def test_the_pool_can_be_the_last_round_only(make):
    ledger = make(survivors=2, pool="last_round")
    plant(ledger)
    play(ledger, 0, [-1.0, -2.0, -3.0])
    assert play(ledger, 1, [-9.0, -8.0, -7.0]) == [name(1, 2), name(1, 1)]


@pytest.mark.parametrize("seeds_in_pool", [True, False])
def test_seeds_are_selected_again_only_if_they_are_in_the_pool(make, seeds_in_pool):
    ledger = make(survivors=2, seeds_in_pool=seeds_in_pool)
    plant(ledger)
    survivors = play(ledger, 0, [-1.5, -3.0])
    assert survivors == (["seed-w8", name(0, 0)] if seeds_in_pool else [name(0, 0), name(0, 1)])


def test_with_fewer_than_p_in_the_pool_all_of_them_survive(make):
    ledger = make(survivors=10)
    plant(ledger)
    assert play(ledger, 0, [-2.0, -1.0]) == [name(0, 1), name(0, 0)]


def test_with_nothing_in_the_pool_the_last_parents_go_on(make):
    ledger = make()
    plant(ledger)
    admit(ledger, 0, [5])
    report(ledger, name(0, 0), None, status=Status.TIMEOUT)
    ledger.collect(0)
    ledger.close(0)
    assert ids(ledger.parents(1)) == ["seed-w8", "seed-w16"]


@pytest.mark.parametrize("pool", ["all_rounds", "last_round"])
def test_random_parents_do_not_look_at_fitness(make, pool):
    ledger = make(variant="random_parents", survivors=4, seed=3, pool=pool)
    plant(ledger)
    first = play(ledger, 0, [float(-i) for i in range(1, 21)])
    assert len(set(first)) == 4
    assert first != [name(0, i) for i in range(4)]
    second = play(ledger, 1, [float(-i) for i in range(1, 21)])
    assert not set(first) & set(second)
    assert all(s.startswith("r001") for s in second) == (pool == "last_round")


def test_what_survivors_json_says_is_never_computed_again(make):
    ledger = make()
    plant(ledger)
    admit(ledger, 0, [5, 6])
    report(ledger, name(0, 0), -1.0)
    report(ledger, name(0, 1), -2.0)
    ledger.collect(0)
    write_atomic(ledger.run.round(0).survivors, json.dumps([name(0, 1)]))
    for _ in range(2):
        ledger.close(0)
        assert ids(ledger.parents(1)) == [name(0, 1)]
    assert list(ledger.store.pool()) == [name(0, 0)]


@pytest.mark.parametrize("damaged", ["", "[1]", '{"a": 1}', '["r000p00s000', '["nobody"]'])
def test_damaged_survivors_are_named(make, damaged):
    ledger = make()
    path = ledger.run.round(SEED_ROUND).survivors
    write_atomic(path, damaged)
    with pytest.raises(RunFolderError, match=f"{path}: .*; delete it to have the survivors selected again"):
        ledger.close(SEED_ROUND)
    assert not ledger.store.is_closed(SEED_ROUND)


@pytest.mark.parametrize("tuning_data", ["unselected", "all_evaluated"])
def test_the_soft_prompt_is_tuned_on_the_last_rounds_children(make, tuning_data):
    """Algorithm 1, line 11: C_EVALED \\ P; those at or above alpha are in neither."""
    ledger = make(survivors=1, tuning_data=tuning_data)
    plant(ledger)
    names = admit(ledger, 0, [5, 6, 7, 9, 10])
    for candidate, fitness in zip(names, [-3.0, -1.0, -2.0], strict=False):
        report(ledger, candidate, fitness)
    report(ledger, names[3], -0.5, error=0.5)
    report(ledger, names[4], None, status=Status.NONFINITE)
    ledger.collect(0)
    ledger.close(0)
    expected = [names[2], names[0]] if tuning_data == "unselected" else [names[1], names[2], names[0]]
    assert ids(ledger.tuning_examples(1)) == expected


def test_an_example_shows_what_was_measured(make):
    ledger = make()
    plant(ledger)
    first = ledger.parents(0)[0]
    assert (first.num_params, first.metric) == (100, 0.7)
