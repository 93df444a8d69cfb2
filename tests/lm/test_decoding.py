from collections import Counter
from dataclasses import replace

import pytest
import torch
from support.drawing import TEXTS, drawn, prompts, recording

from evohpc.lm import drawing
from evohpc.lm.decoding import Decoder
from evohpc.lm.model import LanguageModel, pack
from evohpc.messages import Prompt, Sample, Sampling


def test_no_completion_depends_on_its_batch(lm: LanguageModel) -> None:
    pack(lm.model)
    together = drawn(lm, prompts(), rows=12)
    assert len({c.text for c in together.values()}) > 6
    assert drawn(lm, prompts(), rows=5) == together
    assert drawn(lm, prompts(), rows=1) == together
    assert drawn(lm, list(reversed(prompts())), rows=3) == together


def test_a_restart_draws_only_what_is_missing_and_the_same(lm: LanguageModel) -> None:
    pack(lm.model)
    whole = drawn(lm, prompts())
    rest = [Prompt(p.index, p.text, (), p.samples[1::2]) for p in prompts()]
    assert drawn(lm, rest) == {place: c for place, c in whole.items() if place[1] % 2}


def test_greedy_completions_are_those_of_transformers(lm: LanguageModel) -> None:
    ids = lm.tokenizer(TEXTS[1], return_tensors="pt").input_ids
    theirs = lm.model.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    pack(lm.model)
    asked = [Prompt(0, TEXTS[1], (), (Sample(0, 1, 0.0),))]
    with recording(endless=True) as record:
        list(Decoder(lm, None, Sampling(2, 24)).draw(asked))
    assert record.tokens == {(0, 0): theirs.tolist()}


def test_logits_of_every_step_are_those_of_a_plain_forward_pass(lm: LanguageModel) -> None:
    with recording() as record:
        next(Decoder(lm, None, Sampling(3, 16)).draw([Prompt(0, TEXTS[0], (), (Sample(0, 1, 1.0),))]))
    shown = lm.tokenizer(TEXTS[0]).input_ids
    with torch.inference_mode():
        plain = lm.model(input_ids=torch.tensor([shown + record.tokens[0, 0]])).logits[0, len(shown) - 1 :]
    steps = min(len(record.logits), len(plain))
    assert steps > 3
    torch.testing.assert_close(torch.cat(record.logits)[:steps], plain[:steps], rtol=1e-4, atol=1e-4)


def test_the_soft_prompt_changes_what_is_generated(lm: LanguageModel) -> None:
    soft = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    plain, tuned = (Decoder(lm, s, Sampling(2, 8)).prefill(prompts()[0]) for s in (None, soft))
    assert tuned.length == plain.length + 4
    assert (tuned.logits - plain.logits).abs().max() > 0.01
    assert drawn(lm, prompts(), soft=soft) != drawn(lm, prompts())


@pytest.mark.parametrize("virtual", [0, 4])
def test_completions_of_a_long_prompt_end_with_the_models_context(lm: LanguageModel, virtual: int) -> None:
    """The tiny model takes 512 tokens. What else is drawn with them is as it is without."""
    soft = torch.full((virtual, 32), 0.5) if virtual else None
    long = "x " * 251
    shown = len(lm.tokenizer(long).input_ids) + virtual
    assert 480 < shown < 512
    asked = [replace(prompts()[0], index=1), Prompt(0, long, (), tuple(Sample(j, j, 1.0) for j in range(4)))]
    with recording(endless=True) as record:
        found = drawn(lm, asked, soft=soft, new=60)
    assert {len(record.tokens[0, sample]) for sample in range(4)} == {512 - shown}
    assert {len(record.tokens[1, sample]) for sample in range(4)} == {60}
    assert all(found[0, sample].tokens == 512 - shown for sample in range(4))


def test_a_completion_that_the_context_ends_says_so(lm: LanguageModel) -> None:
    long = Prompt(0, "x " * 251, (), tuple(Sample(j, j, 1.0) for j in range(8)))
    stops = {c.stop: c.tokens for c in drawn(lm, [long], new=60).values()}
    assert "context" in stops
    assert "length" not in stops


@pytest.mark.parametrize(("text", "room"), [("class A:", 24), ("x " * 251, 10), ("x " * 300, 0)])
def test_a_prompt_leaves_the_room_that_the_model_has(lm: LanguageModel, text: str, room: int) -> None:
    assert Decoder(lm, None, Sampling(2, 24)).room(Prompt(0, text, (), ())) == room


def test_length_and_end_tokens_are_told_apart(lm: LanguageModel) -> None:
    stops = {c.stop for c in drawn(lm, prompts(temperature=3.0, samples=40), rows=40, new=60).values()}
    assert stops >= {"eos", "length"}


def test_completions_have_the_distribution_of_the_model(lm: LanguageModel) -> None:
    """Pairs of tokens, top-k 3, against the probabilities of plain forward passes: a chi-square test."""
    count, temperature = 3000, 1.5
    asked = [Prompt(0, TEXTS[2], (), tuple(Sample(j, 7000 + j, temperature) for j in range(count)))]
    with recording(endless=True) as record:
        list(Decoder(lm, None, Sampling(100, 2, top_k=3)).draw(asked))

    def likely(ids: list[int]) -> dict[int, float]:
        with torch.inference_mode():
            top = lm.model(torch.tensor([ids])).logits[0, -1].topk(3)
        return dict(zip(top.indices.tolist(), (top.values / temperature).softmax(-1).tolist(), strict=True))

    shown = lm.tokenizer(TEXTS[2]).input_ids
    expected = {
        (one, two): count * first * second
        for one, first in likely(shown).items()
        for two, second in likely([*shown, one]).items()
    }
    seen = Counter(map(tuple, record.tokens.values()))
    assert set(seen) <= set(expected)
    # 26.12 is the 0.999 quantile of chi-square with 8 degrees of freedom.
    assert sum((seen[pair] - mean) ** 2 / mean for pair, mean in expected.items()) < 26.12
    assert min(expected.values()) > 5


def test_what_does_not_parse_is_drawn_once_more_and_both_are_paid_for(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn(lm, prompts())
    judged: list[str] = []

    def judge(prompt: str, text: str) -> bool:
        judged.append(text)
        return len(judged) % 2 == 0

    monkeypatch.setattr(drawing, "parses", judge)
    sampling = Sampling(5, 24, retry_unparsable=True)
    found = {(c.prompt, c.sample): c for ended in Decoder(lm, None, sampling).draw(prompts()) for c in ended}
    assert found.keys() == first.keys()
    assert len(judged) == len(first)
    again = [place for place in found if found[place] != first[place]]
    assert len(again) == len(first) / 2
    assert all(found[place].tokens > first[place].tokens for place in again)
    assert any(found[place].text != first[place].text for place in again)


def test_a_copy_is_drawn_again_as_often_as_the_config_says_and_all_are_paid_for(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "repeats", lambda prompt, text, duplicates: True)
    first = drawn(lm, prompts())
    sampling = Sampling(5, 24, retry_copies=3)
    found = {(c.prompt, c.sample): c for ended in Decoder(lm, None, sampling).draw(prompts()) for c in ended}
    assert found.keys() == first.keys()
    assert sum(c.tokens for c in found.values()) > 3 * sum(c.tokens for c in first.values())
    assert any(found[place].text != first[place].text for place in found)


def test_what_is_no_copy_is_drawn_once(lm: LanguageModel) -> None:
    first = drawn(lm, prompts())
    sampling = Sampling(5, 24, retry_copies=3)
    found = {(c.prompt, c.sample): c for ended in Decoder(lm, None, sampling).draw(prompts()) for c in ended}
    assert found == first


def test_a_second_attempt_depends_on_its_batch_no_more_than_the_first(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(lm.model)
    monkeypatch.setattr(drawing, "parses", lambda prompt, text: "q" in text)
    answers = []
    for rows in (1, 5):
        sampling = Sampling(rows, 24, retry_unparsable=True)
        completions = [c for ended in Decoder(lm, None, sampling).draw(prompts()) for c in ended]
        answers.append(sorted(completions, key=lambda c: (c.prompt, c.sample)))
    assert answers[0] == answers[1]


def test_guesses_change_no_completion_and_save_steps(lm: LanguageModel) -> None:
    """Where it is nearly greedy, a model of random weights goes in circles: then guesses are right."""
    pack(lm.model)
    answers, steps = [], []
    for guesses in (0, 1, 7):
        sampling = Sampling(32, 36, speculation=guesses)
        counted: list[int] = []
        completions = []
        for prompt in (*prompts(0.0, 1), *prompts(0.2, 1), *prompts(1.0, 2)):
            completions += [c for ended in Decoder(lm, None, sampling).draw([prompt], counted.append) for c in ended]
        answers.append(sorted(completions, key=lambda c: (c.prompt, c.sample, c.text)))
        steps.append(len(counted))
        assert sum(counted) == sum(c.tokens - 1 for c in completions)
    assert answers[0] == answers[1] == answers[2]
    assert steps[2] < steps[1] < 0.9 * steps[0]


def test_guesses_keep_to_the_empty_places_of_the_batch(lm: LanguageModel) -> None:
    with recording() as record:
        list(Decoder(lm, None, Sampling(9, 40, speculation=7)).draw(prompts(temperature=0.0)))
    assert 1 < max(map(len, record.logits)) <= 9
