from evohpc.messages import Isolation, Status


def test_every_status_is_of_exactly_one_kind() -> None:
    for status in Status:
        kinds = [status.is_refused, status.is_machine_fault, status.is_candidate_fault]
        assert sum(kinds) == (status not in (Status.PENDING, Status.TRAINED, Status.DROPPED, Status.TASK_ERROR)), status


def test_isolation_is_ordered_by_what_it_holds_off() -> None:
    assert [level.rank for level in (Isolation.NONE, Isolation.PROCESS, Isolation.CONFINED, Isolation.CONTAINER)] == [
        0,
        1,
        2,
        3,
    ]
