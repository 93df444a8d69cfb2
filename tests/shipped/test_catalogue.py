from __future__ import annotations

import pytest
from support.command_line import call
from support.paths import ROOT

from evohpc.config.search import load_config
from evohpc.config.site import load_site
from evohpc.shipped import catalogue


def test_a_checkout_is_its_own_root() -> None:
    assert catalogue.root() == ROOT


def test_everything_that_ships_says_what_it_is() -> None:
    listed = list(catalogue.listing())
    assert {kind for kind, _, _ in listed} == {"config", "worked example", "site profile", "image recipe"}
    assert not [path for _, path, about in listed if len(about) < 20]
    for kind, path, _ in listed:
        if kind in ("config", "worked example"):
            load_config(path)
        elif kind == "site profile":
            load_site(path)


def test_configs_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "configs")
    assert code == 0
    assert "configs/mnist1d.yaml\n" in out
    assert "The paper's search on MNIST-1D" in out
    assert call(capsys, "configs", "--root") == (0, f"{ROOT}\n", "")
