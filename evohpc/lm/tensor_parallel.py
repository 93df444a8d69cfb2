"""Tensor parallelism: all ranks hold one model together, each a slice of its matrices (Shoeybi et al. 2019).

transformers slices the weights as it reads them and adds up what the ranks compute. All ranks show the model the same
tokens and call it equally often, as they go on with the same draws (`Replica.agreed`).
"""

from __future__ import annotations

from importlib.metadata import version
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from evohpc.config.lm import is_partitioning
from evohpc.errors import LMError
from evohpc.lm import ranks

if TYPE_CHECKING:
    from transformers import PretrainedConfig
    from transformers.distributed import DistributedConfig


def slicing(replica: ranks.Replica) -> dict[str, DistributedConfig]:
    """Return the options with which transformers keeps only this rank's slices of the weights that it loads.

    Raises:
        LMError: it is too old for that.
    """
    try:
        from transformers.distributed import DistributedConfig

        return {"distributed_config": DistributedConfig(tp_size=replica.ranks)}
    except (ImportError, TypeError):  # the second: it does not know `tp_size` yet
        found = version("transformers")
        raise LMError(f"lm.tensor_parallel needs a newer transformers than {found}; 5.23 was tested") from None


def is_slice(weight: Tensor) -> bool:
    """Say whether each rank has only its slice."""
    from torch.distributed.tensor import DTensor

    return isinstance(weight, DTensor)


def check(folder: Path, config: PretrainedConfig, slices: int, deepspeed_config: dict[str, object]) -> None:
    """See whether a model can be cut into so many slices.

    Raises:
        LMError: transformers does not know how, its heads cannot be divided evenly, or ZeRO-3 divides it already.
    """
    if is_partitioning(deepspeed_config):
        raise LMError("lm.tensor_parallel and a ZeRO stage of 3 in lm.deepspeed exclude each other: take one of them")
    text = config.get_text_config(decoder=True)
    if not text.base_model_tp_plan:
        raise LMError(
            f"{folder}: transformers has no plan for slicing a model of type {config.model_type}: switch "
            "lm.tensor_parallel off, and name a DeepSpeed configuration with ZeRO stage 3 in lm.deepspeed instead"
        )
    heads = text.num_attention_heads
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    shared = gcd(heads, key_heads)
    if shared % slices:
        possible = ", ".join(str(number) for number in range(1, shared + 1) if shared % number == 0)
        raise LMError(
            f"{folder}: {heads} attention heads and {key_heads} key heads cannot be divided among {slices} processes "
            f"(lm.tensor_parallel); lm.processes in the site profile can be {possible}"
        )
