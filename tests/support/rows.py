"""Candidates, their results and what a language model drew, with defaults that a test need not care for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evohpc.messages import Candidate, Completion, Result, Status


def candidate(name: str, **changes: Any) -> Candidate:
    """Return a child of round 0 that waits for its evaluation; its code hash is its name."""
    plain = Candidate(
        id=name,
        round=0,
        prompt=1,
        sample=2,
        parents=("seed-a", "seed-b"),
        temperature=0.6,
        tokens=40,
        source=f"source of {name}\n",
        code_hash=name,
        status=Status.PENDING,
        detail="",
    )
    return replace(plain, **changes)


def trained(name: str, attempt: int = 1, **changes: Any) -> Result:
    """Return the result of an attempt that went well: 100 parameters and an error of 0.5, unless changed."""
    plain = Result(
        candidate_id=name,
        attempt=attempt,
        status=Status.TRAINED,
        num_params=100,
        error=0.5,
        fitness=-50.0,
        metrics={"acc": 0.5},
    )
    return replace(plain, **changes)


def completion(prompt: int, sample: int, text: str, *, tokens: int = 9, stop: str = "eos") -> Completion:
    """Return what the language model drew for a sample of a prompt."""
    return Completion(prompt=prompt, sample=sample, text=text, tokens=tokens, stop=stop)
