"""The soft prompt (Lester et al. 2021): virtual tokens in front of every prompt, kept as a peft adapter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import Tensor, nn

from evohpc.errors import LMError
from evohpc.lm import peft_folder, zero3
from evohpc.lm.model import LanguageModel
from evohpc.messages import Tuning

_KEY = "prompt_embeddings"


def load(folder: Path) -> Tensor:
    """Return the virtual tokens of an adapter folder.

    Shape: [virtual tokens, hidden size], float32.

    Raises:
        LMError: it is missing, damaged, or no soft prompt.
    """
    _, weights = peft_folder.read(folder)
    if _KEY not in weights:
        raise LMError(f"{folder} holds no soft prompt: its weights are {', '.join(weights)}")
    return weights[_KEY]


def save(tokens: Tensor, folder: Path, model: str) -> None:
    """Write an adapter folder that peft can load, whole or not at all.

    Args:
        tokens: [virtual tokens, hidden size].
        model: folder of the model that they were tuned with.

    Raises:
        StorageError: the file system refused.
    """
    from peft import PromptTuningConfig, TaskType

    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=model,
        num_virtual_tokens=tokens.shape[0],
        token_dim=tokens.shape[1],
        inference_mode=True,
    )
    peft_folder.write(folder, config, {_KEY: tokens})


class SoftPrompt(nn.Module):
    """Virtual tokens that can be trained.

    Shape: () -> [1, virtual tokens, hidden size].
    """

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = nn.Parameter(tokens.detach().float().clone())

    def forward(self) -> Tensor:
        return self.tokens[None]

    def tuned(self) -> Tensor:
        """Return a copy of the virtual tokens, on all ranks.

        Shape: [virtual tokens, hidden size].
        """
        with zero3.whole(self.tokens):
            return self.tokens.detach().clone()


def initial(lm: LanguageModel, tuning: Tuning, start: Tensor | None) -> Tensor:
    """Return what a tuning starts from: `start`, or a sample of the vocabulary's embeddings.

    Shape: [virtual tokens, hidden size].

    Raises:
        LMError: `start` has another number of virtual tokens.
    """
    if start is None:
        return _sampled_vocabulary(lm, tuning)
    if len(start) != tuning.virtual_tokens:
        asked = tuning.virtual_tokens
        raise LMError(f"the last soft prompt has {len(start)} virtual tokens, tuning.virtual_tokens asks for {asked}")
    return start.to(lm.device)


def _sampled_vocabulary(lm: LanguageModel, tuning: Tuning) -> Tensor:
    special = set(lm.tokenizer.all_special_ids)
    ordinary = [token for token in lm.vocabulary if token not in special]
    drawn = rng(tuning.seed, 0).choice(ordinary, tuning.virtual_tokens)
    with zero3.whole(lm.model.get_input_embeddings().weight):
        return lm.embed(torch.from_numpy(drawn)).detach().float()


def rng(seed: int, key: int) -> Generator:
    """Return the noise of one purpose of a tuning; the first key is the initial prompt's."""
    return Generator(Philox(np.random.SeedSequence(seed, spawn_key=(key,))))
