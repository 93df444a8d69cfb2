"""Programs for an evaluator in the manner of OpenEvolve: `evaluate(path) -> {"combined_score": ...}`, in one file.

Such a score can be forged. The evaluator runs in the candidate's process, and a program that looks for what calls it
can give any answer; the sandbox keeps it from your files and your network, and nothing keeps it from cheating. Use this
to start from what you have, read what wins, and move what is scored into `score`, where no candidate is.
"""

from pathlib import Path

import numpy as np

from evohpc import Score, Splits, TaskInterface


class OpenEvolve:
    """Higher scores are better, up to `best`. A candidate is one function or class, no file with marked blocks."""

    def __init__(
        self,
        evaluator: str,
        header: str,
        prelude: str = "import math\n",
        allowed_imports: tuple[str, ...] = ("math",),
        best: float = 1.0,
    ) -> None:
        entry = header.replace("(", " ").replace(":", " ").split()[1]
        self.interface = TaskInterface(
            "openevolve", entry, header, prelude, allowed_imports, metric="combined_score", size_name="size"
        )
        self.evaluator, self.best = evaluator, best

    def prepare(self, seed: int) -> Splits:
        """The evaluator's text goes into the sandbox: whoever runs there can read it, and so can candidates."""
        text = np.frombuffer(Path(self.evaluator).read_bytes(), np.uint8)
        return Splits(train={}, inputs={"evaluator": text}, labels={})

    def run(self, module, inputs):
        namespace = {"__name__": "evaluator"}
        exec(compile(bytes(inputs["evaluator"]), "evaluator.py", "exec"), namespace)
        found = namespace["evaluate"](module.__file__)
        found = getattr(found, "metrics", found)  # of an EvaluationResult
        return {name: np.float64(value) for name, value in found.items() if isinstance(value, int | float)}

    def score(self, outputs, labels):
        if any(value.shape for value in outputs.values()) or "combined_score" not in outputs:
            raise ValueError("the evaluator must return numbers, and 'combined_score' among them")
        metrics = {name: float(value) for name, value in outputs.items()}
        return Score(error=max(0.0, self.best - metrics["combined_score"]), metrics=metrics)
