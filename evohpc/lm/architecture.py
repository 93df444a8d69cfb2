"""What a model must be like for this engine to generate with it; known from its configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evohpc.errors import LMError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_KNOWN_LAYERS = {"full_attention", "sliding_attention"}


def check(folder: Path, config: PretrainedConfig) -> None:
    """See whether the engine can generate with a model.

    Raises:
        LMError: it cannot; says why.
    """
    if obstacle := _obstacle(config):
        raise LMError(
            f"{folder}: evohpc cannot generate with a model of type {config.model_type}: {obstacle}; take one of full "
            "or sliding attention, such as Qwen2.5-Coder, Llama, Mistral or Gemma 2"
        )


def context(config: PretrainedConfig) -> int | None:
    """Return how many tokens a model takes, a prompt and its completion together; None if it does not say."""
    limit: int | None = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return limit


def _obstacle(config: PretrainedConfig) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    text = config.get_text_config(decoder=True)
    family = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if strange := sorted(set(getattr(text, "layer_types", None) or ()) - _KNOWN_LAYERS):
        return f"it has layers of {' and '.join(strange)}"
    if getattr(family, "_is_stateful", False):
        return "it is recurrent"
    caps_scores = getattr(text, "attn_logit_softcapping", None) is not None
    is_exchangeable = getattr(family, "_can_set_attn_implementation", lambda: True)()
    if not is_exchangeable or not (getattr(family, "_supports_sdpa", True) or caps_scores):
        return "transformers computes its attention in a way of its own"
    return ""
