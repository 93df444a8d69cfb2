"""A GGUF file to a Hugging Face folder in bfloat16. Needs the `gguf` package, and only here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from evohpc.errors import LMError

MAGIC = b"GGUF"


def require_converter() -> None:
    """Check that the packages of the conversion are there.

    Raises:
        LMError: one is missing; says what to install.
    """
    missing = [name for name in ("torch", "transformers", "gguf", "sentencepiece") if not _is_installed(name)]
    if missing:
        raise LMError(
            f"converting the model needs {', '.join(missing)}; "
            f"install what is missing: {sys.executable} -m pip install 'evohpc[lm,convert]'"
        )


def convert(gguf: Path, folder: Path, *, tied: bool) -> None:
    """Dequantize a GGUF file into `folder`: config.json, model.safetensors, tokenizer.

    Args:
        tied: the model's input and output embeddings are one matrix upstream. llama.cpp stores it twice, at two
            precisions; the more precise copy becomes both.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    # Left to itself transformers 5 keeps the weights packed, which cannot be saved and is slow on a CPU.
    dequantize = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**source, quantization_config=dequantize, dtype=torch.bfloat16)
    if tied:
        embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
        best = output.weight if _output_is_more_precise(gguf) else embedding.weight
        embedding.weight = output.weight = best
        model.config.tie_word_embeddings = True
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = ""
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


def _output_is_more_precise(gguf: Path) -> bool:
    from gguf import GGUFReader

    sizes = {tensor.name: tensor.n_bytes for tensor in GGUFReader(gguf).tensors}
    return bool(sizes.get("output.weight", 0) > sizes["token_embd.weight"])


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
