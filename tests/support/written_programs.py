"""Programs as language models write them, in whose models PyTorch's less usual parts meet; all are to be trained."""

from __future__ import annotations

from support.evaluating import PRELUDE


def _model(begin: str, forward: str, extra: str = "") -> str:
    return (
        f"{PRELUDE}class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        {begin}\n    def forward(self, x):\n        {forward}\n{extra}"
    )


_SEVERAL = "nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 10))"
UNUSUAL = {
    "norms of weights": (
        _model(
            "self.a = torch.nn.utils.weight_norm(nn.Linear(40, 16)); "
            "self.b = torch.nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)); "
            "self.c = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(16, 10))",
            "return self.c(F.relu(self.b(F.relu(self.a(x)))))",
        ),
        1156,
    ),
    "what imports a compiler": (
        _model(
            "self.out = torch.compile(nn.Linear(40, 10), fullgraph=True)",
            "slope = torch.func.grad(lambda x: x.sin().sum())(x); "
            "return torch.utils.checkpoint.checkpoint(self.out, x + slope, use_reentrant=False)",
        ),
        410,
    ),
    "tied weights": (
        _model(
            "self.a = nn.Linear(40, 40, bias=False); self.b = nn.Linear(40, 40, bias=False); "
            "self.b.weight = self.a.weight; self.out = nn.Linear(40, 10)",
            "return self.out(self.b(F.relu(self.a(x))))",
        ),
        2010,
    ),
    "a parameter over a view": (
        _model(
            "self.a = nn.Linear(40, 20); self.top = nn.Parameter(self.a.weight[:10]); self.out = nn.Linear(20, 10)",
            "return self.out(self.a(x)) + x @ self.top.T",
        ),
        1430,
    ),
    "a lazy layer never called, and a strange name": (
        _model(
            'self.parts = nn.ModuleDict({"größe/a": nn.Linear(40, 10), "unused": nn.LazyLinear(5)})',
            'return self.parts["größe/a"](x)',
        ),
        410,
    ),
    "TorchScript": (_model(f"self.net = torch.jit.script({_SEVERAL})", "return self.net(x)"), 1642),
    "a state_dict of its own": (
        _model(
            "self.out = nn.Linear(40, 10)",
            "return self.out(x)",
            "    def state_dict(self, *args, **kwargs):\n        return super().state_dict(*args, **kwargs)\n",
        ),
        410,
    ),
    "train and eval of its own": (
        _model(
            "self.out = nn.Linear(40, 10)",
            "return self.out(x)",
            "    def train(self, mode=True):\n        return self\n    def eval(self):\n        return self\n",
        ),
        410,
    ),
    "noise on the input in training": (
        _model(
            "self.out = nn.Linear(40, 10)",
            "x = x.clone(); x += 0.1 * torch.randn_like(x) * self.training; "
            "return self.out(F.dropout(x, 0.1, self.training))",
        ),
        410,
    ),
    "many types in one model": (
        _model(
            "self.out = nn.Linear(40, 10)\n"
            '        self.register_buffer("on", torch.ones(40, dtype=torch.bool))\n'
            '        self.register_buffer("brain", torch.ones(40, dtype=torch.bfloat16))\n'
            '        self.register_buffer("short", torch.ones(40, dtype=torch.float16))\n'
            "        self.wide = nn.Parameter(torch.ones(40, dtype=torch.float64))",
            "return self.out((x * self.on * self.brain * self.short * self.wide).float())",
        ),
        610,
    ),
}
"""What it has -> the program, for MNIST-1D, and how many 32-bit words its checkpoints hold."""
EXPANDED = _model(
    "self.row = nn.Parameter(torch.zeros(1, 40).expand(10, 40)); self.out = nn.Linear(40, 10)",
    "return self.out(x) + x @ self.row.T",
)
"""A parameter in which ten rows share their memory: nothing can train it, and PyTorch may abort."""
