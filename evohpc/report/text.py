"""Text of candidates as people are shown it."""

from __future__ import annotations

import re

SHORT = {"hours": "h", "minutes": "min", "seconds": "s"}
MINUS = "\N{MINUS SIGN}"
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def visible(text: str) -> str:
    """Return a line of text with the characters spelled out that hide or reorder what is around them."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def in_hours(hours: float) -> str:
    """Return a time for people: '2.5 h', '12 min', '0 s'."""
    unit, per_hour = unit_of_time(hours)
    return f"{hours * per_hour:,.3g} {SHORT[unit]}"


def unit_of_time(hours: float) -> tuple[str, float]:
    """Return the unit that suits a time, and how many of it are an hour: ('minutes', 60)."""
    if hours >= 2:
        return "hours", 1
    return ("minutes", 60) if hours * 60 >= 2 else ("seconds", 3600)
