"""Which candidate was meant by an id that none has."""

from __future__ import annotations

import difflib
import re

from evohpc.evolution.screening import candidate_id
from evohpc.messages import SEED_ROUND
from evohpc.store.store import Store

_OF_A_CHILD = re.compile(r"r(\d{1,9})p(\d{1,9})s(\d{1,9})", re.ASCII)


def similar(name: str, store: Store) -> str:
    """Return a question with the id that is there and was probably meant: of a child without its zeros ('r3p7s12') or
    in capitals, of a seed by its name, its file's ('cnn.py') or one that is like it; '' if there is none."""
    word = name.lower().removesuffix(".py").replace("_", "-")
    if child := _OF_A_CHILD.fullmatch(word):
        id = candidate_id(*map(int, child.groups()))
        return f"did you mean {id}? " if store.entry(id) else ""
    seeds = {entry.id.lower().removeprefix("seed-").replace("_", "-"): entry.id for entry in store.entries(SEED_ROUND)}
    near = difflib.get_close_matches(word.removeprefix("seed-"), seeds, n=1)
    return f"did you mean {seeds[near[0]]}? " if near else ""
