"""The config of a search: strict YAML to frozen, documented sections.

An unknown key, a wrong type or a value out of range raises `ConfigError`, which names the file, the key, the
value and the nearest right one. Paths in a config are relative to the config file. The defaults are the paper's
(arXiv 2302.14838, Table 2 and section 4); where the paper contradicts itself or is silent, the field says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from evohpc.config.evaluation import EvaluationConfig, ScreeningConfig
from evohpc.config.lm import LMConfig, TuningConfig
from evohpc.config.prompt import PromptConfig
from evohpc.config.stop import StopConfig
from evohpc.config.strict_yaml import (
    Count,
    CountOrZero,
    Fraction,
    JSONObject,
    NonNegative,
    Positive,
    Section,
    Share,
    dump,
    parse,
    read_mapping,
    validate,
)
from evohpc.config.task_name import TaskName
from evohpc.errors import ConfigError
from evohpc.files import is_utf8

_HOTTEST_IN_VLLM = 2.0
BEFORE_0_2: dict[str, dict[str, object]] = {
    "lm": {"stop": "next_statement"},
    "screening": {"rules": "0.1.0"},
}
"""What evohpc did, by section, before it could be told otherwise."""


def _task_name(name: object) -> TaskName:
    if not isinstance(name, str | TaskName):
        raise ValueError(f"task: input should be a valid string; it is {name!r}")
    return name if isinstance(name, TaskName) else TaskName.parse(name)


class SearchConfig(Section):
    """Algorithms 1-3 of the paper."""

    variant: Literal["evoprompting", "no_tuning", "random_parents", "naive"] = "evoprompting"
    """`evoprompting` is the full method. The others are the paper's baselines (section 4): `no_tuning` leaves out
    the prompt-tuning (Algorithm 1, line 11); `random_parents` draws parents at random instead of by fitness
    (line 10); `naive` samples once from prompts of random seed programs (T = 1, all samples in one round)."""
    rounds: CountOrZero = 10
    """T, rounds of evolution; 0 evaluates the seeds and nothing else."""
    prompts_per_round: Count = 10
    """m, few-shot prompts per round."""
    samples_per_prompt: Count = 16
    """n, completions per prompt. Refused and duplicate completions count (paper, section 4)."""
    examples_per_prompt: Count = 2
    """k, in-context examples per prompt."""
    operator: Literal["paper", "crossover", "mutation", "mixed"] = "paper"
    """What a prompt shows. `paper`: k parents drawn independently with replacement (Algorithm 2), so that a prompt may
    show one parent twice. The others are not in the paper. `crossover`: k different parents, or all if there are fewer.
    `mutation`: one parent, once. `mixed`: either of the two, with equal chances for each prompt."""
    rescale: Fraction = 0
    """Chance of each prompt that no language model answers it: its children are one parent with one or two whole
    numbers changed by a factor of 0.5 to 2 (`evolution.rescaling`). Not in the paper (0): the LM writes structure, a
    rule tunes widths; each such child is evaluated and counted as any other."""
    survivors: Count = 10
    """p, candidates selected as parents of the next round."""
    random_survivors: CountOrZero = 0
    """How many of the p are drawn from the rest of the pool without regard to fitness. Not in the paper (0), where the
    variant `random_parents` draws all of them so."""
    error_threshold: NonNegative = 0.5
    """alpha: a candidate with error >= alpha gets no place in the pool. Table 2 calls it the "lower threshold for
    the test error", Algorithm 1 the "upper threshold"; only the second makes sense beside `c.error < alpha`. The
    paper says "test error" there and "validation error" in its prose; evohpc selects on validation only. The
    paper's errors are shares; those of a task of your own may have any range from 0 up, and so may this."""
    temperatures: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.2, 0.6, 0.8, 1.0)
    """Drawn uniformly and independently for each completion. The paper says "selected uniformly" and not whether
    per sample or per prompt; independent re-implementations draw per sample."""
    seed: CountOrZero = 0
    """Every random choice is a function of this number and of what is chosen; no generator state exists."""
    pool: Literal["all_rounds", "last_round"] = "all_rounds"
    """Where survivors are picked from. Algorithm 1 has `P <- GetTop(G, p)` with G over all rounds; the caption of
    Algorithm 2 says "the top examples from the previous round". Default: Algorithm 1."""
    retire_parents: bool = True
    """Section 3: selected models "are permanently removed from the population and cannot be used again as
    parents". Algorithm 1 itself returns GetTop(G, p) at the end, which would then miss all earlier winners; evohpc
    reports on every candidate, whatever is set here. false: a parent may be selected again."""
    close_at: Share = 1
    """Share of a round's children, those refused unread left out, whose outcome must be known for the round to close
    and the next to be drawn. Not in the paper (1), where a round waits for its last child. Who is late takes part in
    the first selection after its outcome is known, and the last round waits for all."""
    duplicates: Literal["same_program", "same_computation"] = "same_program"
    """Which children are duplicates: they count, and are not trained. `same_program`: those that say what an earlier
    candidate says, up to names of locals, comments and layout. `same_computation`, not in the paper: also those that
    differ from one in layers without weights that nothing uses, and would be trained to the same weights. Known as
    functional equivalence caching (Gillard et al. 2023, arXiv 2302.05433). `lm.retry_copies` goes by it, too. Of a 0.5B
    model's 200 trained children it leaves out 25, with the results of earlier ones (docs/results/duplicates.md)."""
    seeds_in_pool: bool = False
    """Algorithm 1 has G <- [], and the seeds in P only: parents of round 0 and never again. true: they enter G, too."""
    stop: StopConfig = StopConfig()
    """Budgets that end a search early; config/stop.py has their keys."""
    tuning_data: Literal["unselected", "all_evaluated"] = "unselected"
    """What the soft prompt is tuned on. Algorithm 1, line 11: `C_EVALED \\ P`, this round's scored children that
    were not selected; the caption of figure 1: "all evaluated individuals are used". Default: Algorithm 1."""


class Config(Section):
    """A whole search."""

    task: Annotated[TaskName, PlainValidator(_task_name), PlainSerializer(str)] = TaskName("mnist1d")
    """A built-in task, or 'path/to/file.py:ClassName'."""
    task_options: JSONObject = {}
    """Keyword arguments of the task's class, e.g. {steps: 2000}. Text that begins with './', '../' or '~' is a path,
    seen from the config file, and so is text that has a '/' or a '.', if there is such a file or folder."""
    seeds: Path
    """Folder of seed programs, *.py."""
    search: SearchConfig = SearchConfig()
    prompt: PromptConfig = PromptConfig()
    lm: LMConfig = LMConfig()
    tuning: TuningConfig = TuningConfig()
    screening: ScreeningConfig = ScreeningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Other programs that are told of each round as it closes. `tensorboard`: event files in RUN/tensorboard; `wandb`:
    an offline run of Weights & Biases in RUN/wandb (extras of these names). May change while a search goes on; a
    tracker that fails is a warning, and the search goes on."""

    @model_validator(mode="after")
    def _not_more_are_drawn_than_survive(self) -> Config:
        search = self.search
        if search.random_survivors > search.survivors:
            raise ValueError(
                f"search.random_survivors is {search.random_survivors}, more than search.survivors: {search.survivors}"
            )
        return self

    @model_validator(mode="after")
    def _lm_has_a_folder(self) -> Config:
        if self.lm.needs_a_model and self.lm.path is None:
            raise ValueError(
                "lm.path is missing: the folder of a Hugging Face causal LM; "
                "`evohpc fetch-lm models/qwen2.5-coder-0.5b-instruct` makes one"
            )
        return self

    @model_validator(mode="after")
    def _a_rung_is_judged_whole(self) -> Config:
        for key in ("rungs", "repeats"):
            if getattr(self.evaluation, key) and self.search.stop.evaluations is not None:
                raise ValueError(
                    f"search.stop.evaluations would cut evaluation.{key} short; take search.stop.compute_hours"
                )
        return self

    @model_validator(mode="after")
    def _who_is_late_finds_a_pool(self) -> Config:
        search = self.search
        if search.close_at == 1:
            return self
        reasons = {
            "search.variant: naive": search.variant == "naive" and "whose only round waits for all of its children",
            "search.pool: last_round": search.pool == "last_round" and "in which a later round selects no late child",
            "evaluation.rungs": self.evaluation.rungs and "which are decided when all children were trained at one",
        }
        for key, reason in reasons.items():
            if reason:
                raise ValueError(f"search.close_at does not go with {key}, {reason}: leave one of them away")
        return self

    @model_validator(mode="after")
    def _vllm_can_do_all(self) -> Config:
        if self.lm.engine != "vllm":
            return self
        if self.tuning.method != "soft_prompt":
            raise ValueError(
                f"tuning.method is {self.tuning.method}, with which lm.engine vllm does not generate: "
                "take soft_prompt, or lm.engine deepspeed"
            )
        if (highest := max(self.search.temperatures)) > _HOTTEST_IN_VLLM:
            raise ValueError(
                f"search.temperatures has {highest:g}; lm.engine vllm draws at {_HOTTEST_IN_VLLM:g} at most"
            )
        return self

    @model_validator(mode="after")
    def _a_lora_has_the_whole_model(self) -> Config:
        if self.tuning.method == "lora" and self.lm.tensor_parallel:
            raise ValueError(
                "tuning.method is lora, which needs the whole model in each process, and lm.tensor_parallel is true: "
                "take tuning.method soft_prompt, or switch lm.tensor_parallel off"
            )
        return self

    def dump(self) -> str:
        """Return the resolved config as YAML; `load_config` reads it back to an equal value."""
        return dump(self.model_dump(mode="json"))


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a config file, apply `section.key=value` overrides, and make its paths absolute.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or holds an unknown key or a bad value.
    """
    return _load(Path(path), read_mapping(Path(path), "a config"), overrides)


def load_resolved(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the resolved config of a run, as `load_config` does. What it does not say did not exist when the run was
    made, and was done as evohpc did it: a search must not change half way."""
    document = read_mapping(path, "a config")
    for section, settings in BEFORE_0_2.items():
        if isinstance(said := document.setdefault(section, {}), dict):
            document[section] = {**settings, **said}
    return _load(path, document, overrides)


def _load(path: Path, document: dict[str, Any], overrides: Sequence[str]) -> Config:
    for override in overrides:
        _apply_override(document, override)
    where = " ".join([str(path), *(f"--set {override}" for override in overrides)])
    return _resolve_paths(validate(Config, document, where), path.parent)


def _apply_override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write it as section.key=value, e.g. --set search.rounds=3")
    *sections, name = key.split(".")
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section} is a value, not a section")
    try:
        target[name] = parse(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value is not valid YAML") from None


def _resolve_paths(config: Config, base: Path) -> Config:
    """Make the config's relative paths absolute, seen from the config file's folder."""

    def absolute(path: Path) -> Path:
        found = (base / os.path.expandvars(os.path.expanduser(path))).resolve()
        if not is_utf8(found):
            raise ConfigError(f"the name {str(found)!r} is no UTF-8 text; rename it, or move the config elsewhere")
        return found

    files = {"path": config.lm.path, "deepspeed": config.lm.deepspeed}
    lm = config.lm.model_copy(update={key: path and absolute(path) for key, path in files.items()})
    task = config.task if config.task.file is None else config.task.moved(absolute(config.task.file))
    options = _with_paths(config.task_options, base)
    return config.model_copy(update={"seeds": absolute(config.seeds), "lm": lm, "task": task, "task_options": options})


def _with_paths(option: Any, base: Path) -> Any:
    """Return an option of the task with its paths made absolute; of a list or a mapping, all in it."""
    if isinstance(option, dict):
        return {key: _with_paths(value, base) for key, value in option.items()}
    if isinstance(option, list):
        return [_with_paths(value, base) for value in option]
    if not isinstance(option, str) or "\0" in option:
        return option
    path = (base / os.path.expanduser(option)).resolve()
    is_named = option.startswith(("./", "../", "~"))
    is_there = ("/" in option or "." in option) and len(option) < 4096 and path.exists()
    return str(path) if is_named or is_there else option
