"""What the rate of prompt-tuning changes: `python benchmarks/learning_rates.py RUN OUT`.

RUN is the folder of a finished search of `search.variant: no_tuning`, so its children owe nothing to a soft prompt.
For each rate one is tuned as that search would have tuned it: before each round up to `--round`, on the trained
children of the round before, going on from the last. Then the prompts of that round are answered again, `--samples`
times each, with the same noise for all rates. Two tables are written into OUT; rows of other rates are kept:

- losses.csv: of each tuning, the loss of its examples before each of its steps; the first is that of children that no
  tuning has seen yet. Of the rate 0, no soft prompt, the first alone.
- outcomes.csv: of each completion, what became of it. `trained` here: another program than all before it that builds
  and passes a batch forwards and backwards. `refused` with the detail 'empty': it ended where it began.

Beside other programs, set GOMP_SPINCOUNT=1000: torch's threads then do not keep cores from each other while they wait.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from evohpc.config.search import Config
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.first_batch import try_first_batch
from evohpc.evaluation.verdict import Failed
from evohpc.evaluation.worker import evaluator
from evohpc.evolution import request as requests
from evohpc.evolution import screening
from evohpc.evolution.population import evaluated
from evohpc.evolution.prompts import Example
from evohpc.lm import model
from evohpc.lm.decoding import Decoder
from evohpc.lm.loss import cross_entropy
from evohpc.lm.model import LanguageModel
from evohpc.lm.packing import encode, pack
from evohpc.lm.tuning import Step, tune
from evohpc.messages import Candidate, Completion, LMRequest, Status, Tuning
from evohpc.report.reader import Reading
from evohpc.run_folder import RunDir, read_request

Row = dict[str, object]


@dataclass
class Study:
    """An untuned search, and what it would have tuned on."""

    folder: RunDir
    reading: Reading
    lm: LanguageModel

    @property
    def config(self) -> Config:
        """As the search had it, but tuned."""
        config = self.reading.config
        return config.model_copy(update={"search": config.search.model_copy(update={"variant": "evoprompting"})})

    def tuning(self, round: int) -> Tuning | None:
        """Return what a tuned search would have tuned before a round, None if no child of the last one trained."""
        children = self.reading.store.entries(round - 1, Status.TRAINED)
        found = [self._example(entry.id) for entry in evaluated(children, self.config.search)]
        made = requests.request(
            self.config,
            self.reading.task,
            run_id=self.reading.run_id,
            round=round,
            parents=[self._example(entry.id) for entry in self.reading.store.survivors(round - 1)],
            failed=[],
            tuning_examples=found,
            adapter=None,
            deepspeed_config={},
        )
        return made.tuning

    def _example(self, id: str) -> Example:
        entry = self.reading.store.entry(id)
        assert entry is not None, id
        assert entry.result is not None, "it trained"
        assert entry.result.num_params is not None, "it trained"
        source, metric = entry.candidate.source, entry.result.metrics[self.reading.task.metric]
        return Example(id, source, entry.result.num_params, metric)


def chain(study: Study, rate: float, last: int) -> tuple[Tensor | None, list[Row]]:
    """Tune before each round up to the last one; return the soft prompt, and the losses of each tuning."""
    tokens: Tensor | None = None
    rows: list[Row] = []
    for round in range(1, last + 1):
        if (tuning := study.tuning(round)) is None:
            continue
        row: Row = {"rate": rate, "round": round, "examples": len(tuning.examples)}
        if not rate:
            rows.append({**row, "losses": f"{loss_without(study.lm, tuning):.3f}"})
            continue
        losses: list[Step] = []
        tuned = tune(study.lm, replace(tuning, learning_rate=rate), tokens, {}, losses.append)
        assert isinstance(tuned, Tensor), "tuning.method is soft_prompt"
        tokens = tuned
        told = " ".join(f"{step.loss:.3f}" for step in losses)
        rows.append({**row, "losses": told})
        print(f"rate {rate}, round {round}: {told}", flush=True)
    return tokens, rows


@torch.inference_mode()
def loss_without(lm: LanguageModel, tuning: Tuning) -> float:
    """Return the mean loss of the completions' tokens without a soft prompt."""
    total, count = 0.0, 0
    for example in tuning.examples:
        batch = pack([encode(lm, example)], 0, lm.device)
        logits = lm.model(inputs_embeds=lm.embed(batch.ids), logits_to_keep=batch.places, use_cache=False).logits[0]
        total += cross_entropy(logits, batch.targets, batch.weights).item()
        count += len(batch.targets)
    return total / count


def answered(study: Study, request: LMRequest, tokens: Tensor | None) -> list[Completion]:
    """Return the completions of a request with a soft prompt, or without."""
    decoder = Decoder(study.lm, tokens, request.sampling)
    return [completion for ended in decoder.draw(request.prompts) for completion in ended]


def judged(study: Study, request: LMRequest, drawn: Sequence[Completion], ready: Evaluator) -> Iterator[Row]:
    """Yield what became of each completion, in the order of the request."""
    store = study.reading.store
    seen = {entry.candidate.code_hash for round in range(-1, request.round) for entry in store.entries(round)}
    children = screening.children(request, drawn, study.reading.task, study.config.screening)
    for child in children:
        outcome, detail = _judged(child, seen, ready)
        seen.add(child.code_hash)
        parents = len(set(child.parents))
        place = {"prompt": child.prompt, "sample": child.sample, "parents": parents, "tokens": child.tokens}
        yield {**place, "outcome": outcome, "detail": detail}


def _judged(child: Candidate, seen: set[str], ready: Evaluator) -> tuple[str, str]:
    if child.status.is_refused:
        is_empty = not child.source.rpartition(":\n")[2].strip()
        return "refused", "empty" if is_empty else child.detail
    if child.code_hash in seen:
        return "duplicate", ""
    try:
        try_first_batch(ready, child.source)
    except Failed as failure:
        return "failed", failure.detail
    return "trained", ""


def keep(path: Path, rate: float, rows: Sequence[Row]) -> None:
    """Put the rows of a rate in place of those that a table has of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before: list[Row] = []
    if path.exists():
        with path.open(newline="") as file:
            before = [dict(row) for row in csv.DictReader(file) if float(row["rate"]) != rate]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*before, *rows])


def main() -> None:
    """Tune, draw, judge, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 0.1, 0.01, 0.003], help="0: no soft prompt")
    parser.add_argument("--round", type=int, default=5)
    parser.add_argument("--samples", type=int, default=6, help="completions of each prompt")
    options = parser.parse_args()
    folder = RunDir(options.run)
    request = read_request(folder.round(options.round))
    with Reading(options.run) as reading, evaluator(folder) as ready:
        search = reading.config.search
        prompts = [
            replace(each, samples=requests.samples(search, request.round, each.index, options.samples))
            for each in request.prompts
        ]
        request = replace(request, prompts=tuple(prompts))
        model.configure_torch(request.threads)
        study = Study(folder, reading, model.load(Path(request.model_path), request.dtype))
        tuned = {rate: chain(study, rate, options.round) for rate in options.rates}
        model.pack(study.lm.model, request.sampling.batch_size)  # for drawing alone: it has no gradients
        for rate, (tokens, losses) in tuned.items():
            keep(options.out / "losses.csv", rate, losses)
            found = list(judged(study, request, answered(study, request, tokens), ready))
            keep(options.out / "outcomes.csv", rate, [{"rate": rate, **row} for row in found])
            trained = sum(row["outcome"] == "trained" for row in found)
            print(f"rate {rate}: {trained} of {len(found)} trained", flush=True)


if __name__ == "__main__":
    main()
