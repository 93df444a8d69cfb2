"""Text of candidates as people are shown it."""

from __future__ import annotations

import re

MINUS = "\N{MINUS SIGN}"
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def visible(text: str) -> str:
    """Return a line of text with the characters spelled out that hide or reorder what is around them."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
