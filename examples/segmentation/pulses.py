"""Tell which samples of a noisy signal belong to a pulse: segmentation in one dimension."""

import numpy as np
import torch
from torch.nn import functional as F

from evohpc import Score, Splits, TaskInterface

LENGTH, SIGNALS = 128, 256
BATCH = 64


class Pulses:
    """Train on 256 signals with up to three pulses each, validate on 256 others, drawn from the secret of the run."""

    interface = TaskInterface(
        name="pulses",
        entry="Model",
        header="class Model(nn.Module):",
        prelude="import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n",
        allowed_imports=("math", "torch"),
        metric="val_iou",
    )

    def __init__(self, steps: int = 200, noise: float = 0.4) -> None:
        self.steps, self.noise = steps, noise

    def prepare(self, seed: int, secret: int | None = None) -> Splits:
        x, y = self._draw(np.random.default_rng(seed))
        val_x, val_y = self._draw(np.random.default_rng(seed + 1 if secret is None else secret))
        return Splits(train={"x": x, "y": y}, inputs={"x": val_x}, labels={"y": val_y})

    def build(self, module):
        return module.Model()

    def train(self, model, data, seed):
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
        loss = self._loss(model, x[:BATCH], y[:BATCH])
        yield {"step": 0.0, "loss": loss.item()}
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(1, self.steps + 1):
            batch = torch.randint(len(x), (BATCH,), generator=generator)
            optimizer.zero_grad()
            loss = self._loss(model, x[batch], y[batch])
            loss.backward()
            optimizer.step()
            if step % 50 == 0 or step == self.steps:
                yield {"step": float(step), "loss": loss.item()}

    def predict(self, model, inputs):
        with torch.no_grad():
            return {"logits": model(torch.from_numpy(inputs["x"])).float().numpy()}

    def rows(self, arrays):
        """Each signal is a row: its answer may not depend on the others."""
        return {name: ("signals", 0) for name in arrays}

    def score(self, predictions, labels):
        """The intersection of what is marked and what is right over their union, over all signals together."""
        overlaps = [self._iou(checkpoint, labels["y"] > 0) for checkpoint in predictions]
        best = int(np.argmax(overlaps))
        curve = {min(50 * number, self.steps): 1 - overlap for number, overlap in enumerate(overlaps)}
        return Score(1 - overlaps[best], {"val_iou": overlaps[best]}, checkpoint=best, curve=curve)

    def fitness(self, num_params: int, error: float) -> float:
        return -num_params * error

    def _draw(self, rng):
        y = np.zeros((SIGNALS, LENGTH), np.float32)
        for signal in y:
            for _ in range(rng.integers(1, 4)):
                start, width = rng.integers(0, LENGTH - 8), rng.integers(8, 25)
                signal[start : start + width] = 1
        drift = rng.normal(0, 0.5, (SIGNALS, 1)) + rng.normal(0, 0.5, (SIGNALS, 1)) * np.linspace(-1, 1, LENGTH)
        x = y + drift + rng.normal(0, self.noise, y.shape)
        return x[:, None, :].astype(np.float32), y

    def _loss(self, model, x, y):
        logits = model(x)
        if logits.shape != y.shape:
            raise ValueError(f"the output has shape {tuple(logits.shape)}, not {tuple(y.shape)}")
        return F.binary_cross_entropy_with_logits(logits, y)

    def _iou(self, checkpoint, truth):
        logits = checkpoint.get("logits")
        if logits is None or logits.shape != truth.shape:
            raise ValueError(f"'logits' must be {truth.shape}")
        marked = logits > 0
        return float((marked & truth).sum() / max(1, (marked | truth).sum()))
