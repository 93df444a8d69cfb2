import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D

from evohpc.errors import LMError
from evohpc.lm import model
from evohpc.lm.model import LanguageModel, PackedLinear

DTYPES = [torch.float32] + [torch.bfloat16] * bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("inputs", "outputs"), [(64, 64), (896, 128), (896, 896), (896, 1024), (1024, 896), (4864, 896), (896, 20_000)]
)
def test_a_row_of_a_packed_product_does_not_depend_on_the_others(dtype: torch.dtype, inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    linear = PackedLinear(torch.nn.Linear(inputs, outputs, dtype=dtype))
    rows = torch.randn(65, inputs, dtype=dtype)
    together = linear(rows)
    for count in (1, 2, 3, 4, 7, 16, 31, 32, 33, 36, 37, 64):
        assert torch.equal(linear(rows[:count].clone()), together[:count])
    order = torch.randperm(65)
    assert torch.equal(linear(rows[order]), together[order])
    assert torch.equal(linear(rows[None, :, None]), together[None, :, None])


def test_a_product_is_the_same_while_gradients_are_enabled() -> None:
    linear, rows = PackedLinear(torch.nn.Linear(896, 128)), torch.randn(9, 896)
    enabled = linear(rows)
    with torch.inference_mode():
        assert torch.equal(linear(rows), enabled)


def test_a_prompt_is_multiplied_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, rows = torch.nn.Linear(64, 128), torch.randn(2, 40, 64)
    whole, blocks = PackedLinear(linear, rows=79), PackedLinear(linear, rows=80)
    counted: list[int] = []
    product = model._Product.__call__

    def count(self: model._Product, x: torch.Tensor) -> torch.Tensor:
        counted.append(x.shape[:-1].numel())
        return product(self, x)

    monkeypatch.setattr(model._Product, "__call__", count)
    torch.testing.assert_close(whole(rows), linear(rows))
    torch.testing.assert_close(blocks(rows), linear(rows))
    assert counted == [80, 32, 32, 16] or counted == [80, 32, 32, 32]


def test_packing_keeps_the_logits(lm: LanguageModel) -> None:
    ids = torch.arange(2, 30)[None]
    before = lm.model(ids).logits
    model.pack(lm.model)
    assert any(isinstance(module, PackedLinear) for module in lm.model.modules())
    torch.testing.assert_close(lm.model(ids).logits, before, rtol=1e-4, atol=1e-4)


def test_the_transposed_layers_of_gpt_2_are_packed_as_linear_ones() -> None:
    """Else a completion of a resumed round would be another one, as fewer rows are drawn together."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(Conv1D(768, 256))
    rows = torch.randn(40, 256)
    before = layers(rows)
    model.pack(layers)
    together = layers(rows)
    torch.testing.assert_close(together, before)
    assert all(torch.equal(layers(rows[:count].clone()), together[:count]) for count in range(1, 40))


def test_the_model_is_frozen_and_its_end_token_known(lm: LanguageModel) -> None:
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert lm.tokenizer.eos_token_id in lm.stop_ids


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such"}')
    with pytest.raises(LMError, match="cannot be loaded as a Hugging Face causal LM"):
        model.load(tmp_path, "float32")


def _write(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def _drop_head(folder: Path) -> None:
    """As a base model, saved without its head, has it."""
    weights = load_file(folder / "model.safetensors")
    head = {name for name in weights if name.startswith("lm_head")}
    save_file({name: weight for name, weight in weights.items() if name not in head}, folder / "model.safetensors")
    _write(folder, tie_word_embeddings=False)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_drop_head, r"lm_head\.weight of what its config\.json names is not in its files"),
        (lambda at: _write(at, vocab_size=7), "is not in its files, or has another shape|cannot be loaded"),
        (lambda at: _write(at, hidden_size="32"), "cannot be loaded as a Hugging Face causal LM"),
        (lambda at: _write(at, num_hidden_layers=9), "of what its config|cannot be loaded as a Hugging Face causal LM"),
        (lambda at: (at / "tokenizer.json").write_text('{"model": 1}'), "cannot be loaded as a Hugging Face causal LM"),
        (lambda at: (at / "model.safetensors").write_bytes(b"\x08" + bytes(20)), "cannot be loaded as a Hugging Face"),
    ],
)
def test_a_folder_that_is_not_whole_is_one_sentence(
    tmp_path: Path, model_folder: Path, spoil: Callable[[Path], object], said: str
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    spoil(folder)
    with pytest.raises(LMError, match=said):
        model.load(folder, "float32")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), OSError(errno.ESTALE, "Stale file handle")]
)
def test_what_may_pass_is_no_fault_of_the_folder(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", refuse)
    with pytest.raises(type(error), match=str(error.args[-1])):
        model.load(model_folder, "float32")
