"""Colours that the colour-blind tell apart, on white and on black."""

from __future__ import annotations

BLUE, ORANGE, CYAN, MAGENTA, GREY = "#2080c4", "#ee7733", "#33bbee", "#ee3377", "#9a9a9a"
"""Of Paul Tol's scheme "vibrant", blue and grey changed so that they show on white and on black."""

OUTCOME_COLOURS = {
    "trained": BLUE,
    "failed": ORANGE,
    "duplicate": GREY,
    "refused": CYAN,
    "machine fault": "#cc3311",
    "pending": "#d8d8d8",
}
STAGE_COLOURS = (CYAN, BLUE, "#009988", ORANGE, MAGENTA, "#aa4499", GREY)
