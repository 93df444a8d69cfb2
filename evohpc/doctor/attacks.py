"""The attacks that `evohpc doctor --attack` makes: which of those that ship, how each must end, and whether it did.

An attack is a candidate whose first line says what it tries: `# F8 honest: looks for the labels in files, ...`, the
threat, the end that it must have, the try. `CANARY` and `LABELS` in its text stand for the paths of files that it must
not reach. `honest` is the end of one that scores as the same model without the attack, `chance` of one that what it hid
did not help, any other word is a status.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evohpc.messages import Result, Status
from evohpc.shipped import catalogue

CHOSEN = {
    "forged scores": (
        *("forges_results", "patches_the_harness", "reports_metrics_of_the_task", "reports_and_exits"),
        *("predicts_nan", "lies_in_headers", "normalises_by_its_batch"),
    ),
    "labels": ("hunts_labels", "makes_labels_again"),
    "your files": ("reads_secrets", "deletes_everything"),
    "uncounted weights": (
        *("remembers_in_process", "remembers_in_a_file", "labels_its_checkpoints", "hides_weights_in_shapes"),
        "appends_to_its_checkpoints",
    ),
    "memory": ("takes_memory_slowly", "takes_memory_by_page_tables"),
    "disk": ("fills_the_disk", "fills_unlinked_files", "fills_the_disk_beyond_every_path"),
    "time": ("loops_at_import", "loops_in_c"),
    "processes": ("starts_children", "bombs_with_forks", "bombs_with_threads", "changes_its_session"),
    "signals": ("has_others_signalled", "attacks_the_kernel", "kills_itself"),
    "network": ("calls_home", "submits_jobs", "makes_raw_calls"),
    "tidying up": ("nests_folders", "locks_its_folder", "plants_special_files"),
    "terminals": ("floods_its_output", "reports_escapes", "names_files_in_escapes"),
}
"""By what they are after: names of files in tests/hostile/. At least one of each kind that is known."""

ESCAPED, CANARY = "ESCAPED", "canary-in"
"""What an attack prints that got through, and the beginning of every secret that it must not see."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile candidate."""

    name: str
    threat: str
    """By letter and number: F forging a score, Q using up the machine, H reaching the host or the network."""
    expected: str
    """'honest', 'chance', 'known' (it gets through), or a status."""
    tries: str
    """In a few words."""
    text: str

    @classmethod
    def read(cls, path: Path) -> Attack:
        """Read one from its file."""
        text = path.read_text(encoding="utf-8")
        head, _, tries = text.partition("\n")[0].partition(": ")
        *threats, expected = head.removeprefix("# ").split()
        return cls(path.stem, " ".join(threats), expected, tries, text)

    def source(self, canary: Path, labels: Path) -> str:
        """Return its program, aimed at these files."""
        return self.text.replace("CANARY", str(canary)).replace("LABELS", str(labels))

    @property
    def end(self) -> str:
        """The end that it must have, in words."""
        return {"honest": "the honest score", "chance": "a score of chance"}.get(self.expected, self.expected)

    def complaint(self, result: Result, log: str, honest: Result) -> str:
        """Return what shows that it did not end as it must; '' if it did.

        Args:
            log: what it printed.
            honest: the result of the same model without an attack.
        """
        if ESCAPED in log or CANARY in log:
            return next(line for line in log.splitlines() if ESCAPED in line or CANARY in line)
        if "attacking" in self.text and "attacking" not in log:
            return f"the attack did not begin: {result.status}: {result.detail}"
        if not result.detail.isprintable() or len(result.detail) > 300:
            return f"its words are not those of the evaluator: {result.detail!a}"
        return "" if self._is_expected(result, honest) else _said(result)

    def _is_expected(self, result: Result, honest: Result) -> bool:
        if self.expected == "honest":
            same = (honest.num_params, honest.error, honest.fitness)
            return result.status is Status.TRAINED and (result.num_params, result.error, result.fitness) == same
        if self.expected == "chance":
            return result.error is not None and result.error > 0.8
        if self.expected == "known":
            return result.status is Status.TRAINED
        return result.status == self.expected and result.fitness is None


def too_busy(result: Result) -> str:
    """Return what an evaluator says of a candidate that others left no processor; '' of any other. It was there to say
    it, with its host: no attack has ended it."""
    return result.detail if result.status is Status.LOST and result.host else ""


def chosen() -> Iterator[tuple[str, Attack]]:
    """Yield the attacks that the doctor makes, each with what it is after."""
    folder = catalogue.hostile()
    for aim, names in CHOSEN.items():
        for name in names:
            yield aim, Attack.read(folder / f"{name}.py")


def _said(result: Result) -> str:
    measured = "" if result.error is None else f" with error {result.error:.3f} and {result.num_params} numbers"
    return f"{result.status}{measured}{': ' if result.detail else ''}{result.detail}"
