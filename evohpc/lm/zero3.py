"""A model that no single GPU holds: DeepSpeed's ZeRO-3 leaves each rank a part of every weight.

A module's weights come together for the time of its forward or backward pass, on all ranks at once. So each rank must
call the model as often as every other (`Lockstep`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from evohpc.config.lm import is_partitioning
from evohpc.lm import ranks

_FLAGS = {torch.bfloat16: "bf16", torch.float16: "fp16"}


@contextmanager
def loading(deepspeed_config: dict[str, object], dtype: torch.dtype) -> Iterator[None]:
    """Have transformers keep only this rank's part of the weights that it loads meanwhile, if that is asked for."""
    if not is_partitioning(deepspeed_config):
        yield
        return
    ranks.initialize_deepspeed()
    from transformers.integrations import HfDeepSpeedConfig

    settings = {**deepspeed_config, "train_micro_batch_size_per_gpu": 1}
    if dtype in _FLAGS:
        settings[_FLAGS[dtype]] = {"enabled": True}
    # transformers asks for it as long as it lives.
    alive = HfDeepSpeedConfig(json.loads(json.dumps(settings)))
    yield
    del alive


@contextmanager
def whole(weight: Tensor) -> Iterator[None]:
    """Bring a weight together, on all ranks; does nothing with one that is not partitioned."""
    if not is_partitioned(weight):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(weight):
        yield


def is_partitioned(weight: Tensor) -> bool:
    """Say whether each rank has only its part."""
    return hasattr(weight, "ds_id")


def attach(model: Any, deepspeed_config: dict[str, object]) -> None:
    """Make a model that was not tuned, and so has no engine, gather its weights as it runs."""
    import deepspeed

    settings = {**deepspeed_config, "train_micro_batch_size_per_gpu": 1}
    deepspeed.initialize(model=model, config=json.loads(json.dumps(settings)))


class Lockstep:
    """Calls a model as often as the busiest rank does."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, **inputs: Any) -> Any:
        ranks.total(1)
        return self._model(**inputs)

    def finish(self) -> None:
        """Go on calling, for nothing, until no rank needs the weights."""
        nothing = torch.zeros(1, 1, dtype=torch.long, device=self._model.device)
        while ranks.total(0):
            self._model(input_ids=nothing, use_cache=False)
