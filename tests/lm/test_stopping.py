from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.tiny_lm import MERGES, write_tiny_lm
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, LlamaConfig

from evohpc.lm.model import LanguageModel
from evohpc.lm.stopping import Transcript, heal, stop_ids

PROMPT = "class Model(nn.Module):\n"
BODY = "    def forward(self, x):\n        return x\n"


def complete(
    tokenizer: Any, text: str, prompt: str = PROMPT, healed: str = "", rule: str = "next_statement"
) -> tuple[str, int, bool]:
    """Feed a text byte by byte; return (completion, how many bytes were needed, whether it stopped)."""
    transcript = Transcript(tokenizer, prompt, healed, rule)
    tokens = tokenizer(text).input_ids
    for count, token in enumerate(tokens, start=1):
        if transcript.add(token):
            return transcript.text, count, True
    return transcript.text, len(tokens), False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BODY + "\n" + '"""Metrics:\n', BODY + "\n"),
        (BODY + "class Other:\n", BODY),
        (BODY + "\n\n    y = 1\n# a comment", BODY + "\n\n    y = 1\n"),
        (BODY + "   \n\t\nx", BODY + "   \n\t\n"),
        ("x = 1", ""),
        ("\n\nx = 1", "\n\n"),
    ],
)
def test_a_class_ends_before_the_first_line_at_column_0(lm: LanguageModel, text: str, expected: str) -> None:
    got, needed, stopped = complete(lm.tokenizer, text)
    assert (got, stopped) == (expected, True)
    assert needed == len(expected) + 1  # not a token later


FUNCTION = "def priority(item, bins):\n"
RETURN = "    left = bins - item\n    return -left\n"


@pytest.mark.parametrize("rule", ["next_statement", "whole_class"])
@pytest.mark.parametrize("after", ['\n"""Metrics:', "\ndef priority(item, bins):", "\nprint(1)"])
def test_a_function_ends_as_a_class_does(lm: LanguageModel, rule: str, after: str) -> None:
    got, needed, stopped = complete(lm.tokenizer, RETURN + after, prompt=FUNCTION, rule=rule)
    assert (got, stopped) == (RETURN + "\n", True)
    assert needed == len(got) + 1


@pytest.mark.parametrize("mark", ["```", '"""'])
def test_a_whole_function_ends_where_the_next_program_begins(lm: LanguageModel, mark: str) -> None:
    got, _, stopped = complete(lm.tokenizer, f"{RETURN}    {mark}Metrics", prompt=FUNCTION, rule="whole_class")
    assert (got, stopped) == (f"{RETURN}    ", True)


def test_the_docstring_of_a_function_ends_nothing(lm: LanguageModel) -> None:
    text = f'    """Best fit."""\n{RETURN}'
    assert complete(lm.tokenizer, text, prompt=FUNCTION, rule="whole_class") == (text, len(text), False)


def test_an_unfinished_class_does_not_stop(lm: LanguageModel) -> None:
    assert complete(lm.tokenizer, BODY + "\n    z") == (BODY + "\n    z", len(BODY) + 6, False)


def test_text_after_a_header_without_newline_belongs_to_its_line(lm: LanguageModel) -> None:
    assert complete(lm.tokenizer, " pass\nx", prompt="class Model:")[0] == " pass\n"
    assert complete(lm.tokenizer, "x\n y\nz", prompt="class Model:")[0] == "x\n y\n"


def test_characters_of_several_tokens_come_out_whole(lm: LanguageModel) -> None:
    text = '    """né 数 🙂"""\n'
    assert complete(lm.tokenizer, text)[0] == text


def test_a_healed_newline_is_not_part_of_the_completion(lm: LanguageModel) -> None:
    got = complete(lm.tokenizer, "\n" + BODY + "x", healed="\n")
    assert got == (BODY, len(BODY) + 2, True)


def test_a_prompt_is_shortened_where_its_end_would_be_merged() -> None:
    class Merging:
        """Tokens are characters, but a newline takes the spaces after it along."""

        eos_token_id: int | None = None

        def __call__(self, text: str, **how: bool) -> Any:
            text = text.replace("\n    ", "N")
            return type("Encoding", (), {"input_ids": [ord(character) for character in text]})

        def decode(self, ids: list[int], **how: bool) -> str:
            return "".join(map(chr, ids))

    assert heal(Merging(), "class A:\n") == ([ord(c) for c in "class A:"], "\n")


def test_a_prompt_is_shown_without_the_end_that_a_tokenizer_puts_behind_it(model_folder: Path) -> None:
    """As one does that was saved after fine-tuning with add_eos_token."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    end, plain = tokenizer.eos_token, tokenizer(PROMPT).input_ids
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    assert tokenizer(PROMPT).input_ids == [*plain, tokenizer.eos_token_id]
    assert heal(tokenizer, PROMPT) == (plain, "")


@pytest.mark.parametrize("start", ["", "<|end|>"])
@pytest.mark.parametrize("preamble", ["", "<|end|>user\n"])
def test_the_end_of_a_prompt_is_left_to_write_whatever_special_tokens_come_before(
    tmp_path: Path, preamble: str, start: str
) -> None:
    write_tiny_lm(tmp_path, LlamaConfig, MERGES)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A".strip(), special_tokens=[("<|end|>", tokenizer.eos_token_id)]
    )
    prompt = preamble + PROMPT
    assert heal(tokenizer, prompt) == (tokenizer(prompt).input_ids[:-1], "\n")


def test_a_prompt_whose_end_stands_alone_is_shown_whole(lm: LanguageModel) -> None:
    assert heal(lm.tokenizer, PROMPT) == (lm.tokenizer(PROMPT).input_ids, "")


@pytest.mark.parametrize("mark", ["```", '"""', "'''"])
@pytest.mark.parametrize("between", ["", " ", "\n    ", "\n\n        "])
def test_a_whole_class_ends_where_the_next_program_begins(lm: LanguageModel, mark: str, between: str) -> None:
    text = BODY.rstrip("\n") + between
    got, needed, stopped = complete(lm.tokenizer, f"{text}{mark}Metrics", rule="whole_class")
    assert (got, stopped) == (text, True)
    assert needed == len(text) + 3  # not a token later


def test_a_docstring_within_a_class_ends_nothing(lm: LanguageModel) -> None:
    text = BODY + '\n    def half(self, x):\n        """Half."""\n        return x / 2\n'
    assert complete(lm.tokenizer, text, rule="whole_class") == (text, len(text), False)


def test_the_old_rule_goes_on_behind_a_fence(lm: LanguageModel) -> None:
    text = BODY + "    ```"
    assert complete(lm.tokenizer, text) == (text, len(text), False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BODY + "    oh no", BODY),
        (BODY + "    x = 1\n", BODY + "    x = 1\n"),  # it is Python: nothing is cut
        ("    def forward(self, x", "    def forward(self, x"),  # it was never whole
    ],
)
def test_what_spoils_a_whole_class_is_cut_at_the_end(lm: LanguageModel, text: str, expected: str) -> None:
    transcript = Transcript(lm.tokenizer, PROMPT, "", "whole_class")
    for token in lm.tokenizer(text).input_ids:
        transcript.add(token)
    transcript.cut()
    assert transcript.text == expected


HALF = "    def __init__(self):\n        self.one = 1\n"
REST = f"        self.two = 2\n\n{BODY}"


@pytest.mark.parametrize("rule", ["next_statement", "whole_class"])
def test_a_completion_begins_with_the_half_that_was_given(lm: LanguageModel, rule: str) -> None:
    transcript = Transcript(lm.tokenizer, PROMPT + HALF, "", rule, HALF)
    assert transcript.text == HALF
    tokens = lm.tokenizer(f"{REST}x").input_ids
    assert [transcript.add(token) for token in tokens] == [False] * len(REST) + [True]
    assert transcript.text == HALF + REST


@pytest.mark.parametrize(
    ("half", "drawn", "expected"),
    [
        (HALF, REST + "    oh no", HALF + REST),
        (HALF + "\n" + BODY, "    oh no", HALF + "\n" + BODY + "    oh no"),  # nothing would be the child's own
        (HALF, "    def forward(self, x", HALF + "    def forward(self, x"),
    ],
)
def test_what_spoils_a_whole_class_is_cut_behind_the_given_half(
    lm: LanguageModel, half: str, drawn: str, expected: str
) -> None:
    transcript = Transcript(lm.tokenizer, PROMPT + half, "", "whole_class", half)
    for token in lm.tokenizer(drawn).input_ids:
        transcript.add(token)
    transcript.cut()
    assert transcript.text == expected


def test_a_class_that_was_given_half_ends_where_the_next_program_begins(lm: LanguageModel) -> None:
    transcript = Transcript(lm.tokenizer, PROMPT + HALF, "", "whole_class", HALF)
    stopped = [transcript.add(token) for token in lm.tokenizer(f'{REST}    """').input_ids]
    assert stopped[-1]
    assert transcript.text == f"{HALF}{REST}    "


def test_the_old_rule_cuts_nothing(lm: LanguageModel) -> None:
    transcript = Transcript(lm.tokenizer, PROMPT, "")
    for token in lm.tokenizer(BODY + "    oh no").input_ids:
        transcript.add(token)
    transcript.cut()
    assert transcript.text == BODY + "    oh no"


def test_a_completion_ends_at_any_token_that_model_or_tokenizer_ends_with() -> None:
    """Gemma declares several in its generation config, some models others than their tokenizer's."""
    tokenizer = SimpleNamespace(eos_token_id=3, all_special_ids=[3, 4])
    assert stop_ids(SimpleNamespace(eos_token_id=[1, 106]), tokenizer) == {1, 3, 4, 106}
    assert stop_ids(SimpleNamespace(eos_token_id=7), tokenizer) == {3, 4, 7}
    assert stop_ids(SimpleNamespace(eos_token_id=None), tokenizer) == {3, 4}
