"""The engine against transformers on a real model: `evohpc fetch-lm` makes the folder."""

from dataclasses import replace

import pytest
import torch
from support.drawing import recording
from support.real_model import FOLDER, bodies, few_shot
from support.tunings import tuning

from evohpc.lm import model, soft_prompt
from evohpc.lm import tuning as module
from evohpc.lm.decoding import Decoder
from evohpc.lm.model import LanguageModel
from evohpc.messages import Prompt, Sample, Sampling, TuningExample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no {FOLDER}: evohpc fetch-lm makes it"),
]


@pytest.fixture
def real(request: pytest.FixtureRequest) -> LanguageModel:
    torch.set_num_threads(2)
    return model.load(FOLDER, getattr(request, "param", "float32"))


def test_greedy_completions_are_those_of_transformers(real: LanguageModel) -> None:
    asked = [Prompt(i, text, (), (Sample(0, 1, 0.0),)) for i, text in enumerate([few_shot(), *map("".join, bodies())])]
    asked = [replace(prompt, text=prompt.text.rstrip("\n")) for prompt in asked]
    theirs = []
    for prompt in asked:
        ids = real.tokenizer(prompt.text, return_tensors="pt").input_ids
        answer = real.model.generate(ids, max_new_tokens=40, do_sample=False, repetition_penalty=1.0)
        theirs.append(answer[0, ids.shape[1] :].tolist())
    model.pack(real.model)
    with recording() as record:
        list(Decoder(real, None, Sampling(4, 40)).draw(asked))
    ended = {prompt: tokens for (prompt, _), tokens in record.tokens.items()}
    assert len(ended) == len(asked)
    assert all(theirs[place][: len(tokens)] == tokens for place, tokens in ended.items())
    assert max(map(len, ended.values())) == 40


@pytest.mark.parametrize("real", ["bfloat16"], indirect=True)
def test_logits_in_bfloat16_are_those_of_a_plain_forward_pass(real: LanguageModel) -> None:
    """As near as bfloat16 lets two orders of summation come: judged by the distribution that tokens are drawn from."""
    text = few_shot().rstrip("\n")
    ids = real.tokenizer(text).input_ids
    plain = model.load(FOLDER, "float32")
    model.pack(real.model)
    with recording() as record:
        list(Decoder(real, None, Sampling(2, 30)).draw([Prompt(0, text, (), (Sample(0, 3, 1.0),))]))
    with torch.inference_mode():
        logits = plain.model(torch.tensor([ids + record.tokens[0, 0]])).logits[0, len(ids) - 1 : -1].log_softmax(-1)
    ours = torch.cat(record.logits).float().log_softmax(-1)
    assert len(ours) == len(logits) > 10
    divergence = (logits.exp() * (logits - ours)).sum(-1)
    assert divergence.max() < 0.02


@pytest.mark.parametrize("real", ["bfloat16"], indirect=True)
def test_tuning_lowers_the_loss_and_moves_what_is_generated(real: LanguageModel) -> None:
    examples = tuple(TuningExample(str(place), *pair) for place, pair in enumerate(bodies()))
    losses: list[float] = []
    asked = tuning(examples=examples, virtual_tokens=8, epochs=6, batch_size=4, learning_rate=0.02)
    tuned = module.tune(real, asked, None, {}, lambda step: losses.append(step.loss))
    assert isinstance(tuned, torch.Tensor)
    assert losses[-1] < 0.97 * losses[0]
    before = soft_prompt.initial(real, asked, None)
    prompt = Prompt(0, few_shot(), (), ())
    plain, moved = (
        Decoder(real, virtual, Sampling(1, 8)).prefill(prompt).logits.log_softmax(-1) for virtual in (before, tuned)
    )
    assert (plain - moved).abs().max() > 0.1


@pytest.mark.parametrize("real", ["bfloat16", "float32"], indirect=True)
def test_guesses_change_no_completion_and_halve_the_steps_of_a_few_rows(real: LanguageModel) -> None:
    model.pack(real.model)
    temperatures = (0.2, 0.6, 0.8, 1.0)
    asked = [Prompt(0, few_shot(), (), tuple(Sample(j, j, temperature) for j, temperature in enumerate(temperatures)))]
    answers, steps = [], []
    for guesses in (0, 7):
        counted: list[int] = []
        decoder = Decoder(real, None, Sampling(32, 60, speculation=guesses))
        answers.append(sorted((c.sample, c.text) for ended in decoder.draw(asked, counted.append) for c in ended))
        steps.append(len(counted))
    assert answers[0] == answers[1]
    assert steps[1] < 0.6 * steps[0]
