"""A causal LM of random weights: two layers, grouped heads, a byte-level tokenizer; loads in milliseconds."""

from pathlib import Path

import pytest
import torch
from support.tiny_lm import write_tiny_lm

from evohpc.lm import model
from evohpc.lm.model import LanguageModel


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_tiny_lm(folder)
    return folder


@pytest.fixture
def lm(model_folder: Path) -> LanguageModel:
    """A fresh copy, unpacked: a test may train it or pack it."""
    torch.set_num_threads(1)
    return model.load(model_folder, "float32")
