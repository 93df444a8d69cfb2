"""A round's request to the LM: rows in, `LMRequest` out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from evohpc.config.search import Config, SearchConfig
from evohpc.envelopes import SCHEMA
from evohpc.evolution.halves import given_half
from evohpc.evolution.population import Budget, is_tuned
from evohpc.evolution.prompts import (
    Example,
    completion_target,
    draw_examples,
    few_shot_prompt,
    is_rescaled,
    with_size_factor,
)
from evohpc.evolution.randomness import Draw, generator
from evohpc.messages import LMRequest, LowRank, Prompt, Sample, TaskInterface, Tuning, TuningExample


def request(
    config: Config,
    task: TaskInterface,
    *,
    run_id: str,
    round: int,
    parents: Sequence[Example],
    tuning_examples: Sequence[Example],
    adapter: str | None,
    deepspeed_config: dict[str, object],
) -> LMRequest:
    """Return the request for one round's LM job.

    Args:
        parents: P, the survivors of the last round (the seeds in round 0).
        tuning_examples: what the soft prompt is tuned on, the fittest first; empty for no tuning.
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
        sampling=lm.sampling,
        adapter=adapter,
        deepspeed_config=deepspeed_config,
        tuning=_tuning(config, task, round, tuning_examples, adapter),
        prompts=_prompts(config, task, round, parents),
        tensor_parallel=lm.tensor_parallel,
        engine=lm.engine,
        vllm=lm.vllm,
    )


def samples(search: SearchConfig, round: int, prompt: int, count: int) -> tuple[Sample, ...]:
    """Return temperature and seed of each completion of a prompt."""
    drawn = []
    for index in range(count):
        rng = generator(search.seed, round, Draw.SAMPLE, prompt, index)
        temperature = search.temperatures[int(rng.integers(len(search.temperatures)))]
        drawn.append(Sample(index=index, seed=int(rng.integers(2**63)), temperature=temperature))
    return tuple(drawn)


def tuning_seed(search: SearchConfig, round: int) -> int:
    """Return the seed of a round's prompt-tuning: initialisation and order of the examples."""
    return int(generator(search.seed, round, Draw.TUNING).integers(2**63))


def _prompts(config: Config, task: TaskInterface, round: int, parents: Sequence[Example]) -> tuple[Prompt, ...]:
    budget = Budget.of(config.search)
    prompts = []
    for index in range(budget.prompts):
        shown = draw_examples(parents, config.search, round, index)
        text = few_shot_prompt(shown, parents, task, with_size_factor(config.prompt, config.search, round, index))
        ids = tuple(example.candidate_id for example in shown)
        drawn = samples(config.search, round, index, budget.samples)
        by_rule = is_rescaled(config.search, round, index)
        is_whole = by_rule or config.lm.engine == "scripted"  # rules change whole programs
        given = "" if is_whole else given_half(shown, task, config.prompt, config.search, round, index)
        prompts.append(Prompt(index, text + given, ids, drawn, by_rule, given))
    return tuple(prompts)


def _tuning(
    config: Config, task: TaskInterface, round: int, examples: Sequence[Example], adapter: str | None
) -> Tuning | None:
    if not is_tuned(config.search) or not examples:
        return None
    tuning = config.tuning
    used = examples[: tuning.max_examples]
    weights = _weights(len(used), tuning.fitness_weight)
    shown = [
        TuningExample(example.candidate_id, *completion_target(example, task, config.prompt), weight)
        for example, weight in zip(used, weights, strict=True)
    ]
    return Tuning(
        examples=tuple(shown),
        virtual_tokens=tuning.virtual_tokens,
        epochs=tuning.epochs,
        batch_size=tuning.batch_size,
        learning_rate=tuning.learning_rate,
        seed=tuning_seed(config.search, round),
        start_from=None if tuning.restart else adapter,
        lora=LowRank(tuning.lora_rank, tuning.lora_alpha) if tuning.method == "lora" else None,
    )


def _weights(count: int, spread: float) -> list[float]:
    """Return weights that fall evenly from 1 + spread to 1 - spread; a single one is 1."""
    return [1 + spread * (1 - 2 * rank / (count - 1)) for rank in range(count)] if count > 1 else [1.0] * count
