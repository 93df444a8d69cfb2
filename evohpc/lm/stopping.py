"""Where a completion ends: with its class, seen on the tokens as they come."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from evohpc.lm.programs import is_whole, parses, whole_class
from evohpc.lm.token_text import TokenText

_NEXT_STATEMENT = re.compile(r"\n\S")
_NEXT_PROGRAM = re.compile("```|\"\"\"|'''")
"""A fence, or the docstring of metrics: what language models write behind a class, with any indentation."""


class Transcript:
    """The text of one completion, decoded token by token.

    The class ends at the first line that is not blank and starts at column 0, which the next `\"""Metrics` is too. With
    the rule 'whole_class' it also ends where the next program begins on the line on which it was whole, or indented.
    """

    def __init__(self, tokenizer: Any, prompt: str, healed: str, rule: str = "next_statement", given: str = "") -> None:
        """`healed` is the end of the prompt that the model was not shown; the completion repeats it. `given` is the end
        of the prompt that is the beginning of the class; the completion begins with it."""
        self._tokens = TokenText(tokenizer)
        self._prompt, self._given = prompt.removesuffix(given), given
        self._text = prompt[: len(prompt) - len(healed)][-1:]
        # The last character of what was shown is kept: whether the first line starts at column 0 depends on it.
        self._shown = len(self._text)
        self._start = self._shown + len(healed)
        self._searched = max(0, self._start - 1)
        self._marked = self._start
        self._looks_at_programs = rule == "whole_class"
        self._end: int | None = None

    @property
    def text(self) -> str:
        """What follows the header of the class, up to its end."""
        return self._given + self._text[self._start : self._end]

    def add(self, token: int) -> bool:
        """Append a token; return whether the class has ended."""
        self._text += self._tokens.add(token)
        if self._end is None:
            self._end = self._next_statement() or self._next_program()
        return self._end is not None

    def cut(self) -> None:
        """Leave out what follows the whole class, where the text is no Python with it. Nothing is drawn any more."""
        if self._looks_at_programs and not parses(self._prompt, self.text):
            whole = whole_class(self._prompt, self.text)
            drawn = len(whole) - len(self._given)
            self._end = self._start + drawn if drawn > 0 else self._end

    def _next_statement(self) -> int | None:
        found = _NEXT_STATEMENT.search(self._text, self._searched)
        self._searched = max(self._searched, len(self._text) - 1)
        return found and found.start() + 1

    def _next_program(self) -> int | None:
        if not self._looks_at_programs:
            return None
        for mark in _NEXT_PROGRAM.finditer(self._text, self._marked):
            self._marked = mark.end()
            if is_whole(self._prompt, self._given + self._text[self._start : mark.start()]):
                return mark.start()
        return None


def heal(tokenizer: Any, prompt: str) -> tuple[list[int], str]:
    """Return the tokens to show for a prompt, and its end that is left for the model to write again.

    A prompt that ends in a newline can split a token that the model would merge with the indentation after it.
    """
    ids, ahead = (_open(tokenizer, text) for text in (prompt, f"{prompt}    def __init__(self):\n"))
    agreed = next((i for i, (one, other) in enumerate(zip(ids, ahead, strict=False)) if one != other), len(ids))
    if agreed == len(ids):
        return ids, ""
    # What stands in the text, as in a preamble of a chat, is a part of it; what the tokenizer puts before it is not.
    first = len(ids) - len(tokenizer(prompt, add_special_tokens=False).input_ids)
    shown = tokenizer.decode(ids[first:agreed], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    left = prompt[len(shown) :]
    return (ids[:agreed], left) if prompt.startswith(shown) and left else (ids, "")


def _open(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text that is to go on. Some tokenizers put the token of its end behind it."""
    ids: list[int] = tokenizer(text).input_ids
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def repeating(tokenizer: Any, vocabulary: Iterable[int], healed: str) -> list[int]:
    """Return the tokens of a vocabulary that begin with the end of a prompt that is left for the model to write."""
    ids = list(vocabulary)
    texts = TokenText(tokenizer).of_each(ids)
    return [token for token, text in zip(ids, texts, strict=True) if text.startswith(healed)]


def stop_ids(defaults: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a completion: end-of-sequence and all other special tokens.

    Args:
        defaults: the `GenerationConfig` of the model, or its own config if it has none.
    """
    declared = [getattr(defaults, "eos_token_id", None), tokenizer.eos_token_id]
    ids = {number for entry in declared for number in (entry if isinstance(entry, list) else [entry])}
    return frozenset((ids | set(tokenizer.all_special_ids)) - {None})
