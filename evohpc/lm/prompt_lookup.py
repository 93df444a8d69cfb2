"""Guesses at what a completion goes on with: children copy most of their parents (prompt lookup, Saxena 2023).

A guess costs nothing but its place in a batch. It is kept only if it is the token that the completion's own noise draws
at that place, so completions are the same with and without guesses.
"""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 3
"""Tokens that are looked up together; shorter endings are tried if they were not seen before."""


class History:
    """A prompt and the completion so far."""

    def __init__(self, tokens: Iterable[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in tokens:
            self.append(token)

    def fork(self) -> History:
        """Return one of its own for another completion of the same prompt."""
        other = History(())
        other._tokens, other._after = self._tokens.copy(), self._after.copy()
        return other

    def append(self, token: int) -> None:
        """Add what came next."""
        for length in range(1, min(_LONGEST, len(self._tokens)) + 1):
            self._after[tuple(self._tokens[-length:])] = len(self._tokens)
        self._tokens.append(token)

    def guess(self, count: int) -> list[int]:
        """Return at most `count` tokens: what followed when it last ended as it does now, again and again."""
        for length in range(min(_LONGEST, len(self._tokens)), 0, -1):
            place = self._after.get(tuple(self._tokens[-length:]))
            if place is not None:
                followed = self._tokens[place : place + count]
                return (followed * -(-count // len(followed)))[:count] if count else []
        return []
