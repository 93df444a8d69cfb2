"""A candidate's whole processor, and the shipped ones."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from support.clrs.clrs_candidates import PROCESSORS, SEEDS, load_candidate
from support.command_line import call
from support.paths import ROOT
from torch import nn

import evohpc
from evohpc.config.evaluation import ScreeningConfig
from evohpc.evolution.screening import screen
from evohpc.messages import Status
from evohpc.tasks.clrs.features import features
from evohpc.tasks.clrs.linear import haiku_defaults
from evohpc.tasks.clrs.network import Network, Tensors
from evohpc.tasks.clrs.sampling import training_batches
from evohpc.tasks.clrs.task import Clrs30

SHIPPED = sorted(PROCESSORS.glob("*.py"))
SAME = {  # what the first seed calls otherwise than the published network does
    "message.1": "message.0",
    "message.3": "message.2",
    **{f"triplet_{kind}s.{place}": f"triplets.{kind}_{place + 1}" for kind in ("node", "edge") for place in range(3)},
    "triplet_graph": "triplets.graph",
    "output": "triplets.output",
}


def small(**options: Any) -> Clrs30:
    recipe = {"hidden": 8, "steps": 3, "eval_every": 2, "batch_size": 4, "samples": 6, "sizes": (4, 5), **options}
    return Clrs30(algorithm="bfs", searched="processor", **recipe)


def published_name(name: str) -> str:
    layer, _, parameter = name.removeprefix("processor.own.").rpartition(".")
    return f"processor.{SAME.get(layer, layer)}.{parameter}" if name.startswith("processor.own.") else name


@pytest.mark.parametrize("algorithm", ["bfs", "dijkstra", "floyd_warshall", "insertion_sort", "graham_scan"])
def test_the_first_seed_is_the_published_processor(algorithm: str) -> None:
    of, batch = features(algorithm), Tensors.of(next(training_batches(algorithm, 0, 2, (5,))))
    own = load_candidate(PROCESSORS / "p1_triplet_gmpnn.py").Processor(8, 16)
    published = Network(of, 16, load_candidate(SEEDS / "v1_standard.py").Triplets(8, 16)).eval()
    found = Network(of, 16, None, own).eval()
    with torch.no_grad():
        published(batch), found(batch)
        found.load_state_dict({name: published.state_dict()[published_name(name)] for name in found.state_dict()})
        assert len(found.state_dict()) == len(published.state_dict())
        expected, logits = published(batch), found(batch)
    for stage in ("outputs", "hints"):
        for name, tensor in getattr(expected, stage).items():
            torch.testing.assert_close(getattr(logits, stage)[name], tensor, rtol=1e-4, atol=1e-4)


def test_a_gate_is_nearly_shut_at_first() -> None:
    with haiku_defaults():
        made = [load_candidate(path).Processor(8, 16) for path in SHIPPED]
    gates = [each.gate for each in made if hasattr(each, "gate")]
    assert len(gates) == 2
    assert all((gate.bias == -3).all() for gate in gates)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_processors_pass_screening_and_learn(path: Path) -> None:
    task = small(hidden=16, steps=80, batch_size=16, eval_every=80)
    verdict = screen(f"{task.interface.prelude}\n\n{path.read_text()}", task.interface, ScreeningConfig())
    assert verdict.status is Status.PENDING, verdict.detail
    torch.manual_seed(1)
    splits, model = task.prepare(0), task.build(load_candidate(path))
    first, *_, last = task.train(model, splits.train, 1)
    assert last["loss"] < 0.7 * first["loss"]
    fresh = task.build(load_candidate(path))
    fresh.load_state_dict(model.state_dict(), strict=True)
    one, other = (task.predict(each.eval(), splits.inputs)["pi"] for each in (model, fresh))
    np.testing.assert_array_equal(one, other)


def test_shipped_processors_are_all_different() -> None:
    interface = small().interface
    hashes = {screen(path.read_text(), interface, ScreeningConfig()).code_hash for path in SHIPPED}
    assert len(hashes) == len(SHIPPED) == 4


@pytest.mark.parametrize(("searched", "folder"), [("processor", SEEDS), ("triplets", PROCESSORS)])
def test_a_candidate_of_the_other_kind_is_refused(searched: Any, folder: Path) -> None:
    interface = Clrs30(algorithm="bfs", searched=searched).interface
    for path in folder.glob("*.py"):
        verdict = screen(path.read_text(), interface, ScreeningConfig())
        assert verdict.detail == f"defines class {searched.capitalize()} 0 times"


class Wrong(nn.Module):
    answer = ""

    def __init__(self, nb_triplet_fts: int, out_size: int) -> None:
        super().__init__()

    def forward(self, z: torch.Tensor, edge_fts: torch.Tensor, graph_fts: torch.Tensor, hidden: torch.Tensor) -> object:
        return {
            "alone": hidden,
            "wide": (z, edge_fts),
            "double": (hidden.double(), None),
            "flat": (hidden, z),
            "double_pairs": (hidden, edge_fts.double()),
            "nothing": (None, None),
        }[self.answer]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ("alone", ValueError, r"shape \(4, 4, 8\), it must be \(hidden state, messages or None\)"),
        ("wide", ValueError, r"\(4, 4, 16\) as hidden state, it must be \(batch, n, h\), here \(4, 4, 8\)"),
        ("double", TypeError, "Processor returned torch.float64, it must be torch.float32"),
        ("flat", ValueError, r"shape \(4, 4, 16\), it must be \(batch, n, n, any\), here \(4, 4, 4, 'any'\)"),
        ("double_pairs", TypeError, "Processor returned torch.float64, it must be torch.float32"),
        ("nothing", ValueError, "Processor returned NoneType as hidden state"),
    ],
)
def test_wrong_answers_are_named(answer: str, error: type[Exception], said: str) -> None:
    task, module = small(), ModuleType("candidate")
    module.__dict__["Processor"] = type("Processor", (Wrong,), {"answer": answer})
    with pytest.raises(error, match=said):
        next(task.train(task.build(module), {}, 1))


def test_a_processor_must_be_a_module() -> None:
    module = ModuleType("candidate")
    module.__dict__["Processor"] = lambda nb, out: 3
    with pytest.raises(TypeError, match=r"Processor is no nn\.Module"):
        small().build(module)


@pytest.mark.slow
def test_a_search_over_processors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ("hidden=8", "steps=20", "samples=8", "eval_every=10", "sizes=[4,5]", "algorithm=bfs")
    changes = [f"task_options.{option}" for option in recipe] + ["search.rounds=1", "search.error_threshold=1"]
    arguments = [part for change in changes for part in ("--set", change)]
    code, _, said = call(capsys, "run", tmp_path / "run", ROOT / "configs/clrs_processor.yaml", *arguments)
    assert code == 0, said
    candidates = evohpc.load(tmp_path / "run").candidates
    seeds, children = (candidates[(candidates["round"] == -1) == is_seed] for is_seed in (True, False))
    assert list(seeds["outcome"]) == ["trained"] * 4
    assert len(children) == 9
    assert "trained" in set(children["outcome"])
