from pathlib import Path

import pytest
import torch
from support.tunings import tuning

from evohpc.errors import LMError
from evohpc.lm import soft_prompt
from evohpc.lm.model import LanguageModel


def test_a_fresh_prompt_is_sampled_from_the_vocabulary_by_its_seed(lm: LanguageModel) -> None:
    one, same, other = (soft_prompt.initial(lm, tuning(seed=seed), None) for seed in (1, 1, 2))
    known = lm.embed(torch.tensor([lm.vocabulary]))[0]
    assert all((known == token).all(-1).any() for token in one)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_saved_prompt_replaces_an_unfinished_one(tmp_path: Path) -> None:
    (tmp_path / ".tmp-soft_prompt").mkdir()
    (tmp_path / ".tmp-soft_prompt/junk").touch()
    soft_prompt.save(torch.ones(4, 32), tmp_path / "soft_prompt", "model")
    assert [path.name for path in tmp_path.iterdir()] == ["soft_prompt"]
    assert torch.equal(soft_prompt.load(tmp_path / "soft_prompt"), torch.ones(4, 32))


def test_a_folder_without_a_prompt_is_named(tmp_path: Path) -> None:
    with pytest.raises(LMError, match="holds no adapter"):
        soft_prompt.load(tmp_path)
