import pytest
import torch

from evohpc.lm.model import LanguageModel
from evohpc.lm.packing import Encoded, encode, pack, share_out
from evohpc.messages import TuningExample

CPU = torch.device("cpu")
EXAMPLES = [
    Encoded([5, 6, 7, 20, 21, 22], 4),
    Encoded([5, 6, 8, 30], 3),
    Encoded([5, 6, 7, 9, 9, 40, 41, 42, 43], 5),
]


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("examples", [EXAMPLES, EXAMPLES[:1], [Encoded([5, 6, 7], 0), Encoded([8, 9], 1)]])
def test_packed_examples_have_the_logits_that_they_have_alone(
    lm: LanguageModel, examples: list[Encoded], segments: bool
) -> None:
    virtual = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    packed = pack(examples, 3, CPU)
    seen = {"segments": packed.segments} if segments else {}
    with torch.inference_mode():
        ours = lm.model(
            inputs_embeds=torch.cat([virtual, lm.embed(packed.ids)], 1),
            position_ids=packed.positions,
            attention_mask=packed.mask,
            logits_to_keep=packed.places,
            use_cache=False,
            **seen,
        ).logits[0]
        alone = []
        for example in examples:
            inputs = torch.cat([virtual, lm.embed(torch.tensor([example.ids]))], 1)
            alone.append(lm.model(inputs_embeds=inputs).logits[0, 2 + example.prompt : -1])
    torch.testing.assert_close(ours, torch.cat(alone), rtol=1e-4, atol=1e-4)
    assert packed.targets.tolist() == [token for e in examples for token in e.ids[e.prompt :]]


def test_what_prompts_begin_with_is_computed_once() -> None:
    assert pack(EXAMPLES, 3, CPU).ids.tolist() == [[5, 6, 7, 20, 21, 22, 8, 30, 7, 9, 9, 40, 41, 42, 43]]


@pytest.mark.parametrize(("tokens", "multiple_of", "groups"), [(100, 1, 1), (10, 1, 2), (100, 2, 2), (100, 5, 5)])
def test_groups_hold_every_example_once(tokens: int, multiple_of: int, groups: int) -> None:
    shared = share_out(EXAMPLES, tokens, multiple_of=multiple_of)
    assert len(shared) == groups
    assert sorted((e for group in shared for e in group), key=EXAMPLES.index) == EXAMPLES


def test_groups_are_of_about_equal_length() -> None:
    lengths = [sum(len(e.ids) for e in group) for group in share_out([Encoded([1] * n, 0) for n in range(1, 60)], 200)]
    assert len(lengths) == 9
    assert max(lengths) - min(lengths) < 10


def test_an_example_ends_in_the_end_token(lm: LanguageModel) -> None:
    encoded = encode(lm, TuningExample("a", "class A:\n", "    x = 1\n"))
    assert lm.tokenizer.decode(encoded.ids[: encoded.prompt]) == "class A:\n"
    assert lm.tokenizer.decode(encoded.ids[encoded.prompt :]) == "    x = 1\n" + lm.tokenizer.eos_token
