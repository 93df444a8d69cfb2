"""Which options of sbatch a site profile may give in `options`, and why not the others."""

from __future__ import annotations

import re

from pydantic_core import PydanticCustomError

Options = dict[str, str | int | bool]

_TASKS = "a job is one task on one node"
_RESTART = "set `requeue` of the section, or `driver.go_on_by`, instead"
_NOT_SUBMITTED = "nothing would be submitted"
_ANSWER = "evohpc reads the answer of sbatch"
_LOG = "evohpc reads the jobs' logs where it has them written"

REFUSED = {
    "array": "evohpc splits a round into arrays itself; set `max_parallel` or `scheduler.max_queued` instead",
    "cpus-per-task": "set `cpus` of the section, or for evaluation `evaluation.threads` of the config, instead",
    "dependency": "evohpc orders its jobs itself, and lets one driver run at a time",
    "error": _LOG,
    "help": _NOT_SUBMITTED,
    "input": "the work reads no input",
    "job-name": "evohpc finds its jobs by the names that it gives them",
    "no-requeue": _RESTART,
    "nodes": _TASKS,
    "ntasks": _TASKS,
    "ntasks-per-core": _TASKS,
    "ntasks-per-node": _TASKS,
    "ntasks-per-socket": _TASKS,
    "open-mode": _LOG,
    "output": _LOG,
    "parsable": _ANSWER,
    "quiet": _ANSWER,
    "requeue": _RESTART,
    "signal": "evohpc has its jobs signalled itself; set `driver.stop_before_s` instead",
    "test-only": _NOT_SUBMITTED,
    "usage": _NOT_SUBMITTED,
    "version": _NOT_SUBMITTED,
    "wait": "sbatch would answer only at the end of the job",
    "wrap": "the job is evohpc's",
}
"""Options that a search rests on, and why they are not a site's to set."""

_READ = ("clusters", "exclude", "mem-per-cpu", "mem-per-gpu", "partition")
"""Options that evohpc itself goes by. sbatch takes `cluster`, too, and then evohpc would ask another one."""
_NAME = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")
_WORDS = {"yes": True, "on": True, "no": False, "off": False}
_TAKE_A_WORD = {"kill-on-invalid-dep"}
"""Options whose values are yes and no."""


def checked(options: Options) -> Options:
    """Return a profile's options; yes and no are true and false, as elsewhere in a profile.

    Raises:
        PydanticCustomError: one is not written as sbatch wants it, or a search rests on it.
    """
    for name, value in options.items():
        if problem := _problem(name, value):
            raise PydanticCustomError("sbatch_option", "{problem}", {"problem": problem})
    return {name: _value(name, value) for name, value in options.items()}


def _problem(name: str, value: str | int | bool) -> str:
    right = name.lstrip("-").replace("_", "-").lower()
    if name != right:
        return f"{name} is written without dashes in front, in small letters and with -: {right}"
    if not _NAME.fullmatch(name):
        return f"{name!r} is no option by its long name, e.g. mail-type"
    # sbatch takes a beginning for the whole (getopt_long(3)).
    if refused := [option for option in sorted(REFUSED) if option.startswith(name)]:
        return f"{refused[0]} is not for options: {REFUSED[refused[0]]}"
    if name != "mem" and (whole := [option for option in _READ if option.startswith(name) and option != name]):
        return f"{name} is written in full: {whole[0]}"
    if isinstance(value, str) and ("\n" in value or not value.strip()):
        return f"{name} takes one line, true or false"
    if name == "clusters" and (not isinstance(value, str) or value.lower() == "all"):
        return "clusters takes names: evohpc asks each of them for its jobs, e.g. {clusters: alpha}"
    return ""


def _value(name: str, value: str | int | bool) -> str | int | bool:
    if name == "clusters":
        return "".join(str(value).split())
    if isinstance(value, str) and name not in _TAKE_A_WORD:
        return _WORDS.get(value.lower(), value)
    return value


def merged(own: Options, given: Options) -> Options:
    """Return the options of a job: evohpc's own, and a profile's, which come first where both say the same.

    --mem, --mem-per-cpu and --mem-per-gpu exclude each other (sbatch(1)).
    """
    if {"mem-per-cpu", "mem-per-gpu"} & given.keys():
        own = {name: value for name, value in own.items() if name != "mem"}
    return {**own, **given}
