"""The text of a completion is what the model wrote, space for space, for decoders of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tokenizer_families import FAMILIES
from transformers import AutoModelForCausalLM, GPT2Config

from evohpc.lm import model
from evohpc.lm.decoding import Decoder
from evohpc.lm.programs import parses
from evohpc.lm.stopping import Transcript, heal, repeating
from evohpc.lm.token_text import TokenText
from evohpc.messages import Prompt, Sample, Sampling

PROMPT = '"""Metrics:\n{"num_params": "300"}\n"""\nclass Model(nn.Module):\n'
BODY = (
    "    def __init__(self, width=16):\n        super().__init__()\n        self.out = nn.Linear(40, 10)\n\n"
    "    def forward(self, x):  # né 数 🙂\n        return self.out(x)\n"
)
ODD = [
    *("  two", "\ttab", "x  =  1", "\n\n\n    y", "é🙂数", " ", "", "\n", "```x```", "x ,y . z"),
    "a\n b\n  c\n   d\n    e\n     f",
]
NEW = 200


@pytest.fixture(params=sorted(FAMILIES))
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return FAMILIES[request.param].tokenizer()


def write_reciter(folder: Path, tokenizer: Any, ids: list[int]) -> None:
    """Write the folder of a language model that continues with these tokens, position for position."""
    torch.set_num_threads(1)
    places = 16 * (1 + len(ids) // 16)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=places + NEW,
        n_embd=places,
        n_layer=1,
        n_head=2,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    reciter = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in reciter.named_parameters():
            weight.fill_(float(name == "transformer.ln_f.weight"))
        reciter.transformer.wpe.weight[:places] = torch.eye(places)
        reciter.lm_head.weight[ids[1:], range(len(ids) - 1)] = 1
    reciter.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_a_program_is_drawn_as_transformers_generates_it(tokenizer: Any, tmp_path: Path) -> None:
    ids = [*tokenizer(PROMPT + BODY).input_ids, tokenizer.eos_token_id]
    write_reciter(tmp_path, tokenizer, ids)
    lm = model.load(tmp_path, "float32")
    ((completion,),) = Decoder(lm, None, Sampling(1, NEW)).draw([Prompt(0, PROMPT, (), (Sample(0, 0, 0.0),))])
    assert (completion.text, completion.stop) == (BODY, "eos")
    assert parses(PROMPT, completion.text)

    shown, _ = heal(lm.tokenizer, PROMPT)
    generated = AutoModelForCausalLM.from_pretrained(tmp_path).generate(
        torch.tensor([shown]), max_new_tokens=NEW, do_sample=False, pad_token_id=tokenizer.eos_token_id
    )
    whole = tokenizer.decode(generated[0], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert whole == PROMPT + completion.text


def transcribed(tokenizer: Any, text: str) -> tuple[str, str]:
    """Return a completion as it is transcribed token by token, and as the whole is decoded."""
    shown, healed = heal(tokenizer, PROMPT)
    transcript = Transcript(tokenizer, PROMPT, healed)
    ids = tokenizer(PROMPT + text).input_ids
    for token in ids[len(shown) :]:
        transcript.add(token)
    whole = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return transcript._text[transcript._start :], whole[len(PROMPT) :]


@pytest.mark.parametrize("text", [BODY, *ODD])
def test_any_text_is_transcribed_as_the_whole_is_decoded(tokenizer: Any, text: str) -> None:
    assert transcribed(tokenizer, text) == (text, text)


def test_a_healed_prompt_is_repeated_by_tokens_that_begin_with_what_was_left_out(tokenizer: Any) -> None:
    shown, healed = heal(tokenizer, PROMPT)
    following = tokenizer(PROMPT + BODY).input_ids[len(shown)]
    assert following in repeating(tokenizer, range(len(tokenizer)), healed or "    "[:1])
    assert tokenizer.eos_token_id not in repeating(tokenizer, range(len(tokenizer)), "\n")


BYTES = [name for name, family in FAMILIES.items() if "<0x0A>" in family.tokenizer().get_vocab()]


@pytest.mark.parametrize("family", BYTES)
def test_a_byte_that_belongs_to_no_character_breaks_nothing(family: str) -> None:
    """DecodeStream of tokenizers 0.23 raises 'Invalid prefix encountered' here, which ended the LM job."""
    tokenizer = FAMILIES[family].tokenizer()
    pieces = ["<0x0A>", "<0xB8>", "a", "<0xE4>", "<0xB8>", "<0xAD>", "<0xB8>", "<0x0A>", "b"]
    text = TokenText(tokenizer)
    assert "".join(text.add(token) for token in tokenizer.convert_tokens_to_ids(pieces)) == "\n\ufffda中\ufffd\ufffdb"


def test_four_bytes_without_a_character_are_waited_for_no_longer() -> None:
    tokenizer = FAMILIES["Gemma"].tokenizer()
    stray = tokenizer.convert_tokens_to_ids("<0xB8>")
    text = TokenText(tokenizer)
    assert [text.add(stray) for _ in range(4)] == ["", "", "", 4 * "\ufffd"]
