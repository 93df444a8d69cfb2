"""One algorithm of CLRS-30 as a task: search for its network's triplet representation (EvoPrompting, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evohpc.evolution import population
from evohpc.messages import TaskInterface
from evohpc.tasks.base import Score, Splits
from evohpc.tasks.clrs import installation, metrics
from evohpc.tasks.clrs.batch import TRAIN_SIZES, Batch, training_sizes
from evohpc.tasks.clrs.features import Feature, check_algorithm, decodes_pairs, features
from evohpc.tasks.options import check_common

# Whoever prepares or scores needs no torch.
if TYPE_CHECKING:
    import torch
    from torch import nn

    from evohpc.tasks.base import Arrays
    from evohpc.tasks.clrs.network import Network

_VALIDATION_KEY, _SELECTION_KEY = 2, 3
"""Keys 0 and 1 of a search's seed belong to the two stages of an evaluation."""
_MIN_STRING = 17
"""Needles of up to 8 characters must find a place."""
_ENTRIES = {"triplets": "Triplets", "processor": "Processor"}
"""The class that a candidate defines, by `Clrs30.searched`."""
_ABOVE_ZERO = (
    *("steps", "hidden", "triplet_features", "batch_size", "learning_rate", "max_grad_norm", "eval_every", "samples"),
)
"""Options; None is the default of one."""
_CELLS = {"cpu": 1 << 20, "cuda": 1 << 23}
"""Largest batch * n * n * n at once in prediction, by device: candidates may build tensors of eight times that."""


@dataclass(frozen=True, kw_only=True)
class Clrs30:
    """Single-task training by the recipe of Ibarz et al. 2022, with sizes sampled on line.

    The error is one minus the CLRS score, the mean over outputs of accuracy or F1, of the best checkpoint. The defaults
    are EvoPrompting's for a child of the search; steps=10000, weight_decay=0 and evaluate_on='test' are those of the
    published tables.
    """

    algorithm: str
    """One of the 30, e.g. 'articulation_points'. A search for triplets refuses the eight whose answers they do not
    change (`decodes_pairs`)."""
    searched: Literal["triplets", "processor"] = "triplets"
    """What a candidate is. 'triplets', as in the paper: the triplet representation, inside the published processor.
    'processor', which is not in the paper: the whole processor; seeds/clrs_processor has seeds."""
    steps: int = 2000
    hidden: int = 128
    triplet_features: int = 8
    batch_size: int = 32
    sizes: tuple[int, ...] = TRAIN_SIZES
    """Numbers of nodes to train on, in turn; the largest is validated on. Texts have a quarter more, and one size."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    """Of AdamW, which the paper used and whose rate it does not state: this is optax's own. 0 is Adam, as in Ibarz
    et al."""
    max_grad_norm: float = 1.0
    eval_every: int = 50
    """Steps between checkpoints."""
    samples: int | None = None
    """To evaluate on; None for the published number: 64 for most algorithms, up to 4096."""
    evaluate_on: Literal["val", "test"] = "val"
    """'val' scores every checkpoint on runs as in training, drawn by the run's secret seed. 'test' scores one on the
    published runs of 64 nodes, which anyone can make again: the one that is best on runs which the training stage draws
    for itself."""
    device: str = "auto"
    """'cpu', 'cuda' (also for ROCm), or 'auto': a GPU if the process sees one."""

    hidden_modules = {"predict": ("clrs", "evohpc.tasks.clrs.sampling", "evohpc.tasks.clrs.upstream")}
    """The algorithms answer what a network is asked."""

    def __post_init__(self) -> None:
        installation.folder()
        check_algorithm(self.algorithm)
        object.__setattr__(self, "sizes", tuple(self.sizes))
        for name in _ABOVE_ZERO:
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"{name} is {value}, it must be above 0")
        check_common(self)
        if self.searched not in _ENTRIES:
            raise ValueError(f"searched is {self.searched!r}, it must be 'triplets' or 'processor'")
        if self.evaluate_on not in ("val", "test"):
            raise ValueError(f"evaluate_on is {self.evaluate_on!r}, it must be 'val' or 'test'")
        if not self.sizes or min(self.sizes) < 4:
            raise ValueError(f"sizes are {self.sizes}, they must be 4 or above")
        trained = training_sizes(self.algorithm, self.sizes)
        if trained != self.sizes and trained[0] < _MIN_STRING:
            raise ValueError(f"sizes are {self.sizes}, the largest must be 14 or above for {self.algorithm}")

    @property
    def interface(self) -> TaskInterface:
        """What the driver must know."""
        return TaskInterface(
            name="clrs",
            entry=self._entry,
            header=f"class {self._entry}(nn.Module):",
            prelude=(
                "import math\n\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n"
                "from evohpc.tasks.clrs.triplets import reduce_triplets\n"
            ),
            allowed_imports=("math", "torch", "evohpc.tasks.clrs.triplets"),
            metric=f"{self.evaluate_on}_accuracy",
            largest_error=1,
        )

    @property
    def checkpoints(self) -> int:
        """How many training keeps."""
        return 1 + -(-self.steps // self.eval_every) if self.evaluate_on == "val" else 2

    def check_search(self) -> None:
        """See `Task`. Any network can be trained on any algorithm; a search would find smaller ones alone."""
        if self.searched == "triplets" and not decodes_pairs(self.algorithm):
            raise ValueError(
                f"algorithm is {self.algorithm!r}, whose answers no triplet representation changes, as neither they "
                "nor its hints are decoded from pairs of nodes; take another algorithm, or searched: processor"
            )

    def prepare(self, seed: int, secret: int | None = None) -> Splits:
        """Draw what to evaluate on, by the secret seed if there is one; or take the published test set.

        A network is given the inputs, the initial hints and the number of steps.
        """
        batch = self._evaluation_set(seed, secret)
        return Splits(
            train={"size": np.array(max(self.sizes))},
            inputs=batch.visible(),
            labels=metrics.truths(self._features, batch.outputs),
        )

    def build(self, module: ModuleType) -> nn.Module:
        """Construct the network around the candidate's `Triplets(nb_triplet_fts, out_size)`, or its `Processor`."""
        from torch import nn

        from evohpc.tasks.clrs.linear import haiku_defaults
        from evohpc.tasks.clrs.network import Network

        with haiku_defaults():
            made = getattr(module, self._entry)(self.triplet_features, self.hidden)
            if not isinstance(made, nn.Module):
                raise TypeError(f"{self._entry} is no nn.Module")
            if self.searched == "processor":
                return Network(self._features, self.hidden, None, made)
            return Network(self._features, self.hidden, made)

    def train(self, model: nn.Module, data: Arrays, seed: int) -> Iterator[dict[str, float]]:
        """Draw batches on line; a checkpoint before any step, and every `eval_every` or only the best."""
        from evohpc.tasks.clrs import sampling
        from evohpc.tasks.clrs.training import Recipe, optimise, start

        device = self._device()
        batches = sampling.training_batches(self.algorithm, seed, self.batch_size, self.sizes)
        first = next(batches)
        yield {"step": 0.0, "loss": start(model, first, device)}
        recipe = Recipe(self.steps, self.learning_rate, self.weight_decay, self.max_grad_norm, self.eval_every)
        curve = optimise(model, chain([first], batches), device, recipe)
        yield from curve if self.evaluate_on == "val" else self._best_of(curve, model, seed)

    def predict(self, model: nn.Module, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Return the answers for each output, int32. The runs may come in any order."""
        import torch

        from evohpc.tasks.clrs.network import Tensors

        device = self._device()
        network: Network = model.to(device)  # type: ignore[assignment]
        batch, order = Batch.of(inputs).sorted()
        chunk = self._chunk(batch, device)
        found: list[dict[str, torch.Tensor]] = []
        with torch.inference_mode():
            for start in range(0, len(batch.lengths), chunk):
                found.append(network.answers(Tensors.of(batch.rows(slice(start, start + chunk)), device)))
        places = np.argsort(order)
        return {name: torch.cat([part[name] for part in found]).cpu().numpy()[places] for name in found[0]}

    def rows(self, arrays: Arrays) -> dict[str, tuple[str, int]]:
        """Each run is a row; hints have their steps before it."""
        return {name: ("runs", 1 if name.startswith("hint.") else 0) for name in arrays}

    def score(self, predictions: list[dict[str, np.ndarray[Any, Any]]], labels: Arrays) -> Score:
        """Pick the checkpoint with the best score, the first of equals; under 'test', the only one that was trained."""
        scores = [metrics.score(self._features, checkpoint, labels) for checkpoint in predictions]
        best = int(np.argmax(scores)) if self.evaluate_on == "val" else len(scores) - 1
        found = {f"{self.evaluate_on}_accuracy": scores[best]}
        if self.evaluate_on != "val":
            return Score(round(1 - scores[best], 6), found, best)
        curve = {self._step(place): 1 - score for place, score in enumerate(scores)}
        return Score(round(1 - scores[best], 6), found, best, {"best_step": self._step(best)}, curve)

    def fitness(self, num_params: int, error: float) -> float:
        """The paper's: minus the product of the size of the whole network and the validation error."""
        return population.fitness(num_params, error)

    def _step(self, checkpoint: int) -> float:
        return float(min(checkpoint * self.eval_every, self.steps))

    @property
    def _entry(self) -> str:
        return _ENTRIES[self.searched]

    @property
    def _features(self) -> tuple[Feature, ...]:
        return features(self.algorithm)

    def _evaluation_set(self, seed: int, secret: int | None) -> Batch:
        from evohpc.tasks.clrs import sampling

        if self.evaluate_on == "test":
            return sampling.held_out_set(self.algorithm, self.samples)
        if secret is None:
            return self._validation_set(seed, _VALIDATION_KEY)
        words = np.random.SeedSequence(secret).generate_state(8)
        return sampling.validation_set(self.algorithm, words, max(self.sizes), self.samples)

    def _validation_set(self, seed: int, key: int) -> Batch:
        from evohpc.tasks.clrs import sampling

        own_seed = int(np.random.SeedSequence(seed, spawn_key=(key,)).generate_state(1)[0])
        return sampling.validation_set(self.algorithm, own_seed, max(self.sizes), self.samples)

    def _best_of(self, curve: Iterator[dict[str, float]], model: nn.Module, seed: int) -> Iterator[dict[str, float]]:
        """Follow the curve, then yield its best point alone, with the model as it was there."""
        from torch.nn.parameter import is_lazy

        batch = self._validation_set(seed, _SELECTION_KEY)
        inputs, labels = batch.visible(), metrics.truths(self._features, batch.outputs)
        best: tuple[float, dict[str, float], dict[str, torch.Tensor]] = (-1.0, {}, {})
        for row in curve:
            model.eval()
            accuracy = metrics.score(self._features, self.predict(model, inputs), labels)
            model.train()
            if accuracy > best[0]:
                state = {name: each.clone() for name, each in model.state_dict().items() if not is_lazy(each)}
                best = (accuracy, {**row, "val_accuracy": accuracy}, state)
        model.load_state_dict(best[2], strict=False)  # what no call made has no weights
        yield best[1]

    def _chunk(self, batch: Batch, device: torch.device) -> int:
        nodes = int(batch.inputs["pos"].shape[1])
        return max(1, min(self.batch_size, _CELLS.get(device.type, _CELLS["cpu"]) // nodes**3))

    def _device(self) -> torch.device:
        import torch

        if self.device != "auto":
            return torch.device(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
