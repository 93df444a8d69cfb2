"""Soft prompt-tuning (Lester et al. 2021) with peft, through a DeepSpeed engine.

Only the virtual tokens train: DeepSpeed is given a module that holds nothing else, so it neither casts, broadcasts nor
partitions the frozen model. Each round starts with a fresh Adam, as Algorithm 1's Train(theta_t, ...) has no
other state.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, Philox
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from evohpc.errors import LMError
from evohpc.lm import ranks
from evohpc.lm.model import LanguageModel
from evohpc.records import Tuning, TuningExample
from evohpc.rundir import storage_error

WEIGHTS = "adapter_model.safetensors"
IGNORE = -100
_MICRO_BATCH = 4
"""Examples computed at once; activations of more would outgrow the model itself."""


class TuningFailed(Exception):
    """The loss is not finite, or memory ran out: the round goes on without this tuning."""


@dataclass(frozen=True, slots=True)
class Step:
    """One update of the soft prompt."""

    epoch: int
    loss: float
    """Mean over the batch's completion tokens, before the update."""


def load(folder: Path) -> Tensor:
    """Return the virtual tokens of an adapter folder.

    Shape: [virtual tokens, hidden size], float32.

    Raises:
        LMError: it is missing or damaged.
    """
    try:
        tensor: Tensor = load_file(folder / WEIGHTS)["prompt_embeddings"]
    except (OSError, SafetensorError, KeyError) as error:
        raise LMError(f"{folder} holds no soft prompt: {error}") from None
    return tensor.float()


def save(peft_model: Any, folder: Path) -> None:
    """Write an adapter folder that peft can load, whole or not at all.

    Raises:
        StorageError: the file system refused.
    """
    aside = folder.with_name(f".tmp-{folder.name}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        # Without save_embedding_layers=False peft asks a model hub whether the vocabulary was resized.
        peft_model.save_pretrained(aside, save_embedding_layers=False)
        (aside / "README.md").unlink(missing_ok=True)
        os.replace(aside, folder)
    except OSError as error:
        raise storage_error(folder, error) from error


def tune(
    lm: LanguageModel,
    tuning: Tuning,
    start: Tensor | None,
    deepspeed_config: dict[str, object],
    on_step: Callable[[Step], None] = lambda step: None,
) -> Any:
    """Train the virtual tokens on the completions of the examples; return the tuned peft model.

    Args:
        start: what to continue from, [virtual tokens, hidden size]; None starts from sampled vocabulary.

    Raises:
        TuningFailed: the loss is not finite, or memory ran out.
    """
    peft_model = prepare(lm, tuning, start)
    engine = _engine(peft_model, tuning, deepspeed_config)
    examples = [encode(lm, example) for example in tuning.examples]
    try:
        for epoch in range(tuning.epochs):
            for batch in _batches(examples, tuning, epoch):
                loss = _update(engine, batch, lm)
                on_step(Step(epoch, loss))
                if not math.isfinite(loss):
                    raise TuningFailed(f"the loss is {loss} in epoch {epoch}")
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise TuningFailed("out of memory") from error
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise TuningFailed("out of memory") from error
        raise
    if not torch.isfinite(virtual_tokens(peft_model)).all():
        raise TuningFailed("the soft prompt is not finite")
    return peft_model


def prepare(lm: LanguageModel, tuning: Tuning, start: Tensor | None) -> Any:
    """Return the model with virtual tokens in front, which alone require gradients."""
    from peft import PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model

    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=tuning.virtual_tokens,
        prompt_tuning_init=PromptTuningInit.RANDOM,
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by an old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        peft_model = get_peft_model(lm.model, config)
    if start is not None and len(start) != tuning.virtual_tokens:
        asked = tuning.virtual_tokens
        raise LMError(f"the last soft prompt has {len(start)} virtual tokens, tuning.virtual_tokens asks for {asked}")
    initial = _sampled_vocabulary(lm, tuning) if start is None else start
    weight = peft_model.prompt_encoder.default.embedding.weight
    weight.data = initial.to(weight.device, torch.float32, copy=True)
    return peft_model


def virtual_tokens(peft_model: Any) -> Tensor:
    """Return the virtual tokens.

    Shape: [virtual tokens, hidden size].
    """
    tokens: Tensor = peft_model.prompt_encoder.default.embedding.weight.detach()
    return tokens


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as tokens."""

    ids: list[int]
    prompt: int
    """How many of them belong to the prompt."""


def encode(lm: LanguageModel, example: TuningExample) -> Encoded:
    """Return an example's tokens, its completion ended by the model's end token."""
    shown = lm.tokenizer(example.prompt).input_ids
    ids = lm.tokenizer(example.prompt + example.completion).input_ids
    # Where the tokenizer merges across the border, the merged token is the model's to write.
    shared = next((i for i, (a, b) in enumerate(zip(shown, ids, strict=False)) if a != b), min(len(shown), len(ids)))
    end = lm.tokenizer.eos_token_id
    return Encoded(ids if end is None or ids[-1] == end else [*ids, end], shared)


def _sampled_vocabulary(lm: LanguageModel, tuning: Tuning) -> Tensor:
    special = set(lm.tokenizer.all_special_ids)
    ordinary = [token for token in lm.vocabulary if token not in special]
    drawn = _rng(tuning.seed, 0).choice(ordinary, tuning.virtual_tokens)
    return lm.embed(drawn.tolist())[0].detach().float()


def _batches(examples: Sequence[Encoded], tuning: Tuning, epoch: int) -> Iterator[list[Encoded]]:
    """Yield the epoch's batches, each sorted by length so that its parts hold little padding."""
    order = _rng(tuning.seed, 1 + epoch).permutation(len(examples))
    for first in range(0, len(order), tuning.batch_size):
        batch = [examples[place] for place in order[first : first + tuning.batch_size]]
        yield sorted(batch, key=lambda example: len(example.ids))


def _rng(seed: int, key: int) -> Generator:
    return Generator(Philox(np.random.SeedSequence(seed, spawn_key=(key,))))


class _Trainee(nn.Module):
    """What DeepSpeed sees: the virtual tokens, and a forward pass through all of the model."""

    def __init__(self, peft_model: Any) -> None:
        super().__init__()
        self.prompt_encoder = peft_model.prompt_encoder
        self._loss = _Loss(peft_model)

    def forward(self, batch: Sequence[Encoded]) -> Tensor:
        return self._loss(batch)


class _Loss:
    """Sum of the cross-entropy over the completion tokens. Not a module, so that the model stays hidden."""

    def __init__(self, peft_model: Any) -> None:
        self._model = peft_model

    def __call__(self, batch: Sequence[Encoded]) -> Tensor:
        """Right-pad the examples; compute logits only from the first completion token of the batch on."""
        longest = max(len(example.ids) for example in batch)
        kept = longest - min(example.prompt for example in batch)
        device = self._model.device
        ids = torch.tensor([e.ids + [0] * (longest - len(e.ids)) for e in batch], device=device)
        mask = torch.tensor([[1] * len(e.ids) + [0] * (longest - len(e.ids)) for e in batch], device=device)
        labels = torch.tensor([_labels(example, longest) for example in batch], device=device)
        logits = self._model(input_ids=ids, attention_mask=mask, logits_to_keep=kept + 1).logits[:, :-1]
        target = labels[:, -kept:]
        return nn.functional.cross_entropy(
            logits.float().flatten(0, 1), target.flatten(), ignore_index=IGNORE, reduction="sum"
        )


def _labels(example: Encoded, length: int) -> list[int]:
    padding = [IGNORE] * (length - len(example.ids))
    return [IGNORE] * example.prompt + example.ids[example.prompt :] + padding


def _update(engine: Any, batch: Sequence[Encoded], lm: LanguageModel) -> float:
    """Accumulate the gradient of a whole batch, this rank computing its share, and step; return the mean loss."""
    tokens = sum(len(example.ids) - example.prompt for example in batch)
    rounds = math.ceil(math.ceil(len(batch) / ranks.WORLD_SIZE) / _MICRO_BATCH)
    mine = batch[ranks.RANK :: ranks.WORLD_SIZE]
    total = torch.zeros(())
    for part in range(rounds):
        examples = mine[part * _MICRO_BATCH : (part + 1) * _MICRO_BATCH]
        engine.set_gradient_accumulation_boundary(part == rounds - 1)
        # Every rank makes the same number of passes, or the others would wait for its gradient for ever.
        loss = engine(examples) if examples else 0 * engine(batch[:1])
        engine.backward(loss * (ranks.WORLD_SIZE / tokens))
        engine.step()
        total += loss.detach().cpu()
    if ranks.WORLD_SIZE > 1:
        total = total.to(lm.device)
        torch.distributed.all_reduce(total)
    return float(total) / tokens


def _engine(peft_model: Any, tuning: Tuning, config: dict[str, object]) -> Any:
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    os.environ.setdefault("LOCAL_RANK", "0")
    ranks.initialize()
    import deepspeed

    # DeepSpeed would compile its shared-memory reduction with the system's C++ compiler, for a minute and where there
    # is one; the gradient of a soft prompt is some ten thousand numbers, which gloo adds up in no time.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    trainee = _Trainee(peft_model)
    defaults: dict[str, object] = {
        "zero_optimization": {"stage": 0},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    sizes = {"train_micro_batch_size_per_gpu": _MICRO_BATCH, "gradient_accumulation_steps": 1}
    settings = json.loads(json.dumps({**defaults, **config, **sizes}))
    settings.pop("train_batch_size", None)
    has_own = "optimizer" in settings
    optimizer = None if has_own else torch.optim.Adam(trainee.parameters(), lr=tuning.learning_rate)
    return deepspeed.initialize(
        model=trainee, model_parameters=trainee.parameters(), optimizer=optimizer, config=settings
    )[0]
