"""Torch's optimizers, as stages have them, beside those that import torch._dynamo."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

TRAINING = """
import hashlib, json, sys, torch
from torch import nn

if sys.argv[1] == "spared":
    from evohpc.evaluation.stage import main
    main.preload()

def train(optimizer, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.GELU(), nn.Linear(16, 4, bias=False))
    x, y = torch.randn(32, 8), torch.randint(0, 4, (32,))
    ready = optimizer(model.parameters(), lr=0.01, **options)
    def closure():
        ready.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss
    for _ in range(5):
        ready.step(closure)
    ready.load_state_dict(ready.state_dict())
    ready.step(closure)
    assert torch.is_grad_enabled()
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()

found = {}
for name, optimizer in vars(torch.optim).items():
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        for option in ("none", "foreach", "fused", "differentiable"):
            try:
                found[name + " " + option] = train(optimizer, {} if option == "none" else {option: True})
            except Exception as error:
                found[name + " " + option] = repr(error)
print(json.dumps({"found": found, "has dynamo": "torch._dynamo" in sys.modules}))
"""
"""Trains with each optimizer, in each of its ways; prints what the weights are then, or what was raised."""

LATER = """
import os, sys, torch
from evohpc.evaluation.stage import main

main.preload()
os.environ["TORCHDYNAMO_DISABLE"] = "1"
assert "torch._dynamo" not in sys.modules
x = torch.ones(3, requires_grad=True)
USE
import torch._dynamo
assert torch._dynamo is sys.modules["torch._dynamo"]
weight = torch.nn.Parameter(torch.zeros(1))
weight.grad = torch.ones(1)
torch.optim.AdamW([weight]).step()
assert weight.item() < 0
"""
"""A stage, whose program asks for torch._dynamo."""


def output(program: str, *arguments: str) -> str:
    words = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_optimizers_make_the_same_weights_to_the_last_bit() -> None:
    plain, spared = (json.loads(output(TRAINING, way)) for way in ("plain", "spared"))
    assert spared["found"] == plain["found"]
    assert len({*plain["found"].values()}) > 15  # so that they trained
    assert plain["has dynamo"]
    assert not spared["has dynamo"]


@pytest.mark.parametrize(
    "use",
    [
        "assert torch.compile(lambda x: 2 * x, fullgraph=True)(x).sum() == 6",
        "from torch.utils.checkpoint import checkpoint; checkpoint(torch.exp, x, use_reentrant=False).sum().backward()",
        "assert torch.func.grad(lambda x: (x * x).sum())(x.detach()).tolist() == [2, 2, 2]",
        "from torch._dynamo.utils import counters",
    ],
    ids=["compile", "checkpoint", "func", "submodule"],
)
def test_what_asks_for_dynamo_gets_it(use: str) -> None:
    output(LATER.replace("USE", use))
