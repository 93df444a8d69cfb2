import pytest
import torch

from evohpc.lm.loss import cross_entropy


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_and_gradient_are_those_of_torch(dtype: torch.dtype) -> None:
    noise = torch.Generator().manual_seed(0)
    hidden = torch.randn(300, 8, generator=noise).to(dtype)
    head = torch.randn(8, 50, generator=noise).to(dtype)
    targets = torch.randint(50, (300,), generator=noise)
    weights = torch.rand(300, generator=noise)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    loss = cross_entropy(ours @ head, targets, weights)
    expected = (torch.nn.functional.cross_entropy((theirs @ head).float(), targets, reduction="none") * weights).sum()
    torch.autograd.backward([3 * loss, 3 * expected])
    torch.testing.assert_close(loss, expected)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert (ours.grad - theirs.grad).norm() < 2 * torch.finfo(dtype).eps * theirs.grad.norm()


def test_logits_that_need_no_gradient_are_left_alone() -> None:
    logits = torch.randn(5, 7)
    before = logits.clone()
    cross_entropy(logits, torch.zeros(5, dtype=torch.long), torch.ones(5))
    assert torch.equal(logits, before)
