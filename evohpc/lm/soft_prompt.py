"""The soft prompt (Lester et al. 2021): virtual tokens in front of every prompt, kept as a peft adapter."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, Philox
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from evohpc.errors import LMError
from evohpc.lm.model import LanguageModel
from evohpc.records import Tuning
from evohpc.rundir import storage_error

WEIGHTS = "adapter_model.safetensors"


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


def _sampled_vocabulary(lm: LanguageModel, tuning: Tuning) -> Tensor:
    special = set(lm.tokenizer.all_special_ids)
    ordinary = [token for token in lm.vocabulary if token not in special]
    drawn = rng(tuning.seed, 0).choice(ordinary, tuning.virtual_tokens)
    return lm.embed(torch.from_numpy(drawn)).detach().float()


def rng(seed: int, key: int) -> Generator:
    """Return the noise of one purpose of a tuning; the first key is the initial prompt's."""
    return Generator(Philox(np.random.SeedSequence(seed, spawn_key=(key,))))
