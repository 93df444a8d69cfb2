"""Two spirals: tell two interleaved spirals of points in the plane apart. A whole evohpc task in one file."""

import numpy as np
import torch
from torch.nn import functional as F

from evohpc import Score, Splits, TaskInterface

POINTS = 300


class TwoSpirals:
    """Train on 600 noisy points, validate on 600 others."""

    interface = TaskInterface(
        name="two_spirals",
        entry="Model",  # the class that a candidate defines
        header="class Model(nn.Module):",  # how every prompt ends
        prelude="import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n",  # put before each candidate
        allowed_imports=("math", "torch"),
        metric="val_accuracy",  # shown in prompts; higher is better
    )

    def __init__(self, steps: int = 400, noise: float = 0.1) -> None:
        """The config's task_options arrive here."""
        if steps < 1:
            raise ValueError(f"steps is {steps}, it must be above 0")
        self.steps, self.noise = steps, noise

    def prepare(self, seed: int, secret: int | None = None) -> Splits:
        """Runs once per search, before any candidate. Labels of the validation split go into a file of their own; they
        are drawn from a seed that no candidate knows, or one could make them again."""
        x, y = self._spirals(np.random.default_rng(seed))
        val_x, val_y = self._spirals(np.random.default_rng(seed + 1 if secret is None else secret))
        return Splits(train={"x": x, "y": y}, inputs={"x": val_x}, labels={"y": val_y})

    def build(self, module):
        """Runs in the candidate's process. `module` is the imported candidate."""
        return module.Model()

    def train(self, model, data, seed):
        """Runs in the candidate's process. Each `yield` keeps a checkpoint; the first comes before any step."""
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
        loss = F.cross_entropy(model(x), y)  # materialises lazy modules
        yield {"step": 0.0, "loss": loss.item()}
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(1, self.steps + 1):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if step % 100 == 0 or step == self.steps:
                yield {"step": float(step), "loss": loss.item()}

    def predict(self, model, inputs):
        """Runs in a second process of the candidate, which has the inputs and one checkpoint and nothing else."""
        with torch.no_grad():
            return {"logits": model(torch.from_numpy(inputs["x"])).numpy()}

    def rows(self, arrays):
        """Each point is a row: its answer may not depend on the others."""
        return {name: ("points", 0) for name in arrays}

    def answers(self, predictions):
        """What is compared to see that."""
        return {"class": predictions["logits"].argmax(1)}

    def score(self, predictions, labels):
        """Runs outside, without any candidate's code: first with the predictions of all checkpoints, in order, to
        choose one, then with those that the chosen one makes when it is alone."""
        accuracies = [self._accuracy(checkpoint, labels["y"]) for checkpoint in predictions]
        best = int(np.argmax(accuracies))
        return Score(
            error=1 - accuracies[best],
            metrics={"val_accuracy": accuracies[best]},
            checkpoint=best,
            curve={min(100 * number, self.steps): 1 - right for number, right in enumerate(accuracies)},  # for reports
        )

    def fitness(self, num_params: int, error: float) -> float:
        """Small and right: the paper's fitness."""
        return -num_params * error

    def _spirals(self, rng):
        turn = np.sqrt(rng.uniform(0.05, 1, POINTS)) * 3 * np.pi
        arm = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) / (3 * np.pi)
        x = np.concatenate([arm, -arm]) + rng.normal(0, self.noise, (2 * POINTS, 2))
        return x.astype(np.float32), np.repeat([0, 1], POINTS)

    def _accuracy(self, checkpoint, truth):
        logits = checkpoint.get("logits")
        if logits is None or logits.shape != (len(truth), 2):
            raise ValueError(f"'logits' must be ({len(truth)}, 2)")  # the candidate's outcome is `shape_error`
        return float((logits.argmax(1) == truth).mean())
