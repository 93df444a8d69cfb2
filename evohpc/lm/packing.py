"""Tuning examples as tokens, side by side in one sequence without padding.

All examples of a pack stand behind one copy of the virtual tokens and of the tokens that their texts begin with alike;
each sees that copy and itself only, at the positions that it would have alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evohpc.lm.model import LanguageModel
from evohpc.messages import TuningExample


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as tokens."""

    ids: list[int]
    prompt: int
    """How many of them belong to the prompt."""
    weight: float = 1.0
    """Of each of the others in the loss."""

    @property
    def loss_weight(self) -> float:
        """What its tokens weigh in the loss together."""
        return (len(self.ids) - self.prompt) * self.weight


def encode(lm: LanguageModel, example: TuningExample) -> Encoded:
    """Return an example's tokens, its completion ended by the model's end token."""
    shown = lm.tokenizer(example.prompt).input_ids
    ids = lm.tokenizer(example.prompt + example.completion).input_ids
    # Where the tokenizer merges across the border, the merged token is the model's to write.
    shared = _common(shown, ids)
    end = lm.tokenizer.eos_token_id
    return Encoded(ids if end is None or ids[-1] == end else [*ids, end], shared, example.weight)


def share_out(examples: Sequence[Encoded], tokens: int, *, multiple_of: int = 1) -> list[list[Encoded]]:
    """Divide examples into groups of about equal length, of at most `tokens` tokens wherever that can be.

    The number of groups is a multiple of `multiple_of`; groups may be empty.
    """
    needed = math.ceil(sum(len(example.ids) for example in examples) / tokens)
    groups: list[list[Encoded]] = [[] for _ in range(math.ceil(needed / multiple_of) * multiple_of)]
    lengths = [0] * len(groups)
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        lightest = lengths.index(min(lengths))
        groups[lightest].append(example)
        lengths[lightest] += len(example.ids)
    return groups


@dataclass(frozen=True, slots=True)
class Pack:
    """Examples side by side, behind `virtual` virtual tokens that have no ids."""

    ids: Tensor
    """[1, tokens]; the common beginning once, then the rest of each example."""
    positions: Tensor
    """[1, virtual + tokens]."""
    mask: Tensor
    """[1, 1, virtual + tokens, virtual + tokens], true where a query (third axis) sees a key (last)."""
    segments: tuple[int, ...]
    """Lengths of what all see and of each example's own rest; they add up to virtual + tokens."""
    places: Tensor
    """[targets]: where, in virtual + tokens, a target is predicted."""
    targets: Tensor
    """[targets]: the ids of the completions' tokens."""
    weights: Tensor
    """[targets], float32: what each weighs in the loss."""


def pack(examples: Sequence[Encoded], virtual: int, device: torch.device) -> Pack:
    """Lay examples side by side.

    Args:
        virtual: number of virtual tokens in front.
    """
    common = _common(*(example.ids[: example.prompt] for example in examples))
    segments = (virtual + common, *(len(example.ids) - common for example in examples))
    starts = [sum(segments[:place]) for place in range(1, len(segments))]
    ids, positions = examples[0].ids[:common], list(range(virtual + common))
    places: list[int] = []
    for start, example in zip(starts, examples, strict=True):
        ids = ids + example.ids[common:]
        positions += range(virtual + common, virtual + len(example.ids))
        # Token i is predicted at i - 1. Token i of an example is at start + i - common; the common ones, which come
        # once, are at virtual + i.
        before = range(example.prompt - 1, len(example.ids) - 1)
        places += [start - common + place if place >= common else virtual + place for place in before]
    return Pack(
        torch.tensor([ids], device=device),
        torch.tensor([positions], device=device),
        _visible(segments, device)[None, None],
        segments,
        torch.tensor(places, device=device),
        torch.tensor([token for example in examples for token in example.ids[example.prompt :]], device=device),
        torch.tensor([example.weight for example in examples for _ in example.ids[example.prompt :]], device=device),
    )


def _common(*sequences: Sequence[int]) -> int:
    """Return with how many tokens all sequences begin alike."""
    differs = (place for place, tokens in enumerate(zip(*sequences, strict=False)) if len(set(tokens)) > 1)
    return next(differs, min(map(len, sequences)))


def _visible(segments: Sequence[int], device: torch.device) -> Tensor:
    """Return what each position sees: those up to itself in its own segment, and in segment 0, which all share.

    Shape: [total, total].
    """
    owner = torch.arange(len(segments), device=device).repeat_interleave(torch.tensor(segments, device=device))
    return ((owner[:, None] == owner) | (owner == 0)).tril()
