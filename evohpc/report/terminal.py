"""Make text that a candidate wrote safe for a terminal, and nothing else of it another."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, ESC among them, but tab and newline
    "\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible, bidi
    "\ud800-\udfff]"  # no characters
)


def printable(text: str) -> str:
    """Return text in which every character that a terminal obeys, or that is not seen, is shown as Python writes it:
    an escape as '\\x1b', a right-to-left override as '\\u202e'. Tabs and newlines stay.

    For what people read. What machines read (--json, --source, CSV, JSONL) is the candidate's own text, byte for byte.
    """
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)
