"""A round's request to the LM: rows in, `LMRequest` out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evohpc.config.search import Config
from evohpc.envelopes import SCHEMA
from evohpc.evolution import population
from evohpc.evolution.prompts import Example, completion_target, few_shot_prompt
from evohpc.messages import LMRequest, LowRank, Prompt, TaskInterface, Tuning, TuningExample


@dataclass(frozen=True, slots=True)
class Budget:
    """How many prompts a search's rounds have, and how many samples each."""

    rounds: int
    prompts: int
    samples: int

    @classmethod
    def of(cls, config: Config) -> Budget:
        """Return T, m, n. `naive` draws all T*m*n samples in one round: "the number of samples per prompt is raised so
        that the total equals the others" (section 4)."""
        search = config.search
        if search.variant == "naive":
            return cls(min(1, search.rounds), search.prompts_per_round, search.samples_per_prompt * search.rounds)
        return cls(search.rounds, search.prompts_per_round, search.samples_per_prompt)

    @property
    def per_round(self) -> int:
        """Children of one round."""
        return self.prompts * self.samples


def request(
    config: Config,
    task: TaskInterface,
    *,
    run_id: str,
    round: int,
    parents: Sequence[Example],
    taught: Sequence[Example],
    adapter: str | None,
    deepspeed_config: dict[str, object],
) -> LMRequest:
    """Return what the LM job of a round is asked.

    Args:
        parents: P, the survivors of the last round (the seeds in round 0).
        taught: what the soft prompt is tuned on, the fittest first; empty for no tuning.
        adapter: folder of what the last tuning left, relative to the run folder.
    """
    lm = config.lm
    return LMRequest(
        schema=SCHEMA,
        run_id=run_id,
        round=round,
        model_path=str(lm.path or ""),
        dtype=lm.dtype,
        threads=lm.threads,
        batch_size=lm.batch_size,
        max_new_tokens=lm.max_new_tokens,
        top_k=lm.top_k,
        top_p=lm.top_p,
        adapter=adapter,
        deepspeed_config=deepspeed_config,
        tuning=_tuning(config, task, round, taught, adapter),
        prompts=_prompts(config, task, round, parents),
        retry_unparsable=lm.retry_unparsable,
        speculation=lm.speculation,
        tensor_parallel=lm.tensor_parallel,
        engine=lm.engine,
        vllm=lm.vllm,
    )


def _prompts(config: Config, task: TaskInterface, round: int, parents: Sequence[Example]) -> tuple[Prompt, ...]:
    budget = Budget.of(config)
    prompts = []
    for index in range(budget.prompts):
        shown = population.examples(parents, config.search, round, index)
        text = few_shot_prompt(shown, parents, task, config.prompt)
        ids = tuple(example.candidate_id for example in shown)
        prompts.append(Prompt(index, text, ids, population.samples(config.search, round, index, budget.samples)))
    return tuple(prompts)


def _tuning(
    config: Config, task: TaskInterface, round: int, taught: Sequence[Example], adapter: str | None
) -> Tuning | None:
    if config.search.variant in ("no_tuning", "naive") or not taught:
        return None
    tuning = config.tuning
    used = taught[: tuning.max_examples]
    weights = _weights(len(used), tuning.fitness_weight)
    examples = [
        TuningExample(example.candidate_id, *completion_target(example, task, config.prompt), weight)
        for example, weight in zip(used, weights, strict=True)
    ]
    return Tuning(
        examples=tuple(examples),
        virtual_tokens=tuning.virtual_tokens,
        epochs=tuning.epochs,
        batch_size=tuning.batch_size,
        learning_rate=tuning.learning_rate,
        seed=population.tuning_seed(config.search, round),
        start_from=None if tuning.restart else adapter,
        lora=LowRank(tuning.lora_rank, tuning.lora_alpha) if tuning.method == "lora" else None,
    )


def _weights(count: int, spread: float) -> list[float]:
    """Return weights that fall evenly from 1 + spread to 1 - spread; a single one is 1."""
    return [1 + spread * (1 - 2 * rank / (count - 1)) for rank in range(count)] if count > 1 else [1.0] * count
