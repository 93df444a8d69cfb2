"""How the text of a child came about: a language model drew it, or a rule changed its parent's."""

from __future__ import annotations

from evohpc.messages import Candidate

BY_RULE = "its parent's, with numbers changed by a rule (search.rescale)"


def temperature(candidate: Candidate) -> float | None:
    """Return the temperature at which it was drawn: None for what nobody drew, a seed or the work of a rule
    (`Prompt.is_rescaled`). Who draws, draws one token at least, the end; those have none."""
    return candidate.temperature if candidate.tokens else None


def completion(candidate: Candidate) -> str:
    """Return how a child's text came about."""
    drawn_at = temperature(candidate)
    return BY_RULE if drawn_at is None else f"{candidate.tokens} tokens at temperature {drawn_at:g}"
