"""Completions that were admitted while others of their round were still drawn: rounds/NNN/portions/<k>.json.

<k> is how many were admitted before. A portion goes on where the last one ended, in the order of the request, and is
written once, before its children are in the store. So what was admitted stays as it is, whatever becomes of the LM job:
one that lost the end of its file draws that again, and anywhere but on a CPU not always to the last bit. Where
completions.jsonl says something else, the portions count. Once a round has all its completions, `settle` lets that file
say what they say, and they go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evohpc import envelopes
from evohpc.errors import EnvelopeError, LeaseError, LMError, RunFolderError, storage_error
from evohpc.files import write_once
from evohpc.lm import completions_file
from evohpc.messages import Completion, LMRequest
from evohpc.run_folder import RoundDir


@dataclass(frozen=True, slots=True)
class Portion:
    """What was admitted at once."""

    completions: tuple[Completion, ...]


def are_left(round: RoundDir) -> bool:
    """Say whether a round has portions: then its store may lack what was drawn after them."""
    return bool(_paths(round))


def read(round: RoundDir, request: LMRequest) -> list[Completion]:
    """Return what was admitted, in the order of the request.

    Raises:
        RunFolderError: a portion was altered, or one is missing.
    """
    found: list[Completion] = []
    for path in _paths(round):
        try:
            found += envelopes.unseal(path.read_bytes(), request.run_id, Portion).completions
            if _keys(found) != completions_file.keys(request)[: len(found)]:
                raise EnvelopeError("it does not go on where the portions before it end")
        except EnvelopeError as error:
            raise RunFolderError(f"{path}: {error}; take it from a backup") from None
    return found


def add(round: RoundDir, request: LMRequest, epoch: int, before: int, completions: Sequence[Completion]) -> None:
    """Note what is admitted next.

    Args:
        before: how many completions this driver knows to be admitted.

    Raises:
        LeaseError: another driver has admitted something meanwhile.
        StorageError: the file system refused.
    """
    path = _folder(round) / f"{before:06d}.json"
    if not write_once(path, envelopes.seal(request.run_id, epoch, Portion(tuple(completions)))):
        raise LeaseError(f"{path}: another driver has taken over this run; this one stops")


def known(round: RoundDir, request: LMRequest) -> list[Completion]:
    """Return the completions of a round that were admitted or may be: all if all are drawn, else what was admitted.

    Raises:
        RunFolderError: see `read`.
    """
    with suppress(LMError):
        return _merged(round, request)
    return read(round, request)


def settle(round: RoundDir, request: LMRequest) -> list[Completion]:
    """Return all completions of a round; let completions.jsonl say no other, and survive a crash: no job draws again
    what the store has. An LM job that appended the last of them in order has synced none.

    Raises:
        LMError: not all are drawn.
        RunFolderError: see `read`.
        StorageError: the file system refused.
    """
    settled = _merged(round, request)
    if are_left(round) and settled != completions_file.read_complete(round.completions, request):
        completions_file.write(round.completions, settled)
    else:
        completions_file.sync(round.completions)
    return settled


def remove(round: RoundDir) -> None:
    """Remove the portions, the last one first, of a round whose children are all in the store.

    Raises:
        StorageError: the file system refused.
    """
    try:
        for path in reversed(_paths(round)):
            path.unlink()
    except OSError as error:
        raise storage_error(_folder(round), error) from error
    shutil.rmtree(_folder(round), ignore_errors=True)


def _merged(round: RoundDir, request: LMRequest) -> list[Completion]:
    admitted = read(round, request)
    return [*admitted, *completions_file.read_complete(round.completions, request)[len(admitted) :]]


def _keys(completions: Sequence[Completion]) -> list[completions_file.Key]:
    return [(completion.prompt, completion.sample) for completion in completions]


def _folder(round: RoundDir) -> Path:
    return round.path / "portions"


def _paths(round: RoundDir) -> list[Path]:
    """List the folder anew: NFS caches failed look-ups of single names, not the listing."""
    try:
        names = os.listdir(_folder(round))
    except FileNotFoundError:
        return []
    return [_folder(round) / name for name in sorted(names) if not name.startswith(".")]
