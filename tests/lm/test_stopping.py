import pytest

from evohpc.lm.stopping import Transcript, heal, parses

PROMPT = "class Model(nn.Module):\n"
BODY = "    def forward(self, x):\n        return x\n"


def complete(tokenizer, text, prompt=PROMPT, healed=""):
    """Feed a text byte by byte; return (completion, how many bytes were needed, whether it stopped)."""
    transcript = Transcript(tokenizer, prompt, healed)
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
def test_a_class_ends_before_the_first_line_at_column_0(lm, text, expected):
    got, needed, stopped = complete(lm.tokenizer, text)
    assert (got, stopped) == (expected, True)
    assert needed == len(expected) + 1  # not a token later


def test_an_unfinished_class_does_not_stop(lm):
    assert complete(lm.tokenizer, BODY + "\n    z") == (BODY + "\n    z", len(BODY) + 6, False)


def test_text_after_a_header_without_newline_belongs_to_its_line(lm):
    assert complete(lm.tokenizer, " pass\nx", prompt="class Model:")[0] == " pass\n"
    assert complete(lm.tokenizer, "x\n y\nz", prompt="class Model:")[0] == "x\n y\n"


def test_characters_of_several_tokens_come_out_whole(lm):
    text = '    """né 数 🙂"""\n'
    assert complete(lm.tokenizer, text)[0] == text


def test_a_healed_newline_is_not_part_of_the_completion(lm):
    got = complete(lm.tokenizer, "\n" + BODY + "x", healed="\n")
    assert got == (BODY, len(BODY) + 2, True)


def test_a_prompt_is_shortened_where_its_end_would_be_merged():
    class Merging:
        """Tokens are characters, but a newline takes the spaces after it along."""

        def __call__(self, text):
            text = text.replace("\n    ", "N")
            return type("Encoding", (), {"input_ids": [ord(character) for character in text]})

        def decode(self, ids, skip_special_tokens):
            return "".join(map(chr, ids))

    assert heal(Merging(), "class A:\n") == ([ord(c) for c in "class A:"], "\n")


def test_a_prompt_whose_end_stands_alone_is_shown_whole(lm):
    assert heal(lm.tokenizer, PROMPT) == (lm.tokenizer(PROMPT).input_ids, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BODY, True),
        ("\n" + BODY, True),
        (BODY + "    def g(", False),
        ("x = 1\n", False),
        ("", False),
        ("  \x00", False),
    ],
)
def test_programs_are_told_from_what_does_not_parse(text, expected):
    assert parses(f"x = 1\n{PROMPT}", text) is expected


def test_a_program_with_a_strange_escape_parses_without_a_warning():
    assert parses(PROMPT, '    x = "\\d"\n')
