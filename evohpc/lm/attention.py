"""Attention for decoding and for tuning on a CPU, as an attention implementation of transformers.

In decoding, the few new tokens of each row attend to that row's own keys; in tuning, each example of a pack attends to
the beginning that all share and to itself. torch's fused kernel runs the first at a third of the speed of two batched
matrix products, and would compute all that the mask of the second hides. So batched products are used, with the query
heads that share a key head as the rows of one product. Every other case is transformers' own "sdpa".
"""

from __future__ import annotations

from collections.abc import Sequence
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
        attention_mask: additive, [rows, 1, new tokens, tokens], in decoding.
        options: `segments`, where there is one row: lengths of what all see and of what only itself sees besides, as
            `Pack.segments`; says no more than the mask.

    Returns:
        ([rows, new tokens, heads, width], None).
    """
    if _is_decoding(query, attention_mask, options):
        assert attention_mask is not None
        # One by one, so that a token's numbers do not depend on how many are new.
        each = zip(torch.split(query, 1, 2), torch.split(attention_mask, 1, 2), strict=True)
        scale = scaling or query.shape[-1] ** -0.5
        return torch.cat([_decode(one, key, value, mask, scale) for one, mask in each], 1), None
    segments = options.pop("segments", None)
    if segments is not None and _is_plain(options) and query.device.type == "cpu":
        return _by_segment(query, key, value, segments, scaling or query.shape[-1] ** -0.5), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)[0]
    return output, None


def _is_decoding(query: Tensor, mask: Tensor | None, options: dict[str, Any]) -> bool:
    is_shown = mask is not None and mask.dtype == query.dtype and mask.shape[2] == query.shape[2]
    return _is_plain(options) and is_shown and query.device.type == "cpu"


def _is_plain(options: dict[str, Any]) -> bool:
    return all(options.get(name) is None for name in ("softcap", "s_aux", "position_bias"))


def _decode(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    rows, heads, _, width = query.shape
    key_heads, tokens = key.shape[1:3]
    queries = query.reshape(rows * key_heads, heads // key_heads, width)
    scores = torch.bmm(queries, key.flatten(0, 1).transpose(1, 2)).mul_(scaling)
    scores.view(rows, heads, tokens).add_(mask[:, 0])
    weights = torch.softmax(scores, -1)
    return torch.bmm(weights, value.flatten(0, 1)).view(rows, 1, heads, width)


def _by_segment(query: Tensor, key: Tensor, value: Tensor, segments: Sequence[int], scaling: float) -> Tensor:
    """Return the attention of one packed row, segment by segment, as [1, tokens, heads, width]."""
    queries, keys, values = (torch.split(states[0], list(segments), 1) for states in (query, key, value))
    mixed = [_causal(queries[0], keys[0], values[0], scaling)]
    for own in range(1, len(segments)):
        seen_keys, seen_values = (torch.cat([states[0], states[own]], 1) for states in (keys, values))
        mixed.append(_causal(queries[own], seen_keys, seen_values, scaling))
    return torch.cat(mixed, 1).transpose(0, 1)[None]


def _causal(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Return the attention of the last tokens to all.

    Shape: [heads, new tokens, width], [key heads, tokens, width] -> [heads, new tokens, width].
    """
    heads, new, width = query.shape
    key_heads, tokens = key.shape[:2]
    scores = torch.bmm(query.reshape(key_heads, -1, width), key.transpose(1, 2)).view(heads, new, tokens)
    hidden = torch.full((new, tokens), -torch.inf, dtype=query.dtype, device=query.device).triu(tokens - new + 1)
    weights = torch.softmax(scores * scaling + hidden, -1)
    return torch.bmm(weights.view(key_heads, -1, tokens), value).view(heads, new, width)
