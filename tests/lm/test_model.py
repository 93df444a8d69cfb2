import pytest
import torch

from evohpc.errors import LMError
from evohpc.lm import model
from evohpc.lm.model import PackedLinear

DTYPES = [torch.float32] + [torch.bfloat16] * bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (896, 128), (896, 1024), (1024, 896)])
def test_a_row_of_a_packed_product_does_not_depend_on_the_others(dtype, inputs, outputs):
    torch.manual_seed(0)
    linear = PackedLinear(torch.nn.Linear(inputs, outputs, dtype=dtype))
    rows = torch.randn(65, inputs, dtype=dtype)
    together = linear(rows)
    for count in (2, 3, 7, 16, 33, 64):
        assert torch.equal(linear(rows[:count].clone()), together[:count])
    order = torch.randperm(65)
    assert torch.equal(linear(rows[order]), together[order])


def test_packing_keeps_the_logits(lm):
    ids = torch.arange(2, 30)[None]
    before = lm.model(ids).logits
    model.pack(lm.model)
    assert any(isinstance(module, PackedLinear) for module in lm.model.modules())
    torch.testing.assert_close(lm.model(ids).logits, before, rtol=1e-4, atol=1e-4)


def test_the_model_is_frozen_and_its_end_token_known(lm):
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert lm.tokenizer.eos_token_id in lm.stop_ids


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no such"}')
    with pytest.raises(LMError, match="cannot be loaded as a Hugging Face causal LM"):
        model.load(tmp_path, "float32")
