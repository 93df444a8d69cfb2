from pathlib import Path

from evohpc.messages import SEED_ROUND
from evohpc.run_folder import RoundDir, RunDir

RUN = RunDir(Path("/r"))


def test_every_path_lies_in_the_run_and_has_its_own_place():
    round = RUN.round(3)
    values = [(RunDir, RUN), (RoundDir, round)]
    paths = [
        value
        for kind, folder in values
        for name in vars(kind)
        if not name.startswith("_")
        if isinstance(value := getattr(folder, name, None), Path) and value != folder.path
    ]
    paths += [round.job("j"), round.candidate("c"), round.result("c", 1), round.result("c", 2), round.log("c", 1)]
    assert len(paths) == len(set(paths)) > 20
    assert all(path.is_relative_to("/r") for path in paths)


def test_rounds_have_their_folders():
    assert [RUN.round(n).path.name for n in (SEED_ROUND, 0, 12, 1000)] == ["seeds", "000", "012", "1000"]


def test_labels_are_not_beside_what_candidates_get():
    assert RUN.labels.parent not in (RUN.data, *RUN.data.parents)
