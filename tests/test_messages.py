import pytest

from evohpc.messages import Isolation, Status, candidate_id


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


@pytest.mark.parametrize(("place", "name"), [((3, 7, 12), "r003p07s012"), ((0, 0, 0), "r000p00s000")])
def test_a_childs_id_tells_its_place(place: tuple[int, int, int], name: str) -> None:
    assert candidate_id(*place) == name


def test_ids_differ_whatever_the_size_of_a_search() -> None:
    places = [(r, p, s) for r in (1, 11, 111, 1111) for p in (1, 11, 111) for s in (1, 11, 111, 1111)]
    assert len({candidate_id(*place) for place in places}) == len(places)
