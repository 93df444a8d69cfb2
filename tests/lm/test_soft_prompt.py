import errno
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import save
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


def test_two_jobs_that_save_at_once_leave_one_whole_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is cut off goes on writing while its requeued job does the same; the slower one goes on with its own,
    which is the same as both tune alike."""

    def stands_still(weights: dict[str, torch.Tensor]) -> bytes:
        monkeypatch.undo()
        soft_prompt.save(torch.ones(4, 32), tmp_path / "soft_prompt", "model")
        written: bytes = save(weights)
        return written

    monkeypatch.setattr("evohpc.lm.peft_folder.save", stands_still)
    soft_prompt.save(torch.zeros(4, 32), tmp_path / "soft_prompt", "model")
    assert [path.name for path in tmp_path.iterdir()] == ["soft_prompt"]
    assert torch.equal(soft_prompt.load(tmp_path / "soft_prompt"), torch.ones(4, 32))


def test_a_folder_without_a_prompt_is_named(tmp_path: Path) -> None:
    with pytest.raises(LMError, match=r"holds no adapter: .*; take it from a backup"):
        soft_prompt.load(tmp_path)


def test_a_prompt_that_cannot_be_read_for_a_moment_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `LMError` ends the search; whatever else a job ends with, another one follows."""
    stale = OSError(errno.ESTALE, "Stale file handle")
    monkeypatch.setattr("evohpc.lm.peft_folder.read_json", Mock(side_effect=stale))
    with pytest.raises(OSError, match="Stale file handle"):
        soft_prompt.load(tmp_path)
