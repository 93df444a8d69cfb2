import pytest
import torch
from test_tuning import tuning

from evohpc.errors import LMError
from evohpc.lm import soft_prompt


def test_a_fresh_prompt_is_sampled_from_the_vocabulary_by_its_seed(lm):
    one, same, other = (
        soft_prompt.virtual_tokens(soft_prompt.prepare(lm, tuning(seed=seed), None)) for seed in (1, 1, 2)
    )
    known = lm.embed(torch.tensor([lm.vocabulary]))[0]
    assert all((known == token).all(-1).any() for token in one)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# peft 0.21 asks transformers 5.23 by an old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_saved_prompt_replaces_an_unfinished_one_and_peft_reads_it(lm, tmp_path):
    from peft import PeftModel

    peft_model = soft_prompt.prepare(lm, tuning(), None)
    (tmp_path / ".tmp-soft_prompt").mkdir()
    (tmp_path / ".tmp-soft_prompt/junk").touch()
    soft_prompt.save(peft_model, tmp_path / "soft_prompt")
    assert [path.name for path in tmp_path.iterdir()] == ["soft_prompt"]
    prompt = soft_prompt.load(tmp_path / "soft_prompt")
    theirs = PeftModel.from_pretrained(lm.model, tmp_path / "soft_prompt")
    assert torch.equal(soft_prompt.virtual_tokens(theirs), prompt)


def test_a_folder_without_a_prompt_is_named(tmp_path):
    with pytest.raises(LMError, match="holds no soft prompt"):
        soft_prompt.load(tmp_path)
