"""The text of tokens as it stands behind other text, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_ANCHOR = "x"
_LONGEST = 4
"""Bytes of a character in UTF-8, and so the most tokens that one can be spread over."""
_UNFINISHED = "\ufffd"


class TokenText:
    """Decodes tokens that follow some text.

    A decoder of the SentencePiece kind drops the first space of whatever it is given. So each piece is decoded behind a
    text of its own, which is cut off again. (`DecodeStream` of tokenizers begins with nothing before the first token,
    and raises an error where a byte that belongs to no character follows a newline.)
    """

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: of transformers, with a Rust backend."""
        self._tokenizer = tokenizer._tokenizer
        self._anchor: list[int] = tokenizer(_ANCHOR, add_special_tokens=False).input_ids
        self._length = len(self._tokenizer.decode(self._anchor, skip_special_tokens=True))
        self._pending: list[int] = []

    def of_each(self, tokens: Iterable[int]) -> list[str]:
        """Return the text of each token; special ones have none."""
        return [text[self._length :] for text in self._decoded([token] for token in tokens)]

    def add(self, token: int) -> str:
        """Return the text that a token adds; '' while a character is unfinished."""
        self._pending.append(token)
        text = self._decoded([self._pending])[0][self._length :]
        if text.endswith(_UNFINISHED) and len(self._pending) < _LONGEST:
            return ""
        self._pending = []
        return text

    def _decoded(self, pieces: Iterable[Sequence[int]]) -> list[str]:
        behind = [[*self._anchor, *piece] for piece in pieces]
        decoded: list[str] = self._tokenizer.decode_batch(behind, skip_special_tokens=True)
        return decoded
