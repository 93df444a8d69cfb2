"""An adapter on disk: a folder in the format of peft."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from evohpc.errors import LMError, storage_error
from evohpc.files import aside_of, put_folder, read_json, strays_of
from evohpc.lm.model import may_pass

if TYPE_CHECKING:
    from peft import PeftConfig

WEIGHTS = "adapter_model.safetensors"
_SETTINGS = "adapter_config.json"


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return an adapter's settings, as peft names them (`peft_type` is always there), and its weights, in float32.

    Raises:
        LMError: it is missing or damaged.
        OSError: the file system may give it next time.
    """
    try:
        settings = read_json(folder / _SETTINGS)
        weights = {name: weight.float() for name, weight in load_file(folder / WEIGHTS).items()}
        settings["peft_type"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if may_pass(error):
            raise
        raise LMError(f"{folder} holds no adapter: {error}; take it from a backup") from None
    return settings, weights


def write(folder: Path, config: PeftConfig, weights: dict[str, Tensor]) -> None:
    """Write an adapter folder that peft can load, whole or not at all; one that is there stays as it is.

    Raises:
        StorageError: the file system refused.
    """
    aside = aside_of(folder)
    try:
        config.save_pretrained(aside)
        # Not by save_file(), whose error for a full disk is no OSError.
        (aside / WEIGHTS).write_bytes(save({name: w.float().cpu().contiguous() for name, w in weights.items()}))
        put_folder(aside, folder)
    except OSError as error:
        if not (folder / WEIGHTS).exists():  # else a twin, of a node that was cut off, was faster
            raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for stray in strays_of(folder):
        shutil.rmtree(stray, ignore_errors=True)
