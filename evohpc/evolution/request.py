"""A round's request to the LM: rows in, `LMRequest` out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
from evohpc.evolution.repairs import repair_prompt, repaired
from evohpc.messages import Candidate, LMRequest, LowRank, Prompt, Sample, TaskInterface, Tuning, TuningExample


def request(
    config: Config,
    task: TaskInterface,
    *,
    run_id: str,
    round: int,
    parents: Sequence[Example],
    failed: Sequence[Candidate],
    tuning_examples: Sequence[Example],
    adapter: str | None,
    deepspeed_config: dict[str, object],
) -> LMRequest:
    """Return the request for one round's LM job.

    Args:
        parents: P, the survivors of the last round (the seeds in round 0).
        failed: the children of the last round that may be repaired (`prompt.repairs`), in order of id.
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
        sampling=replace(lm.sampling, duplicates=config.search.duplicates),
        adapter=adapter,
        deepspeed_config=deepspeed_config,
        tuning=_tuning(config, task, round, tuning_examples, adapter),
        prompts=_prompts(config, task, round, parents, failed),
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


def _prompts(
    config: Config, task: TaskInterface, round: int, parents: Sequence[Example], failed: Sequence[Candidate]
) -> tuple[Prompt, ...]:
    repairs, count = repaired(config, round, failed), Budget.of(config.search).prompts
    return tuple(_prompt(config, task, round, index, parents, repairs.get(index)) for index in range(count))


def _prompt(
    config: Config, task: TaskInterface, round: int, index: int, parents: Sequence[Example], failed: Candidate | None
) -> Prompt:
    search = config.search
    shown = draw_examples(parents, search, round, index)
    how = with_size_factor(config.prompt, search, round, index)
    drawn = samples(search, round, index, Budget.of(search).samples)
    if failed is not None:
        return Prompt(index, repair_prompt(failed, shown, parents, task, how), (failed.id,), drawn)
    text = few_shot_prompt(shown, parents, task, how)
    ids = tuple(example.candidate_id for example in shown)
    by_rule = is_rescaled(search, round, index)
    is_whole = by_rule or config.lm.engine == "scripted"  # rules change whole programs
    given = "" if is_whole else given_half(shown, task, config.prompt, search, round, index)
    return Prompt(index, text + given, ids, drawn, by_rule, given)


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
