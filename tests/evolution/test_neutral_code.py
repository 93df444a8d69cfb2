"""Which programs compute the same, and which do not. Networks are built and trained to see that it is so."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.driving import CONFIG, Driving, InstantRunner, drive, make_run, tables
from support.killing import Killed, declare_dead, mortal
from support.paths import SEEDS
from torch import nn

from evohpc.config.search import load_config
from evohpc.errors import ConfigError
from evohpc.evolution.code_hash import code_hash
from evohpc.evolution.neutral_code import LARGEST, LAYERS, OF_MODULES, computation_hash, likeness, unused
from evohpc.lm_job.scripted import ScriptedLMJob
from evohpc.messages import Completion, Prompt, Sample
from evohpc.run_folder import RunDir
from evohpc.search.rebuild import rebuild
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced")

NETWORK = """\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, width=8, act=None):
        super().__init__()
        self.conv1 = nn.LazyConv1d(width, 5, stride=2)
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        x = F.relu(self.conv1(x.unsqueeze(1)))
        return self.out(x.flatten(1))
"""
PROGRAMS = [path.read_text() for path in sorted(SEEDS.glob("*/*.py"))]
LAST = "        self.out = nn.LazyLinear(10)\n"


def digest(source: str) -> str:
    return computation_hash(ast.parse(source), source)


def exact(source: str) -> str:
    return code_hash(ast.parse(source), source)


def having(statement: str, source: str = NETWORK) -> str:
    """Return a program with a further statement at the end of its constructor."""
    return source.replace(LAST, f"{LAST}        {statement}\n")


def trained(source: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the weights of a network after some steps, and what is drawn at random next."""
    names: dict[str, Any] = {}
    torch.manual_seed(3)
    exec(source, names)
    model = names["Model"]()
    x, y = torch.randn(16, 40), torch.randint(10, (16,))
    model(x)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    weights = [p.detach() for p in model.parameters() if not isinstance(p, nn.UninitializedParameter)]
    return weights, torch.rand(3)


UNUSED = [
    "self.conv2 = nn.LazyConv1d(width, 3)",
    "self.conv2 = nn.LazyConv1d(width * 2, kernel_size=5, stride=2, padding=1)",
    "self.conv2 = nn.LazyConv1d(8, 3); self.conv2 = nn.LazyConv1d(9, 3)",
    "self.fc = nn.LazyLinear(width - 1)",
    "self.fc = nn.LazyLinear(out_features=2.5)",
    "self.pool = nn.MaxPool1d(2)",
    "self.act = nn.ReLU()",
    "self.flat = nn.Flatten(1)",
]
USED = [
    "self.fc = nn.Linear(8, 8)",  # has weights, which count
    "self.norm = nn.LazyBatchNorm1d()",  # counts its batches
    "self.gru = nn.GRU(1, 8)",
    "self.drop = nn.Dropout(2)",  # raises
    "self.conv2 = nn.LazyConv1d(8)",  # raises
    "self.conv2 = nn.LazyConv1d(8, -1)",  # raises
    "self.conv2 = nn.LazyConv1d(8, width)",  # may raise
    "self.conv2 = nn.LazyConv1d(8, 2.5)",  # raises
    "self.conv2 = nn.LazyConv1d(8, True)",
    "self.conv2 = nn.LazyConv1d(*[8, 3])",
    "self.conv2 = nn.LazyConv1d(8, **{'kernel_size': 3})",
    "self.conv2 = nn.LazyConv1d(8, 3, 1, 0, 1, 3)",  # may raise: groups
    "self.conv2 = nn.LazyConv1d(8, 3, padding='same')",
    "self.conv2 = nn.LazyConv1d(8, 3, kernel_size=3)",  # raises
    "self.fc = nn.LazyLinear(unknown)",  # raises
    "self.fc = nn.LazyLinear(width / 0)",
    "self.fc = nn.LazyLinear(width * 2 * 2)",
    f"self.fc = nn.LazyLinear({10**400})",
    "self.fc = nn.LazyLinear(act * 2)",  # raises: its default is None
    "width = 'x'; self.fc = nn.LazyLinear(width * 2)",
    "self.width = width",  # a task may look for numbers
    "self.forward = nn.ReLU()",
    "self.training = nn.ReLU()",
    "self.train = nn.ReLU()",
    "self.conv1 = nn.LazyConv1d(8, 3)",  # another one in its place
    "self.fc = self.act = nn.ReLU()",
    "self.fc: nn.Module = nn.ReLU()",
    "self._fc = nn.ReLU()",
    "self.fc = torch.nn.ReLU()",
]
SEEN = [
    ("x.flatten(1)", "self.conv2(x).flatten(1)"),
    ("x.flatten(1)", "x.flatten(1) + len(list(self.children()))"),
    ("x.flatten(1)", "x.flatten(1) + len(list(super().children()))"),
    ("x.flatten(1)", "x.flatten(1) + len(F.relu(super()))"),
    ("x.flatten(1)", "x.flatten(1) + len(self._modules)"),
    ("x.flatten(1)", "x.flatten(1) + getattr(self, 'conv' + '2').out_channels"),
    ("x.flatten(1)", "x.flatten(1) + str(self).count('c')"),
    ("x.flatten(1)", "x.flatten(1) + len(self.__dict__)"),
    ("def forward(self, x):", "def forward(this, x):\n        self = this"),
    ("    def forward", "    @property\n    def conv2(self):\n        return 1\n\n    def forward"),
    ("    def forward", "    conv2 = property(len)\n\n    def forward"),
    ("    def forward", "    def __setattr__(self, name, value):\n        pass\n\n    def forward"),
    ("    def forward", "    def register_module(self, name):\n        pass\n\n    def forward"),
    ("(nn.Module)", "(nn.Sequential)"),
    ("(nn.Module)", "(nn.Module, object)"),
    (
        "class Model",
        "class Other(nn.Module):\n    def forward(self, x):\n        return Model().conv2\n\n\nclass Model",
    ),
    ("class Model", "def f(module, *_):\n    print(list(module.children()))\n\n\nclass Model"),  # of a hook for all
    ("class Model", "def f():\n    setattr(nn, 'LazyConv1d', nn.Linear)\n\n\nclass Model"),
    ("class Model", "nn.LazyConv1d = nn.Linear\n\n\nclass Model"),
    ("class Model", "def f():\n    nn.LazyConv1d = nn.Linear\n\n\nclass Model"),
    ("class Model", "@torch.jit.script\nclass Model"),
    ("super().__init__()", "nn.Module.__init__(self)"),
    ("import torch.nn as nn", "import torch as nn"),
    ("import torch.nn as nn", "from torch import *"),
    ("width=8", "nn=8"),
]
"""What makes a program one in which an unused `self.conv2` may be seen."""


@pytest.mark.parametrize("statement", UNUSED)
def test_an_unused_layer_without_weights_changes_nothing(statement: str) -> None:
    source = having(statement)
    assert exact(source) != exact(NETWORK)
    assert digest(source) == digest(NETWORK) == exact(NETWORK)
    (before, drawn), (after, then) = trained(NETWORK), trained(source)
    assert len(before) == len(after) == 4
    assert all(map(torch.equal, before, after))
    assert torch.equal(drawn, then)


@pytest.mark.parametrize("statement", USED)
def test_what_may_change_something_counts(statement: str) -> None:
    assert digest(having(statement)) == exact(having(statement))
    assert digest(having(statement)) != digest(NETWORK)


@pytest.mark.parametrize(("old", "new"), SEEN)
def test_a_layer_that_may_be_seen_counts(old: str, new: str) -> None:
    other = NETWORK.replace(old, new, 1)
    assert other != NETWORK
    more = having("self.conv2 = nn.LazyConv1d(8, 3)", other)
    assert digest(more) == exact(more) != digest(other)


def test_a_layer_before_the_module_is_made_counts() -> None:
    early = NETWORK.replace("        super", "        self.act = nn.ReLU()\n        super")
    assert digest(early) != digest(NETWORK)


@pytest.mark.parametrize("source", PROGRAMS)
def test_each_number_of_what_is_used_counts(source: str) -> None:
    """A width of 8 in place of 32 is the most important change there is."""
    numbers = list(re.finditer(r"(?<![\w.])\d+(?![\w.])", source))
    changed = [f"{source[: n.start()]}{int(n.group()) + 1}{source[n.end() :]}" for n in numbers]
    assert digest(source) == exact(source)
    assert len({digest(each) for each in (source, *changed)}) == 1 + len(numbers)


@pytest.mark.parametrize("source", PROGRAMS)
def test_the_layers_of_a_seed_count_and_an_unused_one_does_not(source: str) -> None:
    start = "        super().__init__()\n"
    assert not unused(ast.parse(source))
    assert digest(source.replace(start, f"{start}        self.spare = nn.LazyLinear(9)\n")) == digest(source)


def test_a_class_without_its_imports_as_prompts_show_it_is_read_the_same_way() -> None:
    bare = NETWORK.partition("\n\n\n")[2]
    assert digest(having("self.conv2 = nn.LazyConv1d(width, 3)", bare)) == digest(bare)


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_made_of_whole_numbers_without_an_error_a_weight_or_a_random_draw(kind: str) -> None:
    needed, names = LAYERS[kind]
    parameters = list(inspect.signature(getattr(nn, kind)).parameters.values())
    assert [parameter.name for parameter in parameters[: len(names)]] == list(names)
    assert [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD] == [
        *names[:needed]
    ]
    before = torch.get_rng_state()
    for number in (0, 1, 7, LARGEST):
        for count in range(needed, len(names) + 1):
            free = [-3.5] if names[:1] in (("out_channels",), ("out_features",)) else []
            layer = getattr(nn, kind)(*[*free, *[number] * count][:count])
            assert all(isinstance(weight, nn.UninitializedParameter) for weight in layer.parameters())
            assert not list(layer.buffers())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_pytorch_gives_a_module_is_known() -> None:
    """Asked in a process of its own, as candidates have: transformers adds methods to all modules when it loads."""
    code = "import torch; print(*dir(torch.nn.Module()))"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    public = {name for name in names if not name.startswith("_")}
    assert len(public) > 50
    assert public - {"forward", "training"} <= OF_MODULES


def test_a_duplicate_says_what_it_is_one_of_and_what_is_left_out_of_account() -> None:
    more = having("self.conv2 = nn.LazyConv1d(width, 3)")
    assert likeness(NETWORK.replace("x.", "y."), NETWORK.replace("x.", "y."), "a") == "same program as a"
    assert likeness(more, NETWORK, "a") == likeness(NETWORK, more, "a") == "same computation as a; nothing uses conv2"
    many = having("; ".join(f"self.fc{i} = nn.LazyLinear({i})" for i in range(6)))
    assert likeness(many, more, "a").endswith("nothing uses conv2, fc0, fc1, fc2, others")


class Littering(ScriptedLMJob):
    """Leaves unused layers in every second program."""

    def _complete(self, number: int, prompt: Prompt, sample: Sample) -> Completion:
        made = super()._complete(number, prompt, sample)
        start = "super().__init__()\n"
        spare = f"{start}        self.spare = nn.LazyLinear({sample.seed % 5 + 1})\n"
        return replace(made, text=made.text.replace(start, spare)) if sample.seed % 2 else made


ALIKE = CONFIG.replace("search: {", "search: {duplicates: same_computation, ")
STRIDE = 61
"""Steps of a driver between those at which it is killed."""


def details(rows: Any) -> list[str]:
    return [row["detail"] for row in rows["candidates"] if row["status"] == "duplicate"]


def test_children_that_compute_what_another_one_does_are_not_evaluated(tmp_path: Path) -> None:
    plain, alike = make_run(tmp_path / "plain"), make_run(tmp_path / "alike", ALIKE)
    assert not [row for row in drive(plain, lm=Littering())["candidates"] if "computation" in row["detail"]]
    runner = InstantRunner(alike)
    rows = drive(alike, lm=Littering(), runner=runner)
    same = [row for row in rows["candidates"] if "same computation as" in row["detail"]]
    assert same
    by_id = {row["id"]: row for row in rows["candidates"]}
    for row in same:
        name = re.fullmatch(r"same computation as (\S+); nothing uses spare", row["detail"])
        assert name is not None
        original = by_id[name[1]]
        assert digest(original["source"]) == digest(row["source"]) == original["code_hash"]
        assert (original["round"], original["id"]) < (row["round"], row["id"])
        assert original["status"] != "duplicate"
    evaluated = {attempt.candidate_id for job in runner.submitted for task in job.tasks for attempt in task}
    assert evaluated.isdisjoint(row["id"] for row in same)
    assert len(rows["candidates"]) == 3 + 3 * 2 * 4


def test_killed_at_any_step_a_search_without_them_ends_in_the_same_tables(tmp_path: Path) -> None:
    with mortal() as steps:
        expected = drive(make_run(tmp_path / "undisturbed", ALIKE), lm=Littering())
    assert any("same computation as" in detail for detail in details(expected))
    for step in range(0, steps.taken, STRIDE):
        run = make_run(tmp_path / str(step), ALIKE)
        with mortal(step), suppress(Killed):
            Driving(run, lm=Littering()).driver.drive()
        declare_dead(run)
        with mortal():
            assert drive(run, lm=Littering()) == expected, f"killed at step {step}"
            rebuild(run)
        with closing(Store.snapshot_reader(run.database)) as store:
            assert tables(store) == expected


def test_another_rule_is_refused_with_those_there_are(tmp_path: Path) -> None:
    run: RunDir = make_run(tmp_path / "run", ALIKE.replace("same_computation", "similar"))
    with pytest.raises(ConfigError, match=r"search\.duplicates.*'same_program' or 'same_computation'.*similar"):
        load_config(run.config)
