"""Repairs: prompts that show a child that failed, and what it raised, and ask for it without that error. Pure.

Not in the paper; known as self-repair (Olausson et al. 2023, arXiv 2306.09896) and self-debugging (Chen et al. 2023,
arXiv 2304.05128). Here it costs no further call: some of a round's prompts go to children of the round before.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress

from evohpc.config.prompt import PromptConfig
from evohpc.config.search import Config
from evohpc.evolution import entry
from evohpc.evolution.population import Budget
from evohpc.evolution.prompts import Example, asked_for, is_rescaled
from evohpc.evolution.randomness import Draw, generator
from evohpc.messages import SEED_ROUND, Candidate, Status, TaskInterface

ERRORS = (Status.BUILD_ERROR, Status.SHAPE_ERROR)
"""Outcomes that say in a line what to change. A child that ran out of time or memory says nothing of its text; who is
built and passes its first batch hardly ever raises in the rest of its training."""
_LONGEST = 240
"""Characters of an error, or of a line of a program, in a prompt."""
_LINE = re.compile(r" \(line ([1-9][0-9]{0,8})( of the task)?\)$")


def repaired(config: Config, round: int, failed: Iterable[Candidate]) -> Mapping[int, Candidate]:
    """Return which prompts of a round show which failed child; each child is shown by one prompt at most.

    Args:
        failed: children of the round before, in order of id; those whose outcome is none of `ERRORS` are left out.
    """
    if config.lm.engine == "scripted":  # rules cannot read what was raised
        return {}
    search, prompts = config.search, range(Budget.of(config.search).prompts)
    children = [child for child in failed if child.status in ERRORS and child.round != SEED_ROUND]
    order = generator(search.seed, round, Draw.REPAIRED).permutation(len(children))
    asking = compress(prompts, (_asks(config, round, prompt) for prompt in prompts))
    return {prompt: children[int(place)] for prompt, place in zip(asking, order, strict=False)}


def _asks(config: Config, round: int, prompt: int) -> bool:
    """Say whether a prompt asks for a repair, if there is any left to ask for."""
    chance = float(generator(config.search.seed, round, Draw.REPAIR, prompt).random())
    return chance < config.prompt.repairs and not is_rescaled(config.search, round, prompt)


def repair_prompt(
    failed: Candidate,
    examples: Sequence[Example],
    parents: Sequence[Example],
    task: TaskInterface,
    config: PromptConfig,
) -> str:
    """Return the prompt that asks for a failed child again.

    Args:
        examples: those of which the prompt asks for better metrics, without showing them; `parents` as in
            `prompts.few_shot_prompt`.
    """
    shown = f"{entry.code(failed.source, task)}\n\n{_comment(failed)}\n"
    return f"{config.preamble}{shown}{asked_for(examples, parents, task, config)}"


def _comment(failed: Candidate) -> str:
    """Return what a program raised, and where. Its own words, which may be hostile, stay within a comment of three
    bounded lines of printable characters."""
    error, line = _LINE.sub("", failed.detail), _raising_line(failed)
    said = [f"That fails: {error}", *([f"in the line: {line}"] if line else []), "The same without that error:"]
    return "\n".join(f"# {_printable(text)}" for text in said)


def _raising_line(failed: Candidate) -> str:
    """Return the line of a program that raised; '' where that is not known."""
    number = _LINE.search(failed.detail)
    if number is None or number[2]:
        return ""
    lines = io.StringIO(failed.source, newline=None).readlines()  # splits where Python does, unlike str.splitlines()
    return "".join(lines[int(number[1]) - 1 :][:1]).strip()


def _printable(text: str) -> str:
    """Return text as one bounded line of printable characters."""
    short = " ".join(text[: 4 * _LONGEST].split())
    plain = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."
