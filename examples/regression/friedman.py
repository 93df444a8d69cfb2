"""Predict a number from ten columns of a table: Friedman's first function (1991), noise included, in friedman.csv."""

import numpy as np
import torch
from torch.nn import functional as F

from evohpc import Score, Splits, TaskInterface

VALIDATION = 300


class Friedman:
    """Train on 500 rows, validate on 300. The target's standard deviation is 5, that of its noise 1."""

    interface = TaskInterface(
        name="friedman",
        entry="Model",
        header="class Model(nn.Module):",
        prelude="import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n",
        allowed_imports=("math", "torch"),
        metric="rmse",  # less is better, which prompt.metric_factor in config.yaml says
    )

    def __init__(self, data: str, steps: int = 600) -> None:
        """`data` is a path; it is read in `prepare`, for a candidate's processes may not."""
        self.data, self.steps = data, steps

    def prepare(self, seed: int) -> Splits:
        """The rows are given, so they need no secret: whoever has the file has the labels, and no candidate has it."""
        table = np.loadtxt(self.data, delimiter=",", skiprows=1, dtype=np.float32)
        table = np.random.default_rng(seed).permutation(table)
        validation, train = table[:VALIDATION], table[VALIDATION:]
        return Splits(
            train={"x": train[:, :-1], "y": train[:, -1]},
            inputs={"x": validation[:, :-1]},
            labels={"y": validation[:, -1]},
        )

    def build(self, module):
        return module.Model()

    def train(self, model, data, seed):
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
        loss = self._loss(model, x, y)
        yield {"step": 0.0, "loss": loss.item()}
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(1, self.steps + 1):
            optimizer.zero_grad()
            loss = self._loss(model, x, y)
            loss.backward()
            optimizer.step()
            if step % 100 == 0 or step == self.steps:
                yield {"step": float(step), "loss": loss.item()}

    def predict(self, model, inputs):
        with torch.no_grad():
            return {"y": model(torch.from_numpy(inputs["x"])).reshape(-1).numpy()}

    def rows(self, arrays):
        """Each line of the table is a row: its answer may not depend on the others."""
        return {name: ("lines", 0) for name in arrays}

    def score(self, predictions, labels):
        """The root mean square error, in the units of the target: 5 for the mean, 1 for a model that knows all."""
        errors = [self._rmse(checkpoint, labels["y"]) for checkpoint in predictions]
        best = int(np.argmin(errors))
        curve = {min(100 * number, self.steps): error for number, error in enumerate(errors)}
        return Score(error=errors[best], metrics={"rmse": errors[best]}, checkpoint=best, curve=curve)

    def fitness(self, num_params: int, error: float) -> float:
        """Ten times the size is worth what half the error is: the paper's product would favour the smallest of all."""
        return -error * num_params**0.3

    def _loss(self, model, x, y):
        predicted = model(x)
        if predicted.shape not in ((len(x),), (len(x), 1)):
            raise ValueError(f"the output has shape {tuple(predicted.shape)}, not {(len(x), 1)}")
        return F.mse_loss(predicted.reshape(-1), y)  # (n, 1) against (n,) would be broadcast to (n, n)

    def _rmse(self, checkpoint, truth):
        predicted = checkpoint.get("y")
        if predicted is None or predicted.shape != truth.shape:
            raise ValueError(f"'y' must be {truth.shape}")
        return float(np.sqrt(((predicted - truth) ** 2).mean()))
