"""Whether a folder can be the language model, as far as its files tell."""

from __future__ import annotations

import json
from pathlib import Path

from evohpc.errors import LMError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


def check_model_folder(path: Path) -> None:
    """Check that a folder looks like a Hugging Face causal LM, without loading it.

    Raises:
        LMError: it is missing, or lacks its config, weights or tokenizer.
    """
    advice = "lm.path must name the folder of a Hugging Face causal LM; evohpc fetch-lm makes one"
    if not path.is_dir():
        raise LMError(f"{path} is {'not a folder' if path.exists() else 'missing'}; {advice}")
    if not (path / "config.json").is_file():
        raise LMError(f"{path} has no config.json; {advice}")
    if missing := _missing_weights(path):
        raise LMError(f"{path} has no {missing}; {advice}")
    if not any((path / name).is_file() for name in _TOKENIZERS):
        raise LMError(f"{path} has no tokenizer ({', '.join(_TOKENIZERS)}); {advice}")


def _missing_weights(path: Path) -> str | None:
    """Return which weights a model folder lacks; None if it lacks none."""
    for index in path.glob("*.index.json"):
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return f"readable {index.name}"
        return next((str(shard) for shard in sorted(shards) if not (path / shard).is_file()), None)
    has_weights = any(path.glob("*.safetensors")) or any(path.glob("pytorch_model*.bin"))
    return None if has_weights else "weights (*.safetensors)"
