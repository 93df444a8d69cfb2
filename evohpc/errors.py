"""Every exception that evohpc raises on purpose.

A candidate that fails is never an exception: it is a `Result` with a `Status`. An exception means that the
configuration, the site or evohpc itself is at fault. Its text is one sentence for the user: the file, the wrong
value, the right values, the next step.

    EvohpcError
    ├── ConfigError        a key or value of a config, a site profile or --set
    ├── TaskError          a task that cannot be loaded or does not satisfy the Task protocol
    │   └── TaskCodeError  a task whose own code fails on a candidate
    ├── LMError            a language model folder or an LM job
    ├── EvaluationError    this host cannot evaluate candidates as the config demands
    ├── RunFolderError     a run folder that is missing, damaged or belongs to another search
    │   └── LeaseError     a run folder that another driver holds
    ├── EnvelopeError      a file that is torn, foreign or altered
    └── StorageError       the file system refused a write

`Ended` is no error: a signal ends the process.
"""

from __future__ import annotations

import difflib
import errno
import shlex
from collections.abc import Iterable
from pathlib import Path


class EvohpcError(Exception):
    """Base of every error that a user can cause or mend."""


class ConfigError(EvohpcError):
    """A key or value of a config, a site profile or --set is wrong."""


class TaskError(EvohpcError):
    """A task cannot be loaded, or does not satisfy the Task protocol."""


class TaskCodeError(TaskError):
    """A task's own `score` or `fitness` failed on a candidate: the task must be mended, and trying again is in vain."""


class LMError(EvohpcError):
    """The language model folder cannot be used, or the LM job failed."""


class EvaluationError(EvohpcError):
    """This host cannot evaluate candidates as the config demands."""


class RunFolderError(EvohpcError):
    """The run folder is missing, damaged or belongs to another search."""


class LeaseError(RunFolderError):
    """Another driver holds the run folder."""


class EnvelopeError(EvohpcError):
    """A file is torn, foreign or altered, and is not used."""


class StorageError(EvohpcError):
    """The file system refused a write: full, over quota or read-only."""


class Ended(SystemExit):
    """A signal ends this process, in the midst of whatever runs. Code of a user's own may raise `SystemExit`, and is at
    fault then; it never raises this."""


_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EIO: "wait until the file system answers again",
    errno.ESTALE: "wait until the file system answers again",
    errno.ENAMETOOLONG: "give the run folder a shorter path",
}
"""What to do about a refused write, by its errno."""


def no_run_folder(path: Path) -> RunFolderError:
    """Return the sentence for what was named in place of a run folder: what it is, and what to type."""
    if path.is_file():
        has = "status, list and their like need the whole run folder"
        snapshot = f"a snapshot alone is for `evohpc report {shlex.quote(str(path))} -o FILE` and `evohpc aggregate`"
        search = "a search is begun by naming its folder before the config: evohpc run RUN CONFIG"
        return RunFolderError(
            f"{path} is no run folder but a file; {f'{snapshot}: {has}' if path.suffix == '.db' else search}"
        )
    runs = sorted(file.parent for file in path.glob("*/provenance.json"))
    if runs:
        return RunFolderError(f"{path} is no run folder, but holds {len(runs)}: name one, e.g. {runs[0]}")
    start = f"{similar_run(path)}start one: evohpc run {shlex.quote(str(path))} CONFIG"
    return RunFolderError(f"{path} is no run folder (it has no provenance.json); {start}")


def similar_run(path: Path) -> str:
    """Return a question with the run folder whose path is nearest to one that is not there; '' if none is like it.

    Looked for where the last part of the path is wrong; of a relative path the last two: of /home/name/run it would be
    in everybody's home.
    """
    there = next(parent for parent in path.absolute().parents if parent.is_dir())
    missing = path.absolute().relative_to(there)
    if path.exists() or len(missing.parts) > (1 if path.is_absolute() else 2):
        return ""
    runs = [file.parent for file in there.glob("/".join(["*"] * len(missing.parts) + ["provenance.json"]))]
    shown = len(path.parts) - len(missing.parts)
    known = {str(run.relative_to(there)): str(Path(*path.parts[:shown], run.relative_to(there))) for run in runs}
    near = difflib.get_close_matches(str(missing), known, n=1)
    return f"did you mean {shlex.quote(known[near[0]])}? " if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with what is nearest to a word that is not known, in capitals or not; '' if nothing is."""
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    return f"did you mean {lower[near[0]]}? " if near else ""


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the sentence for a refused write: what, where, and that nothing is lost."""
    advice = _ADVICE.get(error.errno or 0, "make it writable")
    return StorageError(
        f"cannot write {path}: {error.strerror or error}; nothing is lost: {advice}, then run the same command again"
    )
