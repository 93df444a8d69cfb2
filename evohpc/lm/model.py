"""Loads a Hugging Face causal LM folder, offline, and makes it fast where torch leaves speed on the table."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from evohpc.errors import LMError
from evohpc.lm import architecture, attention, ranks, tensor_parallel, zero3
from evohpc.lm.stopping import stop_ids

_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOMEM)
"""Of a file system that answers again later, and a node that has memory again."""


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal LM with its tokenizer."""

    model: Any
    """A transformers causal LM in evaluation mode; no parameter of it requires a gradient."""
    tokenizer: Any
    """A transformers tokenizer with a Rust backend."""
    stop_ids: frozenset[int]
    """Tokens that end a completion: end-of-sequence and all other special tokens."""
    replica: ranks.Replica
    """Which ranks hold it, and which of the models that there are it is."""

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def is_partitioned(self) -> bool:
        """Say whether each rank has only its part of the weights (ZeRO-3)."""
        return zero3.is_partitioned(self.model.get_input_embeddings().weight)

    @property
    def vocabulary(self) -> range:
        """Token ids that have a text and an embedding."""
        return range(min(len(self.tokenizer), self.model.get_input_embeddings().num_embeddings))

    def embed(self, ids: Tensor) -> Tensor:
        """Return the input embeddings of token ids.

        Shape: [..., tokens] -> [..., tokens, hidden size], in the model's dtype.
        """
        vectors: Tensor = self.model.get_input_embeddings()(ids.to(self.device))
        return vectors

    @contextmanager
    def beginning_with(self, virtual: Tensor | None) -> Iterator[None]:
        """Put virtual tokens in the place of the first ids of every forward pass, if there are any.

        Exchanging them within the pass, rather than passing embeddings in, keeps the order of modules that ZeRO-3
        needs to be the same on all ranks.

        Args:
            virtual: [virtual tokens, hidden size].
        """
        if virtual is None:
            yield
            return

        def exchange(module: nn.Module, ids: Any, vectors: Tensor) -> Tensor:
            return torch.cat([virtual[None].to(vectors).expand(len(vectors), -1, -1), vectors[:, len(virtual) :]], 1)

        handle = self.model.get_input_embeddings().register_forward_hook(exchange)
        try:
            yield
        finally:
            handle.remove()


def configure_torch(threads: int) -> None:
    """Fix what results depend on beside the weights: the number of threads and deterministic kernels."""
    if threads:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling every fresh tensor costs a tenth of a decoding step, and nothing here reads uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # cuBLAS is deterministic with a fixed workspace only (CUDA toolkit documentation, "Results reproducibility").
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def load(
    folder: Path, dtype: str, deepspeed_config: dict[str, object] | None = None, *, is_sliced: bool = False
) -> LanguageModel:
    """Load a model folder; nothing is downloaded.

    Args:
        dtype: of the weights; on a CPU that cannot compute in it they are widened to float32.
        deepspeed_config: partitions the weights over the ranks if its ZeRO stage is 3.
        is_sliced: whether all ranks hold one model together (tensor parallelism).

    Raises:
        LMError: the folder does not hold a causal LM with a fast tokenizer; or it is one that the engine cannot run, or
            cannot slice.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    replica = ranks.Replica.of(tensor_parallel=is_sliced)
    with reading(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        architecture.check(folder, config)
        if is_sliced:
            tensor_parallel.check(folder, config, replica.ranks, deepspeed_config or {})
        model = _load(folder, _usable(getattr(torch, dtype)), deepspeed_config or {}, replica)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not getattr(tokenizer, "is_fast", False):
        raise LMError(f"{folder} has no fast tokenizer (tokenizer.json); save it with transformers' AutoTokenizer")
    model.requires_grad_(False).eval()
    return LanguageModel(model, tokenizer, stop_ids(model.generation_config, tokenizer), replica)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Say in a sentence what is wrong with a model folder; let pass by what may be right next time.

    Raises:
        LMError: the folder is at fault.
    """
    try:
        yield
    except LMError:
        raise
    except Exception as error:  # of whatever kind: each library of a model folder has its own
        if may_pass(error):
            raise
        raise LMError(f"{folder} cannot be loaded as a Hugging Face causal LM: {_first_line(error)}") from error


def may_pass(error: Exception) -> bool:
    """Say whether reading may go well next time: the folder is not at fault, and another job is to follow."""
    if isinstance(error, OSError):
        return error.errno in _PASSING
    return isinstance(error, torch.OutOfMemoryError | torch.distributed.DistError)


def _whole(model: Any, found: dict[str, Any]) -> Any:
    """Return a model all of whose weights were in its folder. transformers draws others at random, in each process."""
    if lacking := sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"]))):
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise LMError(f"{lacking[0]}{more} of what its config.json names is not in its files, or has another shape")
    return model


def _load(folder: Path, dtype: torch.dtype, deepspeed_config: dict[str, object], replica: ranks.Replica) -> Any:
    """Return a transformers causal LM, on the device that computes; of its weights, what is this rank's."""
    from transformers import AutoModelForCausalLM

    attention.register()
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention.NAME, "local_files_only": True}
    options["trust_remote_code"] = False  # or transformers would ask on the terminal
    options["output_loading_info"] = True
    if replica.ranks > 1:
        return _whole(*AutoModelForCausalLM.from_pretrained(folder, **options, **tensor_parallel.slicing(replica)))
    with zero3.loading(deepspeed_config, dtype):
        model = _whole(*AutoModelForCausalLM.from_pretrained(folder, **options))
    is_whole = not zero3.is_partitioned(model.get_input_embeddings().weight)
    return model.to("cuda") if is_whole and torch.cuda.is_available() else model


def pack(model: nn.Module, rows: int = 256) -> None:
    """Store the weights of all linear layers in the layout that oneDNN multiplies with, in place.

    The unpacked layout is converted on every call, which at a few rows costs as much as the product. Afterwards the
    model can only be run forwards. Layers of which this rank has a slice stay as they are.

    Args:
        rows: most rows that are decoded together; see `PackedLinear`.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            linear = _linear(child)
            if linear is not None and _can_pack_weight(linear.weight):
                setattr(parent, name, PackedLinear(linear, rows))


def _linear(layer: nn.Module) -> nn.Linear | None:
    """Return a layer that multiplies with a weight as a linear one: GPT-2 and its kin hold theirs transposed."""
    if type(layer) is nn.Linear:
        return layer
    if type(layer) is not Conv1D:
        return None
    weight: Tensor = layer.get_parameter("weight").detach()
    inputs, outputs = weight.shape
    linear = nn.Linear(inputs, outputs, device="meta")
    linear.weight = nn.Parameter(weight.t().contiguous(), requires_grad=False)
    linear.bias = layer.get_parameter("bias")
    return linear


class PackedLinear(nn.Module):
    """`nn.Linear` with its weight in oneDNN's own layout; forward only.

    Each row of a product of at most `rows` rows depends on its own row of the input only, bit for bit, whatever the
    number of rows: `tests/lm/test_model.py` holds this. oneDNN alone does not promise it. With AMX it takes another
    kernel, which sums in another order, for another number of rows. So the rows are multiplied in blocks, and the last
    block is filled up where this machine's kernels for such a weight need it. A product of more rows is that of a whole
    prompt, which is computed alone; it is multiplied at once.
    """

    def __init__(self, linear: nn.Linear, rows: int = 256) -> None:
        super().__init__()
        self._product = _Product(linear.weight.detach(), None if linear.bias is None else linear.bias.detach())
        self._rows = rows
        self._fewest = _fewest_rows(linear.weight.shape, linear.weight.dtype, linear.bias is not None)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape: [..., in features] -> [..., out features]."""
        rows = inputs.shape[:-1].numel()
        if rows > self._rows or self._fewest <= rows <= _BLOCK:
            return self._product(inputs)
        blocks = torch.split(inputs.reshape(rows, -1), _BLOCK)
        return torch.cat([self._block(block) for block in blocks]).view(*inputs.shape[:-1], -1)

    def _block(self, inputs: Tensor) -> Tensor:
        """Return the product of at most `_BLOCK` rows. Shape: [rows, in features] -> [rows, out features]."""
        missing = max(0, self._fewest - len(inputs))
        return self._product(nn.functional.pad(inputs, (0, 0, 0, missing)))[: len(inputs)]


_BLOCK = 32
"""Rows of a full block. With AMX they take hardly longer than two; without it, a product of more is no faster a row."""


class _Product:
    """oneDNN's own product with a packed weight; with AMX, its rows depend on how many there are."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, _BLOCK)
        self._bias = bias

    @torch.no_grad()  # with gradients enabled, oneDNN takes the kernels of training, which sum in another order
    def __call__(self, inputs: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._packed, self._bias, "none", [], "")
        return product


@cache
def _fewest_rows(shape: torch.Size, dtype: torch.dtype, has_bias: bool) -> int:
    """Return the number of rows from which on a product gives each row as a full block does; found by trying them all.

    Kernels are chosen by shape and dtype, so weights are taken that show every difference: the second half of each sum
    takes away what the first half added. Only the rounding remains, and another order rounds differently.

    Args:
        shape: [out features, in features].
    """
    outputs, half = shape[0], shape[1] // 2
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(half, generator=generator)
    weight, inputs = (torch.randn(rows, half, generator=generator).to(dtype) for rows in (outputs, _BLOCK))
    odd = shape[1] - 2 * half
    weight = nn.functional.pad(torch.cat([weight, weight[:, order]], 1), (0, odd))
    inputs = nn.functional.pad(torch.cat([inputs, -inputs[:, order]], 1), (0, odd))
    product = _Product(weight, torch.zeros(outputs, dtype=dtype) if has_bias else None)
    full = product(inputs)
    differs = (rows for rows in range(_BLOCK - 1, 0, -1) if not product(inputs[:rows]).equal(full[:rows]))
    return 1 + next(differs, 0)


def _usable(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype to compute in: without hardware support a narrow type is many times slower than float32."""
    if torch.cuda.is_available() or _can_pack(dtype):
        return dtype
    return torch.float32


def _can_pack_weight(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and not tensor_parallel.is_slice(weight) and _can_pack(weight.dtype)


def _can_pack(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return dtype == torch.float32


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
