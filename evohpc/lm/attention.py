"""Attention for decoding many rows on a CPU, as an attention implementation of transformers.

One new token per row attends to that row's own keys. torch's fused kernel runs this case at a third of the speed of
two batched matrix products, so those are used, with the query heads that share a key head as
the rows of one product. Every other case is transformers' own "sdpa".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NAME = "evohpc"


def register() -> None:
    """Make `attn_implementation=NAME` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """See `transformers.AttentionInterface`.

    Args:
        query: [rows, heads, new tokens, width].
        key, value: [rows, key heads, tokens, width].
        attention_mask: additive, [rows, 1, 1, tokens], where there is one new token per row.

    Returns:
        ([rows, new tokens, heads, width], None).
    """
    if _is_decoding(query, attention_mask, options):
        assert attention_mask is not None
        return _decode(query, key, value, attention_mask, scaling or query.shape[-1] ** -0.5), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)[0]
    return output, None


def _is_decoding(query: Tensor, mask: Tensor | None, options: dict[str, Any]) -> bool:
    is_plain = all(options.get(name) is None for name in ("softcap", "s_aux", "position_bias"))
    is_single = query.shape[2] == 1 and query.device.type == "cpu"
    return is_plain and is_single and mask is not None and mask.dtype == query.dtype


def _decode(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    rows, heads, _, width = query.shape
    key_heads, tokens = key.shape[1:3]
    queries = query.reshape(rows * key_heads, heads // key_heads, width)
    scores = torch.bmm(queries, key.flatten(0, 1).transpose(1, 2)).mul_(scaling)
    scores.view(rows, heads, tokens).add_(mask[:, 0])
    weights = torch.softmax(scores, -1)
    return torch.bmm(weights, value.flatten(0, 1)).view(rows, 1, heads, width)
