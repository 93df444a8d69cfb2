"""The section `prompt` of a config: the text that the language model sees."""

from __future__ import annotations

from typing import Literal

from evohpc.config.strict_yaml import Count, Fraction, Positive, Section


class PromptConfig(Section):
    """The text that the LM sees (paper, section 3 and Listing 1)."""

    preamble: str = ""
    """Put before the first example. The paper shows none; instruction-tuned models may want one."""
    size_factor: Positive = 0.9
    """Target size: this times the size of the smallest parent, rounded as `size_rounding` says."""
    size_factors: tuple[Positive, ...] = ()
    """Not in the paper: one is drawn for each prompt instead of `size_factor`; [0.9, 0.5] asks for large steps, too."""
    half_programs: Fraction = 0
    """Chance of each prompt that it ends in the first lines of the child, which are those of a parent that it shows, up
    to a statement drawn at random; the LM writes the rest. Not in the paper (0), nor for the scripted engine."""
    repairs: Fraction = 0
    """Chance of each prompt that it shows a child of the round before that raised when it was built or on its first
    batch, with what it raised, and asks for the same program without that error; each such child is shown once at most.
    Known as self-repair (Olausson et al. 2023, arXiv 2306.09896). Not in the paper (0), nor for the scripted engine. A
    model of 0.5B parameters wrote fewer trained children with it (docs/results/repairs.md)."""
    size_rounding: Count | None = None
    """Sizes in prompts are rounded to this many parameters (paper: 100). null: to 100 from 1,000 parameters on, to 10
    from 100 on, and not at all below, so that a target is smaller than its parents for networks of any size."""
    metric_factor: Positive = 1.02
    """Target metric: this times the best parent's, rounded to the nearest tenth of a percent. The paper mentions
    no cap at 1; see `metric_cap`. A metric below 0 is to rise by the same share: 1.02 asks for -0.49 after -0.5. Below
    1, lower is better: 0.98 is for a metric that is an error."""
    metric_cap: Positive | None = None
    """Largest target metric; null: no limit, as in the paper."""
    targets_from: Literal["prompt_parents", "all_parents"] = "prompt_parents"
    """Whose size and metric the targets are computed from. "The parent models" may be the k in the prompt (the
    natural reading, default) or all of P."""
