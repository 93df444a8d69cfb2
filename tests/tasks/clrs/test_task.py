"""The task: what a candidate is given, how it is trained, and what comes of its mistakes."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from support.clrs.clrs_candidates import DISCOVERED, PROCESSORS, SEEDS, load_candidate
from support.clrs.streamed import Streamed
from support.paths import ROOT
from torch import nn

from evohpc.config.evaluation import ScreeningConfig
from evohpc.config.search import load_config
from evohpc.config.task_name import TaskName
from evohpc.errors import TaskError
from evohpc.evolution.screening import screen
from evohpc.messages import Status
from evohpc.tasks.base import Splits, load_task
from evohpc.tasks.clrs.batch import Batch
from evohpc.tasks.clrs.features import algorithms, decodes_pairs, features
from evohpc.tasks.clrs.linear import haiku_defaults
from evohpc.tasks.clrs.losses import loss
from evohpc.tasks.clrs.network import Network, Tensors
from evohpc.tasks.clrs.sampling import training_batches, validation_set
from evohpc.tasks.clrs.task import Clrs30

SMALL = {"hidden": 8, "steps": 3, "eval_every": 2, "batch_size": 4, "samples": 6, "sizes": (4, 5)}
SHIPPED = sorted([*SEEDS.glob("*.py"), *DISCOVERED.glob("*.py")])


def small(algorithm: str = "bfs", **options: Any) -> Clrs30:
    return Clrs30(algorithm=algorithm, **{**SMALL, **options})


def standard() -> Any:
    return load_candidate(SEEDS / "v1_standard.py")


def offering(triplets: Any) -> ModuleType:
    """Return a candidate's module."""
    module = ModuleType("candidate")
    module.__dict__["Triplets"] = triplets
    return module


def trained(task: Clrs30, module: Any, seed: int = 1) -> tuple[list[dict[str, float]], list[Any], Splits]:
    """Return rows, checkpoints' predictions and the splits."""
    splits = task.prepare(0)
    torch.manual_seed(seed)
    model = task.build(module)
    rows, predictions = [], []
    for row in task.train(model, splits.train, seed):
        rows.append(row)
        predictions.append(task.predict(model.eval(), splits.inputs))
        model.train()
    return rows, predictions, splits


@pytest.mark.parametrize("algorithm", algorithms())
def test_every_algorithm_trains_and_is_scored(algorithm: str) -> None:
    sizes = (14,) if "matcher" in algorithm else (4,)
    task = small(algorithm, sizes=sizes, steps=1, batch_size=2, samples=3)
    rows, predictions, splits = trained(task, standard())
    assert [row["step"] for row in rows] == [0, 1]
    assert all(np.isfinite(row["loss"]) for row in rows)
    score = task.score(predictions, splits.labels)
    assert 0 <= score.error <= 1
    assert score.metrics["val_accuracy"] == pytest.approx(1 - score.error, abs=1e-6)


@pytest.mark.parametrize("algorithm", algorithms())
def test_triplets_teach_a_network_exactly_where_it_decodes_pairs(algorithm: str) -> None:
    torch.manual_seed(0)
    triplets = standard().Triplets(8, 16)
    made = Network(features(algorithm), 16, triplets)
    batch = Tensors.of(next(training_batches(algorithm, 0, 4, (16,) if "matcher" in algorithm else (5,))))
    found = loss(made, made(batch), batch)
    gradients = torch.autograd.grad(found, tuple(triplets.parameters()), allow_unused=True)
    assert any(grad is not None and bool(grad.any()) for grad in gradients) == decodes_pairs(algorithm)


def test_a_search_for_triplets_that_change_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'minimum', whose answers no triplet representation changes.*or searched"):
        small("minimum").check_search()
    small("minimum", searched="processor").check_search()
    small("bfs").check_search()


def test_inputs_hold_neither_outputs_nor_later_hints() -> None:
    task = small("dijkstra")
    splits = task.prepare(0)
    of = features("dijkstra")
    assert set(splits.inputs) == {"lengths"} | {f"{f.stage}.{f.name}" for f in of if f.stage != "output"}
    assert {array.shape[0] for name, array in splits.inputs.items() if name.startswith("hint.")} == {1}
    assert set(splits.labels) == {"pi"}


def test_validation_set_depends_on_the_secret_where_there_is_one() -> None:
    one, again, other = (small().prepare(seed, secret).inputs["input.A"] for seed, secret in ((0, 1), (1, 1), (0, 2)))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, small().prepare(0).inputs["input.A"])


def test_the_published_test_set_has_no_secret() -> None:
    one, other = (small(evaluate_on="test").prepare(0, secret).inputs["input.A"] for secret in (1, 2))
    assert np.array_equal(one, other)


def test_validation_set_depends_on_the_seed_alone() -> None:
    one, again, other = (small().prepare(seed).inputs["input.A"] for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_checkpoints_come_before_any_step_and_at_the_end() -> None:
    rows, _, _ = trained(small(), standard())
    assert [row["step"] for row in rows] == [0, 2, 3]


def test_training_repeats_with_its_seed() -> None:
    one, again, other = (trained(small(), standard(), seed)[0] for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_training_learns() -> None:
    task = small(hidden=16, steps=80, batch_size=16, eval_every=80)
    rows, _, _ = trained(task, standard())
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]


def test_best_checkpoint_is_scored() -> None:
    task = small()
    splits = task.prepare(0)
    right = {"pi": splits.labels["pi"]}
    wrong = {"pi": splits.labels["pi"] * 0 + 99}
    score = task.score([wrong, right, right], splits.labels)
    assert (score.error, score.metrics, score.choice) == (0.0, {"val_accuracy": 1.0}, {"best_step": 2.0})
    assert task.score([wrong, wrong, right], splits.labels).choice["best_step"] == 3.0


def test_test_mode_keeps_the_checkpoint_that_validates_best() -> None:
    task = small(evaluate_on="test", steps=6)
    rows, predictions, splits = trained(task, standard())
    assert splits.labels["pi"].shape == (6, 64)
    assert len(rows) == 2
    assert rows[1]["step"] in (2, 4, 6)
    assert 0 <= rows[1]["val_accuracy"] <= 1
    assert task.interface.metric == "test_accuracy"
    wrong = {"pi": splits.labels["pi"] * 0 + 99}
    assert task.score([{"pi": splits.labels["pi"]}, wrong], splits.labels).metrics == {"test_accuracy": 0.0}
    assert task.score(predictions, splits.labels).metrics["test_accuracy"] >= 0


@pytest.mark.parametrize("evaluate_on", ["val", "test"])
def test_lazy_modules_that_nothing_calls_do_no_harm(evaluate_on: str) -> None:
    class Forgetful(nn.Module):
        def __init__(self, nb_triplet_fts: int, out_size: int) -> None:
            super().__init__()
            self.used, self.unused, self.norm = nn.LazyLinear(nb_triplet_fts), nn.LazyLinear(4), nn.LazyBatchNorm1d()

        def forward(self, z: torch.Tensor, edge_fts: torch.Tensor, graph_fts: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.used(z)
            return made[:, :, None] + made[:, None]

    rows, _, _ = trained(small(evaluate_on=evaluate_on), offering(Forgetful))
    assert len(rows) == small(evaluate_on=evaluate_on).checkpoints


def test_a_fresh_process_predicts_the_same_from_the_weights() -> None:
    task = small()
    splits = task.prepare(0)
    model = task.build(standard())
    for _ in task.train(model, splits.train, 1):
        pass
    fresh = task.build(standard())
    fresh.load_state_dict(model.state_dict(), strict=True)
    found = task.predict(fresh.eval(), splits.inputs)
    np.testing.assert_array_equal(found["pi"], task.predict(model.eval(), splits.inputs)["pi"])


def test_fitness_is_the_papers() -> None:
    assert small().fitness(531913, 0.0654) == -531913 * 0.0654


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_candidates_pass_screening_and_train(path: Path) -> None:
    task = small("mst_kruskal", steps=1, batch_size=2)
    source = f"{task.interface.prelude}\n\n{path.read_text()}"
    verdict = screen(source, task.interface, ScreeningConfig())
    assert verdict.status is Status.PENDING, verdict.detail
    rows, _, _ = trained(task, load_candidate(path))
    assert np.isfinite(rows[-1]["loss"])


def test_shipped_seeds_are_all_different() -> None:
    interface, config = small().interface, ScreeningConfig()
    hashes = {screen(path.read_text(), interface, config).code_hash for path in SHIPPED}
    assert len(hashes) == len(SHIPPED)


@pytest.mark.parametrize("line", ["import evohpc", "from evohpc.tasks.clrs import sampling", "import clrs"])
def test_samplers_are_out_of_a_candidates_reach(line: str) -> None:
    task = small()
    verdict = screen(f"{line}\n{(SEEDS / 'v1_standard.py').read_text()}", task.interface, ScreeningConfig())
    assert verdict.status is Status.SCREENED


class Wrong(nn.Module):
    answer = ""

    def __init__(self, nb_triplet_fts: int, out_size: int) -> None:
        super().__init__()

    def forward(self, z: torch.Tensor, edge_fts: torch.Tensor, graph_fts: torch.Tensor) -> torch.Tensor | None:
        return {"flat": z, "double": edge_fts.double(), "nothing": None}[self.answer]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (
            "flat",
            ValueError,
            r"returned a tensor of shape \(4, 4, 16\), it must be \(batch, n, n, any\), here \(4, 4, 4",
        ),
        ("double", TypeError, "returned torch.float64, it must be torch.float32"),
        ("nothing", ValueError, "returned NoneType"),
    ],
)
def test_wrong_messages_are_named(answer: str, error: type[Exception], said: str) -> None:
    task = small()
    module = offering(type("Triplets", (Wrong,), {"answer": answer}))
    with pytest.raises(error, match=said):
        next(task.train(task.build(module), {}, 1))


def test_a_candidate_must_be_a_module() -> None:
    with pytest.raises(TypeError, match=r"Triplets is no nn\.Module"):
        small().build(offering(lambda nb, out: 3))


def test_predictions_that_are_not_finite_are_refused() -> None:
    task = small()
    splits = task.prepare(0)
    model: Any = task.build(standard())
    next(task.train(model, splits.train, 1))
    nn.init.constant_(model.processor.skip.weight, torch.nan)
    with pytest.raises(FloatingPointError, match="prediction of pi is not finite"):
        task.predict(model, splits.inputs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"algorithm": "sort"}, "algorithm is 'sort', it must be one of activity_selector, articulation_points"),
        ({"algorithm": "bfs", "steps": 0}, "steps is 0, it must be above 0"),
        ({"algorithm": "bfs", "samples": 0}, "samples is 0, it must be above 0"),
        ({"algorithm": "bfs", "evaluate_on": "train"}, "evaluate_on: input should be 'val' or 'test'; it is 'train'"),
        (
            {"algorithm": "bfs", "searched": "encoder"},
            "searched: input should be 'triplets' or 'processor'; it is 'encoder'",
        ),
        ({"algorithm": "bfs", "sizes": (2, 4)}, r"sizes are \(2, 4\), they must be 4 or above"),
        ({"algorithm": "kmp_matcher", "sizes": (4, 8)}, r"sizes are \(4, 8\), the largest must be 14 or above"),
        ({}, "algorithm"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        load_task(TaskName("clrs"), options)


def network(algorithm: str, triplets: Any) -> Network:
    with haiku_defaults():
        made = Network(features(algorithm), 8, triplets)
        with torch.no_grad():
            made(Tensors.of(next(training_batches(algorithm, 0, 1, (4,)))))
    return made.eval()


@pytest.mark.parametrize("algorithm", ["mst_kruskal", "heapsort", "floyd_warshall"])
def test_a_run_does_not_depend_on_the_others_in_its_batch(algorithm: str) -> None:
    made = network(algorithm, standard().Triplets(8, 8))
    batch = next(training_batches(algorithm, 3, 6, (6,)))
    with torch.no_grad():
        together = made(Tensors.of(batch)).outputs
        alone = made(Tensors.of(batch.rows(slice(2)))).outputs
    for name, logits in alone.items():
        torch.testing.assert_close(together[name][:2], logits)


def test_later_hints_are_not_read() -> None:
    made = network("dfs", standard().Triplets(8, 8))
    batch = next(training_batches("dfs", 3, 3, (5,)))
    blind = Batch(batch.inputs, {name: hint[:1] for name, hint in batch.hints.items()}, {}, batch.lengths)
    with torch.no_grad():
        seeing, found = (made(Tensors.of(each)).outputs["pi"] for each in (batch, blind))
    torch.testing.assert_close(seeing, found, rtol=0, atol=0)


def test_runs_without_a_step_have_an_answer_and_no_hint_loss() -> None:
    made = network("mst_kruskal", standard().Triplets(8, 8))
    batch = next(training_batches("mst_kruskal", 0, 32, (4,)))
    assert batch.lengths.min() == 1
    alone = validation_set("mst_kruskal", 0, 4, 32)
    assert made.answers(Tensors.of(alone))["in_mst"].shape == (32, 4, 4)
    tensors = Tensors.of(batch)
    assert torch.isfinite(loss(made, made(tensors), tensors))


def test_streamed_candidate_equals_the_seed() -> None:
    seed, streamed = network("bfs", standard().Triplets(8, 8)), network("bfs", Streamed(8, 8))
    streamed.load_state_dict(seed.state_dict())
    batch = Tensors.of(next(training_batches("bfs", 1, 4, (7,))))
    losses = [loss(each, each(batch), batch) for each in (seed, streamed)]
    torch.testing.assert_close(*losses)
    grads = [
        torch.autograd.grad(found, tuple(each.parameters()))
        for found, each in zip(losses, (seed, streamed), strict=True)
    ]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_processor_without_triplets_is_an_mpnn() -> None:
    made = network("bfs", None)
    batch = Tensors.of(next(training_batches("bfs", 1, 4, (7,))))
    assert made(batch).outputs["pi"].shape == (4, 7, 7)
    assert not any("triplets" in name for name in made.state_dict())


def test_permutations_get_noise_in_training_only() -> None:
    made = network("insertion_sort", standard().Triplets(8, 8))
    batch = Tensors.of(next(training_batches("insertion_sort", 1, 2, (5,))))
    one, again = made(batch).outputs["pred"], made(batch).outputs["pred"]
    assert torch.equal(one, again)
    made.train()
    assert not torch.equal(made(batch).outputs["pred"], made(batch).outputs["pred"])


def test_linear_layers_start_as_haikus() -> None:
    with haiku_defaults():
        lazy, plain = nn.LazyLinear(4000), nn.Linear(16, 4000)
        lazy(torch.zeros(1, 16))
    for layer in (lazy, plain):
        assert layer.weight.std().item() == pytest.approx(0.8796 / 4, rel=0.02)  # of what is left within two sigma
        assert layer.weight.abs().max().item() <= 0.5
        assert not layer.bias.any()
    assert nn.Linear(16, 4).bias.any()


def test_own_initialisation_of_a_candidate_stays() -> None:
    class Own(Streamed):
        def __init__(self, nb_triplet_fts: int, out_size: int) -> None:
            super().__init__(nb_triplet_fts, out_size)
            self.output = nn.Linear(nb_triplet_fts, out_size)
            nn.init.constant_(self.output.weight, 0.125)

    task = small()
    model: Any = task.build(offering(Own))
    next(task.train(model, {}, 1))
    assert (model.processor.triplets.output.weight == 0.125).all()


CONFIGS = sorted((ROOT / "configs").glob("clrs_*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load_with_their_task_and_seeds(path: Path) -> None:
    config = load_config(path)
    task = load_task(config.task, config.task_options)
    assert task.interface.name == "clrs"
    assert config.seeds == {"Triplets": SEEDS, "Processor": PROCESSORS}[task.interface.entry]


def test_configs_are_the_papers_three_searches_and_two_quick_ones() -> None:
    assert [path.stem for path in CONFIGS] == [
        "clrs_articulation_points",
        "clrs_graham_scan",
        "clrs_mst_kruskal",
        "clrs_processor",
        "clrs_quick",
    ]
    quick, processor = (load_config(path).task_options for path in reversed(CONFIGS[3:]))
    assert processor == {**quick, "searched": "processor"}
    for path in CONFIGS[:3]:
        options = load_config(path).task_options
        assert {**options, "steps": options.get("steps", 2000)} == {
            "algorithm": path.stem.removeprefix("clrs_"),
            "steps": 2000,
        }
