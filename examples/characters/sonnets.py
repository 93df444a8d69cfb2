"""Predict the next character of a text from the 24 before it: seven of Shakespeare's sonnets, in sonnets.txt."""

import numpy as np
import torch
from torch.nn import functional as F

from evohpc import Score, Splits, TaskInterface

ALPHABET = "\n !',-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CONTEXT = 24
VALIDATION = 0.15
BATCH = 128


class Sonnets:
    """Train on the first 85 % of the text, validate on the rest. A guess among all 62 characters costs 6 bits."""

    interface = TaskInterface(
        name="sonnets",
        entry="Model",
        header="class Model(nn.Module):",
        prelude="import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n",
        allowed_imports=("math", "torch"),
        metric="log_likelihood",  # of a character, in nats: below 0, and more is better
    )

    def __init__(self, text: str, steps: int = 300) -> None:
        self.text, self.steps = text, steps

    def prepare(self, seed: int) -> Splits:
        """Windows that overlap must not be on both sides, so the text is cut once, and not its windows shuffled."""
        with open(self.text, encoding="utf-8") as file:
            text = file.read()
        codes = np.array([ALPHABET.index(character) for character in text], np.int64)
        cut = int(len(codes) * (1 - VALIDATION))
        train, validation = self._windows(codes[:cut]), self._windows(codes[cut:])
        return Splits(
            train={"x": train[:, :-1], "y": train[:, -1]},
            inputs={"x": validation[:, :-1]},
            labels={"y": validation[:, -1]},
        )

    def build(self, module):
        return module.Model()

    def train(self, model, data, seed):
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
        loss = self._loss(model, x[:BATCH], y[:BATCH])
        yield {"step": 0.0, "loss": loss.item()}
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
        for step in range(1, self.steps + 1):
            batch = torch.randint(len(x), (BATCH,), generator=generator)
            optimizer.zero_grad()
            loss = self._loss(model, x[batch], y[batch])
            loss.backward()
            optimizer.step()
            if step % 100 == 0 or step == self.steps:
                yield {"step": float(step), "loss": loss.item()}

    def predict(self, model, inputs):
        with torch.no_grad():
            return {"logits": model(torch.from_numpy(inputs["x"])).float().numpy()}

    def rows(self, arrays):
        """Each window is a row: its answer may not depend on the others."""
        return {name: ("windows", 0) for name in arrays}

    def score(self, predictions, labels):
        """The mean log-likelihood of the right character. It is normalised here: a candidate that was asked for
        log-probabilities could claim that all of them are 0."""
        likelihoods = [self._log_likelihood(checkpoint, labels["y"]) for checkpoint in predictions]
        best, bits = int(np.argmax(likelihoods)), -np.array(likelihoods) / np.log(2)
        curve = {min(100 * number, self.steps): each for number, each in enumerate(bits)}
        return Score(bits[best], {"log_likelihood": likelihoods[best]}, checkpoint=best, curve=curve)

    def fitness(self, num_params: int, error: float) -> float:
        """Bits, with a tenth of a bit for each doubling of the size."""
        return -(error + 0.1 * float(np.log2(num_params)))

    def _windows(self, codes):
        return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1))

    def _loss(self, model, x, y):
        logits = model(x)
        if logits.shape != (len(x), len(ALPHABET)):
            raise ValueError(f"the output has shape {tuple(logits.shape)}, not {(len(x), len(ALPHABET))}")
        return F.cross_entropy(logits, y)

    def _log_likelihood(self, checkpoint, truth):
        logits = checkpoint.get("logits")
        if logits is None or logits.shape != (len(truth), len(ALPHABET)):
            raise ValueError(f"'logits' must be ({len(truth)}, {len(ALPHABET)})")
        logits = logits.astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=1))
        return float((logits[np.arange(len(truth)), truth] - normaliser).mean())
