"""The transfer of models to other algorithms."""

import csv
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "clrs_parity"))
from clrs_candidates import DISCOVERED, SEEDS

from evohpc.tasks.clrs import transfer

MODELS = [str(SEEDS / "v1_standard.py"), str(DISCOVERED / "quad_node_min_max.py")]
QUICK = [f"--set={option}" for option in ("steps=2", "hidden=8", "samples=2", "eval_every=1", "batch_size=2")]


def rows(out):
    return list(csv.DictReader((out / "table.csv").read_text().splitlines()))


def test_table_has_sizes_mean_and_standard_error(tmp_path, capsys):
    asked = [str(tmp_path), *MODELS, "--algorithms", "segments_intersect", "--repeats", "2", *QUICK]
    assert transfer.main(asked) == 0
    found = rows(tmp_path)
    assert [(row["model"], row["runs"]) for row in found] == [("quad_node_min_max", "2"), ("v1_standard", "2")]
    assert int(found[0]["num_params"]) < int(found[1]["num_params"])
    assert capsys.readouterr().out == (tmp_path / "table.csv").read_text()
    single = json.loads((tmp_path / "v1_standard.segments_intersect.1.json").read_text())
    assert json.loads(single["options"])["steps"] == 2
    assert 1 <= single["best_step"] <= 2


def test_mean_and_standard_error(tmp_path):
    for repeat, accuracy in enumerate((0.9, 0.8, 0.7)):
        (tmp_path / f"{repeat}.json").write_text(
            json.dumps({"model": "m", "algorithm": "bfs", "repeat": repeat, "num_params": 5, "accuracy": accuracy})
        )
    row = transfer.table(tmp_path)[0]
    assert (row["accuracy"], row["standard_error"], row["runs"]) == (80.0, 5.77, 3)


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    asked = [str(tmp_path), MODELS[0], "--algorithms", "segments_intersect", "--repeats", "1", *QUICK]
    assert transfer.main(asked) == 0
    monkeypatch.setattr(transfer, "run", lambda *_: pytest.fail("trained again"))
    assert transfer.main(asked) == 0


@pytest.mark.parametrize("change", ["model", "options"])
def test_results_of_something_else_are_never_taken_for_these(tmp_path, capsys, change):
    model, out = tmp_path / "model.py", tmp_path / "out"
    model.write_bytes(Path(MODELS[0]).read_bytes())
    asked = [str(out), str(model), "--algorithms", "segments_intersect", "--repeats", "1", *QUICK]
    assert transfer.main(asked) == 0
    if change == "model":
        model.write_text(model.read_text() + "\n")
    assert transfer.main(asked + (["--set=steps=3"] if change == "options" else [])) == 1
    assert "model.segments_intersect.0.json: is of another" in capsys.readouterr().err


def test_one_of_an_array(tmp_path, capsys):
    asked = [str(tmp_path), *MODELS, "--algorithms", "segments_intersect", "bfs", "--repeats", "2", *QUICK]
    assert transfer.main([*asked, "--count"]) == 0
    assert capsys.readouterr().out == "8\n"
    assert transfer.main([*asked, "--index", "3"]) == 0
    assert [path.name for path in tmp_path.glob("*.json")] == ["quad_node_min_max.segments_intersect.1.json"]


def test_a_failing_model_is_told_and_stops_nobody(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("class Triplets(nn.Module):\n    def __init__(self, a, b):\n        raise KeyError('no')\n")
    out = tmp_path / "out"
    asked = [str(out), str(broken), MODELS[0], "--algorithms", "segments_intersect", "--repeats", "1", *QUICK]
    assert transfer.main(asked) == 0
    assert [(row["model"], row["runs"], row["failure"]) for row in rows(out)] == [
        ("broken", "0", "KeyError: 'no'"),
        ("v1_standard", "1", ""),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.py"], "missing.py: no such model file"),
        ([MODELS[0], MODELS[0]], "two models are called v1_standard"),
        ([MODELS[0], "--algorithms", "sort"], "algorithm is 'sort', it must be one of"),
        ([MODELS[0], "--index", "90"], "--index 90: there are 90 trainings, from 0"),
        ([MODELS[0], "--set", "steps"], "--set steps: write it as option=value"),
        ([MODELS[0], "--set", "stepz=3"], "unexpected keyword argument 'stepz'"),
        ([MODELS[0], "--set", "steps=0"], "steps is 0, it must be above 0"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, arguments, said):
    assert transfer.main([str(tmp_path / "out"), *arguments]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))
