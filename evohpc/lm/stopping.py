"""Where a completion ends: with its class, seen on the tokens as they come; and whether it is a program."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable
from typing import Any

from tokenizers.decoders import DecodeStream

_NEXT_STATEMENT = re.compile(r"\n\S")


class Transcript:
    """The text of one completion, decoded token by token.

    The class ends at the first line that is not blank and starts at column 0, which the next `\"""Metrics` is too.
    """

    def __init__(self, tokenizer: Any, prompt: str, healed: str) -> None:
        """`healed` is the end of the prompt that the model was not shown; the completion repeats it."""
        self._tokenizer = tokenizer._tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._text = prompt[: len(prompt) - len(healed)][-1:]
        # The last character of what was shown is kept: whether the first line starts at column 0 depends on it.
        self._shown = len(self._text)
        self._start = self._shown + len(healed)
        self._searched = max(0, self._start - 1)
        self._end: int | None = None

    @property
    def text(self) -> str:
        """What follows the prompt, up to the end of its class."""
        return self._text[self._start : self._end]

    def add(self, token: int) -> bool:
        """Append a token; return whether the class has ended."""
        self._text += self._stream.step(self._tokenizer, token) or ""
        if self._end is None and (match := _NEXT_STATEMENT.search(self._text, self._searched)):
            self._end = match.start() + 1
        self._searched = max(self._searched, len(self._text) - 1)
        return self._end is not None


def heal(tokenizer: Any, prompt: str) -> tuple[list[int], str]:
    """Return the tokens to show for a prompt, and its end that is left for the model to write again.

    A prompt that ends in a newline can split a token that the model would merge with the indentation after it.
    """
    ids = tokenizer(prompt).input_ids
    ahead = tokenizer(f"{prompt}    def __init__(self):\n").input_ids
    agreed = next((i for i, (one, other) in enumerate(zip(ids, ahead, strict=False)) if one != other), len(ids))
    if agreed == len(ids):
        return ids, ""
    shown = tokenizer.decode(ids[:agreed], skip_special_tokens=True)
    left = prompt[len(shown) :]
    return (ids[:agreed], left) if prompt.startswith(shown) and left else (ids, "")


def repeating(tokenizer: Any, vocabulary: Iterable[int], healed: str) -> list[int]:
    """Return the tokens of a vocabulary that begin with the end of a prompt that is left for the model to write."""
    ids = list(vocabulary)
    texts = tokenizer.batch_decode([[token] for token in ids])
    return [token for token, text in zip(ids, texts, strict=True) if text.startswith(healed)]


def stop_ids(defaults: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a completion: end-of-sequence and all other special tokens.

    Args:
        defaults: the `GenerationConfig` of the model, or its own config if it has none.
    """
    declared = [getattr(defaults, "eos_token_id", None), tokenizer.eos_token_id]
    ids = {number for entry in declared for number in (entry if isinstance(entry, list) else [entry])}
    return frozenset((ids | set(tokenizer.all_special_ids)) - {None})


def parses(prompt: str, completion: str) -> bool:
    """Say whether the last line of a prompt, the header of the class, and what follows it are Python."""
    header = prompt.rstrip("\n").rpartition("\n")[2]
    try:
        with warnings.catch_warnings(action="ignore"):  # of invalid escapes in strings
            ast.parse(f"{header}\n{completion.lstrip(chr(10))}")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True
