"""Colours that the colour-blind tell apart, on white and on black."""

from __future__ import annotations

BLUE, ORANGE, CYAN, MAGENTA, GREY = "#2080c4", "#ee7733", "#33bbee", "#ee3377", "#9a9a9a"
"""Of Paul Tol's scheme "vibrant", blue and grey changed so that they show on white and on black."""

OUTCOME_COLOURS = {
    "trained": BLUE,
    "dropped": "#9ac7e8",
    "failed": ORANGE,
    "duplicate": GREY,
    "refused": CYAN,
    "machine fault": "#cc3311",
    "pending": "#d8d8d8",
}
STAGE_COLOURS = {
    **{"loading": "#ddaa33", "tuning": "#aa4499", "drawing": MAGENTA},
    **{"waiting": "#cccccc", "evaluating": BLUE},
    **{"start": CYAN, "check": BLUE, "train": "#009988", "predict": ORANGE, "confirm": "#cc3311", "score": "#999933"},
    "other": GREY,
}
"""Of what a language model does, what a round is spent on, and the stages of an evaluation."""
