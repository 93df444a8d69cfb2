"""All of the engine but vLLM, in whose place a slow double draws from the tiny model: each request by itself."""

import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from support.drawing import drawn, prompts
from support.requests import request, write
from support.tiny_lm import MERGES, write_tiny_lm
from transformers import LlamaConfig

from evohpc.errors import LMError
from evohpc.lm import completions, drawing, model, stopping
from evohpc.lm.decoding import Decoder
from evohpc.lm.model import LanguageModel
from evohpc.lm.sampling import distribution
from evohpc.lm.vllm.backend import Ask, Drawn
from evohpc.lm.vllm.engine import Reader, VLLMEngine
from evohpc.messages import Completion, LMRequest, Prompt, Sample, Sampling

INDENTED = "class A:\n    def f(self):\n        return 1\n\n\nclass A:\n"


class Double:
    """A `Backend`. Knows the rules for one token; what to ask and when to stop is up to the engine."""

    def __init__(self, lm: LanguageModel, asked: Sampling) -> None:
        self._lm, self._asked = lm, asked
        self._active: dict[str, tuple[Ask, torch.Generator, list[int]]] = {}
        self.asks: list[Ask] = []
        self.aborted: list[str] = []
        self.widths: list[int] = []

    def embed(self, ids: list[int]) -> torch.Tensor:
        return self._lm.embed(torch.tensor(ids))

    def submit(self, ask: Ask) -> None:
        assert ask.name not in {other.name for other in self.asks}
        self.asks.append(ask)
        self._active[ask.name] = (ask, torch.Generator().manual_seed(ask.seed), [])

    def step(self) -> list[Drawn]:
        self.widths.append(len(self._active))
        answers = [self._next(*active) for active in self._active.values()]
        for answer in answers:
            if answer.is_over:
                del self._active[answer.name]
        return answers

    def abort(self, name: str) -> None:
        del self._active[name]
        self.aborted.append(name)

    @torch.inference_mode()
    def _next(self, ask: Ask, noise: torch.Generator, tokens: list[int]) -> Drawn:
        shown = ask.shown if isinstance(ask.shown, torch.Tensor) else self.embed(ask.shown)
        inputs = torch.cat([shown, self.embed(tokens)]) if tokens else shown
        logits = self._lm.model(inputs_embeds=inputs[None]).logits[0, -1:]
        if ask.allowed is not None:
            hidden = torch.ones(logits.shape[1], dtype=torch.bool)
            hidden[ask.allowed] = False
            logits = logits.masked_fill(hidden, -torch.inf)
        weights = distribution(
            logits, torch.tensor([ask.temperature]), top_k=self._asked.top_k, top_p=self._asked.top_p
        )
        tokens.append(int(torch.multinomial(weights, 1, generator=noise)))
        is_over = len(tokens) == ask.max_tokens or tokens[-1] in self._lm.stop_ids
        return Drawn(ask.name, tokens[-1:], is_over)


def engine(lm: LanguageModel, asked: LMRequest, virtual: torch.Tensor | None = None) -> tuple[VLLMEngine, Double]:
    double = Double(lm, asked.sampling)
    config = lm.model.config
    reader = Reader(lm.tokenizer, lm.stop_ids, config.vocab_size, config.max_position_embeddings)
    return VLLMEngine(double, reader, virtual, asked.sampling), double


def answers(
    lm: LanguageModel, asked: Sequence[Prompt], virtual: torch.Tensor | None = None, **changes: object
) -> tuple[dict[tuple[int, int], Completion], Double]:
    drawn_by, double = engine(lm, request("", **{"max_new_tokens": 24, **changes}), virtual)
    completions = [c for ended in drawn_by.draw(asked, lambda tokens: None) for c in ended]
    found = {(c.prompt, c.sample): c for c in completions}
    assert len(found) == len(completions) == sum(len(prompt.samples) for prompt in asked)
    return found, double


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Its tokenizer merges a newline with the indentation after it."""
    folder = tmp_path_factory.mktemp("merging")
    write_tiny_lm(folder, LlamaConfig, merges=MERGES, vocab_size=256 + len(MERGES) + 1, eos_token_id=256 + len(MERGES))
    return model.load(folder, "float32")


def test_a_folder_is_read_as_our_own_engine_reads_it(lm: LanguageModel, model_folder: Path, tmp_path: Path) -> None:
    reader = Reader.of(model_folder)
    assert (reader.stop_ids, reader.vocab_size) == (lm.stop_ids, lm.model.config.vocab_size)
    assert reader.context == 512
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model_folder / name, tmp_path)
    assert Reader.of(tmp_path).stop_ids == lm.stop_ids
    with pytest.raises(LMError, match="cannot be loaded as a Hugging Face causal LM"):
        Reader.of(tmp_path / "none")


def test_a_tokenizer_that_cannot_be_read_is_one_sentence(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    known = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**known, "decoder": {"type": "of tomorrow"}}))
    with pytest.raises(LMError, match="cannot be loaded as a Hugging Face causal LM"):
        Reader.of(folder)


def test_what_may_pass_is_no_fault_of_the_folder(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = OSError(errno.ESTALE, "Stale file handle")
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", Mock(side_effect=stale))
    with pytest.raises(OSError, match="Stale file handle"):
        Reader.of(model_folder)


@pytest.mark.parametrize("virtual", [None, torch.full((3, 32), 0.5)], ids=["plain", "soft prompt"])
def test_greedy_completions_are_those_of_our_own_engine(lm: LanguageModel, virtual: torch.Tensor | None) -> None:
    asked = prompts(temperature=0.0, samples=1)
    assert answers(lm, asked, virtual)[0] == drawn(lm, asked, soft=virtual)


def test_a_soft_prompt_is_shown_as_embeddings_in_front_of_the_prompts(lm: LanguageModel) -> None:
    virtual = torch.full((3, 32), 0.5)
    shown = answers(lm, prompts(samples=1), virtual)[1].asks[0].shown
    text = lm.embed(torch.tensor(lm.tokenizer(prompts()[0].text).input_ids))
    torch.testing.assert_close(shown, torch.cat([virtual, text]), rtol=0, atol=0)


def test_each_completion_has_its_own_seed_and_temperature(lm: LanguageModel) -> None:
    asked = [Prompt(0, "a", (), tuple(Sample(j, 5, 0.5 + j) for j in range(2))), Prompt(1, "a", (), (Sample(0, 6, 1),))]
    asks = answers(lm, asked)[1].asks
    assert [ask.temperature for ask in asks] == [0.5, 1.5, 1]
    assert asks[0].seed == asks[1].seed != asks[2].seed
    assert all(0 <= ask.seed < 2**63 for ask in asks)


def test_no_completion_depends_on_its_batch(lm: LanguageModel) -> None:
    together = answers(lm, prompts(), batch_size=12)[0]
    assert len({c.text for c in together.values()}) > 6
    found, double = answers(lm, list(reversed(prompts())), batch_size=5)
    assert found == together
    assert max(double.widths) == 5


def test_what_is_past_the_end_of_its_class_is_drawn_no_further(lm: LanguageModel) -> None:
    found, double = answers(lm, prompts(temperature=3.0, samples=10), max_new_tokens=40)
    assert {c.stop for c in found.values()} == {"class_end", "eos", "length"}
    ended = {f"{p}.{s}.0.0" for (p, s), c in found.items() if c.stop == "class_end" and c.tokens < 40}
    assert set(double.aborted) == ended
    assert sum(double.widths) == sum(c.tokens for c in found.values())


def test_the_first_token_after_a_shortened_prompt_repeats_its_end(merging: LanguageModel) -> None:
    asked = [Prompt(0, INDENTED, (), tuple(Sample(j, j, 2.0) for j in range(8)))]
    _, double = answers(merging, asked, max_new_tokens=6)
    shown, healed = stopping.heal(merging.tokenizer, INDENTED)
    assert healed == "\n"
    first, rest = [ask for ask in double.asks if ask.allowed], [ask for ask in double.asks if not ask.allowed]
    assert len(first) == 8
    assert {(ask.max_tokens, tuple(ask.shown)) for ask in first} == {(1, tuple(shown))}
    allowed = first[0].allowed or []
    assert {merging.tokenizer.decode([token])[0] for token in allowed} == {"\n"}
    assert {ask.max_tokens for ask in rest} == {5}
    assert all(ask.shown[:-1] == shown and ask.shown[-1] in allowed for ask in rest)
    assert len({ask.seed for ask in double.asks}) == len(double.asks)


@pytest.mark.parametrize("virtual", [None, torch.full((3, 32), 0.5)], ids=["plain", "soft prompt"])
def test_greedy_completions_of_a_shortened_prompt_are_those_of_our_own_engine(
    merging: LanguageModel, virtual: torch.Tensor | None
) -> None:
    asked = [Prompt(0, INDENTED, (), (Sample(0, 1, 0.0),))]
    sampling = Sampling(2, 24)
    ours = [c for ended in Decoder(merging, virtual, sampling).draw(asked) for c in ended]
    assert list(answers(merging, asked, virtual)[0].values()) == ours


@pytest.mark.parametrize("virtual", [None, torch.full((3, 32), 0.5)], ids=["plain", "soft prompt"])
def test_completions_of_a_long_prompt_end_as_in_our_own_engine(lm: LanguageModel, virtual: torch.Tensor | None) -> None:
    """The tiny model takes 512 tokens."""
    asked = [Prompt(0, "x " * 251, (), (Sample(0, 1, 0.0),)), Prompt(1, "x " * 300, (), ())]
    found, double = answers(lm, asked, virtual)
    assert found == drawn(lm, asked, soft=virtual)
    assert [ask.max_tokens for ask in double.asks] == [10 if virtual is None else 7]
    assert [engine(lm, request(""), virtual)[0].room(prompt) > 0 for prompt in asked] == [True, False]


def test_a_single_token_may_be_all_that_is_asked_for(merging: LanguageModel) -> None:
    asked = [Prompt(0, INDENTED, (), (Sample(0, 1, 1.0),))]
    found, double = answers(merging, asked, max_new_tokens=1)
    assert [(c.tokens, c.stop) for c in found.values()] == [(1, "length")]
    assert len(double.asks) == 1


@pytest.mark.slow
def test_what_does_not_parse_is_drawn_once_more_and_both_are_paid_for(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answers(lm, prompts())[0]
    monkeypatch.setattr(drawing, "parses", lambda prompt, text: False)
    found, double = answers(lm, prompts(), retry_unparsable=True)
    assert len(double.asks) == 2 * len(first)
    assert all(found[place].tokens > first[place].tokens for place in first)
    assert any(found[place].text != first[place].text for place in first)
    assert sum(double.widths) == sum(c.tokens for c in found.values())


def test_a_request_that_vllm_gives_up_is_named(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_by, double = engine(lm, request("", max_new_tokens=24))
    monkeypatch.setattr(double, "step", lambda: [Drawn(ask.name, [97], True) for ask in double.asks])
    with pytest.raises(LMError, match="vLLM gave up sample 0 of prompt 0 after 1 tokens"):
        list(drawn_by.draw(prompts(), lambda tokens: None))


def test_a_restart_draws_only_what_is_missing(tmp_path: Path, lm: LanguageModel, model_folder: Path) -> None:
    asked = request(model_folder)
    whole = answered(tmp_path / "a", lm, asked)
    round = write(tmp_path / "b", asked)
    round.completions.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    drawn_by, double = engine(lm, asked)
    completions.complete(drawn_by, asked, round, completions.missing(asked, round))
    assert {ask.name for ask in double.asks} == {"1.1.0.0", "1.2.0.0"}
    assert round.completions.read_bytes() == whole


def answered(run: Path, lm: LanguageModel, asked: LMRequest) -> bytes:
    round = write(run, asked)
    completions.complete(engine(lm, asked)[0], asked, round, completions.missing(asked, round))
    return round.completions.read_bytes()
