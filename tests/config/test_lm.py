"""DeepSpeed's settings, as people have them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evohpc.config.lm import read_deepspeed_config
from evohpc.errors import ConfigError

TRAINER = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "zero_optimization": {"stage": 2},
}
"""What a file for the Trainer of transformers has, and evohpc sets itself."""


def write(folder: Path, settings: object) -> Path:
    (folder / "ds.json").write_text(json.dumps(settings))
    return folder / "ds.json"


def test_sizes_of_batches_may_be_left_to_whoever_sets_them(tmp_path: Path) -> None:
    assert read_deepspeed_config(write(tmp_path, TRAINER)) == TRAINER


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"gradient_clipping": "auto"}, "gradient_clipping"),
        ({"bf16": {"enabled": "auto"}}, "bf16.enabled"),
        ({"optimizer": {"type": "AdamW", "params": {"lr": "auto"}}}, "optimizer.params.lr"),
    ],
)
def test_what_only_a_trainer_fills_in_is_named(tmp_path: Path, settings: dict[str, object], key: str) -> None:
    path = write(tmp_path, {**TRAINER, **settings})
    with pytest.raises(ConfigError, match=re.escape(f'lm.deepspeed: {path}: {key} is "auto", which only the Trainer')):
        read_deepspeed_config(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_python_takes_for_json_and_is_none_is_refused(tmp_path: Path, value: float) -> None:
    """Or the first round would find that no request can hold it."""
    path = write(tmp_path, {"gradient_clipping": value})
    with pytest.raises(ConfigError, match=re.escape(f"lm.deepspeed: {path}: holds NaN or Infinity, which are no JSON")):
        read_deepspeed_config(path)
