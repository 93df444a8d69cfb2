"""Tuning through a DeepSpeed engine: loss on the children's code only, gradients for the adapter only.

Each round starts with a fresh Adam, as Algorithm 1's Train(theta_t, ...) has no other state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evohpc.errors import LMError
from evohpc.lm import adapters, architecture, ranks, soft_prompt
from evohpc.lm.adapters import Adapter
from evohpc.lm.log import say
from evohpc.lm.loss import cross_entropy
from evohpc.lm.model import LanguageModel
from evohpc.lm.packing import Encoded, Pack, encode, pack, share_out
from evohpc.messages import Tuning, TuningExample

_PACK_TOKENS = 1024
"""Computed at once: enough for matrix products at full speed; the activations of more would outgrow the model."""


class TuningFailed(Exception):
    """The loss is not finite, memory ran out, or no example fits the model: the round goes on without this tuning."""


@dataclass(frozen=True, slots=True)
class Step:
    """One update of the adapter."""

    epoch: int
    loss: float
    """Mean over the batch's completion tokens, weighted as they are, before the update."""


def tune(
    lm: LanguageModel,
    tuning: Tuning,
    start: Adapter | None,
    deepspeed_config: dict[str, object],
    on_step: Callable[[Step], None] = lambda step: None,
) -> Adapter:
    """Train an adapter on the completions of the examples; return it on all ranks.

    Args:
        start: what to continue from; None starts a soft prompt from sampled vocabulary, and a LoRA from nothing.

    Raises:
        TuningFailed: the loss is not finite, memory ran out, or all examples are longer than the model takes.
        LMError: `start` is of another kind or shape; DeepSpeed refuses its settings; or memory ran out on one of
            several ranks.
    """
    with adapters.in_training(lm, tuning, start) as adapter:
        examples = _fitting(lm, tuning.examples, adapter().shape[1])
        engine = _engine(_Trainee(lm, adapter), tuning, deepspeed_config)
        try:
            with _memory_watched():
                for step in _train(engine, lm.replica, examples, tuning):
                    on_step(step)
                    if not math.isfinite(step.loss):
                        raise TuningFailed(f"the loss is {step.loss} in epoch {step.epoch}")
            tuned = adapter.tuned()
        finally:
            engine.destroy()  # also takes ZeRO-3's hooks off the model
    if not adapters.is_finite(tuned):
        raise TuningFailed("the adapter is not finite")
    return tuned


def _fitting(lm: LanguageModel, examples: Sequence[TuningExample], virtual: int) -> list[Encoded]:
    """Return the examples that the model takes behind so many virtual tokens: a program may have outgrown it."""
    context = architecture.context(lm.model.config)
    encoded = [encode(lm, example) for example in examples]
    fitting = [each for each in encoded if context is None or virtual + len(each.ids) <= context]
    if not fitting:
        raise TuningFailed(f"all examples are longer than the {context} tokens that the model takes")
    if len(fitting) < len(encoded):
        say(f"tuning: without {len(encoded) - len(fitting)} examples longer than the {context} tokens the model takes")
    return fitting


@contextmanager
def _memory_watched() -> Iterator[None]:
    """Turn want of memory into a failure of the tuning; of the job, where other ranks would wait for this one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is one of the second
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        if ranks.WORLD_SIZE > 1:
            raise LMError(f"rank {ranks.RANK} ran out of memory while tuning") from error
        raise TuningFailed("out of memory") from error


def _train(engine: Any, replica: ranks.Replica, examples: Sequence[Encoded], tuning: Tuning) -> Iterator[Step]:
    for epoch in range(tuning.epochs):
        for batch in _batches(examples, tuning, epoch):
            yield Step(epoch, _update(engine, replica, batch))


def _batches(examples: Sequence[Encoded], tuning: Tuning, epoch: int) -> Iterator[list[Encoded]]:
    order = soft_prompt.rng(tuning.seed, 1 + epoch).permutation(len(examples))
    for first in range(0, len(order), tuning.batch_size):
        yield [examples[place] for place in order[first : first + tuning.batch_size]]


class _Trainee(nn.Module):
    """What DeepSpeed sees: the adapter, and a forward pass through all of the model.

    The model itself is part of it under ZeRO-3 only, so that nothing else casts or broadcasts the frozen weights.
    """

    def __init__(self, lm: LanguageModel, adapter: adapters.InTraining) -> None:
        super().__init__()
        self.adapter = adapter
        self.partitioned = lm.model if lm.is_partitioned else None
        self._frozen = (lm,)

    def forward(self, examples: Sequence[Encoded]) -> Tensor:
        """Return the weighted sum of the cross-entropies of the completion tokens."""
        (lm,) = self._frozen
        virtual: Tensor = self.adapter()
        batch = pack(examples, virtual.shape[1], lm.device)
        logits = self._logits(batch, torch.cat([virtual.to(lm.model.dtype), lm.embed(batch.ids)], 1))
        return cross_entropy(logits, batch.targets, batch.weights)

    def _logits(self, batch: Pack, inputs: Tensor) -> Tensor:
        """Return the logits where the loss needs them.

        Shape: [targets, vocabulary].
        """
        (lm,) = self._frozen
        logits: Tensor = lm.model(
            inputs_embeds=inputs,
            position_ids=batch.positions,
            attention_mask=batch.mask,
            segments=batch.segments,
            logits_to_keep=batch.places,
            use_cache=False,
        ).logits[0]
        return logits


def _update(engine: Any, replica: ranks.Replica, batch: Sequence[Encoded]) -> float:
    """Accumulate the gradient of a whole batch, this replica computing its share, and step; return the mean loss.

    DeepSpeed takes the mean of the ranks' gradients; those of one replica are the same.
    """
    weight = sum(example.loss_weight for example in batch)
    # Every replica makes the same number of passes, or the others would wait for its gradient for ever.
    mine = share_out(batch, _PACK_TOKENS, multiple_of=replica.count)[replica.number :: replica.count]
    total = 0.0
    for place, examples in enumerate(mine, start=1):
        engine.set_gradient_accumulation_boundary(place == len(mine))
        # A rank that has nothing left still takes part, in ZeRO-3's gathering of the weights too.
        loss = engine(examples) if examples else 0 * engine(batch[:1])
        engine.backward(loss * (replica.count / weight))
        engine.step()
        total += loss.item()
    return replica.total(total) / weight


def _engine(trainee: nn.Module, tuning: Tuning, config: dict[str, object]) -> Any:
    ranks.initialize_deepspeed()
    import deepspeed

    defaults: dict[str, object] = {
        "zero_optimization": {"stage": 0},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    sizes = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
    settings = json.loads(json.dumps({**defaults, **config, **sizes}))
    settings.pop("train_batch_size", None)
    has_own = "optimizer" in settings
    if has_own and str(settings["optimizer"].get("type")).lower() in ("adam", "adamw"):
        # DeepSpeed's own would be compiled first, on the node, for minutes.
        settings["optimizer"].setdefault("params", {}).setdefault("torch_adam", True)
    trained = [weight for weight in trainee.parameters() if weight.requires_grad]
    optimizer = None if has_own else torch.optim.Adam(trained, lr=tuning.learning_rate)
    try:
        return deepspeed.initialize(model=trainee, model_parameters=trained, optimizer=optimizer, config=settings)[0]
    except (ValueError, AssertionError) as error:
        if not config:
            raise
        raise LMError(f"DeepSpeed refuses what lm.deepspeed says: {error}") from error
