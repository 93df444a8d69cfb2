"""What goes to a terminal: text that a candidate wrote, made safe and nothing else of it another, and plain tables."""

from __future__ import annotations

import re
from typing import Literal

from rich import box
from rich.markup import escape
from rich.table import Table

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, ESC among them, but tab and newline
    "\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible, bidi
    "\ud800-\udfff]"  # no characters
)


_FOLDED = ("detail", "parents")
"""Columns whose text may go on in the next line."""


def printable(text: str) -> str:
    """Return text in which every character that a terminal obeys, or that is not seen, is shown as Python writes it:
    an escape as '\\x1b', a right-to-left override as '\\u202e'. Tabs and newlines stay.

    For what people read. What machines read (--json, --source, CSV, JSONL) is the candidate's own text, byte for byte.
    """
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def plain_table(*columns: str) -> Table:
    """Return a plain table; a column whose name ends in '>' holds numbers. If the table is too wide, only text is
    folded: half a number or half an id is useless."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        header = escape(printable(column.removesuffix(">").replace(" ", "\n")))  # a task's metric may be 'F1 [macro]'
        justify: Literal["right", "left"] = "right" if column.endswith(">") else "left"
        is_folded = column in _FOLDED
        table.add_column(header, justify=justify, no_wrap=not is_folded, overflow="fold" if is_folded else "ellipsis")
    return table


def of_all(known: int, total: int) -> str:
    """Return of how many a mean is, as it stands behind that; '' if it is of all."""
    return "" if known == total else f" ({known} of {total})"
