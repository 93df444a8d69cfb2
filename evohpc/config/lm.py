"""The sections `lm` and `tuning` of a config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evohpc.config.strict_yaml import Count, CountOrZero, JSONObject, Positive, Section, Share, not_in_json
from evohpc.errors import ConfigError
from evohpc.files import read_json
from evohpc.messages import Sampling

_LARGEST_LORA_RATE = 0.01

SET_BY_EVOHPC = {
    "async_scheduling": "",
    "disable_log_stats": "",
    "dtype": "lm.dtype",
    "enable_prompt_embeds": "",
    "generation_config": "",
    "max_model_len": "",
    "max_num_seqs": "lm.batch_size",
    "model": "lm.path",
    "seed": "search.seed",
    "skip_tokenizer_init": "",
    "speculative_config": "",
    "tensor_parallel_size": "lm.processes of the site profile",
}
"""Arguments of vLLM's engine that `lm.vllm` must leave alone, and what to set instead."""


class LMConfig(Section):
    """The language model and how completions are drawn. The paper used a 62B PaLM; it states no top-k, top-p,
    stop rule or token limit."""

    engine: Literal["deepspeed", "vllm", "scripted"] = "deepspeed"
    """`deepspeed` runs a Hugging Face causal LM; `vllm` tunes as that does and then draws with vLLM, which was tried on
    a CPU only (docs/cluster.md); `scripted` mutates the parents' source by fixed rules, without any model: for
    rehearsals and tests, not for science."""
    path: Path | None = None
    """Folder of a Hugging Face causal LM (config.json, *.safetensors, tokenizer). Nothing is downloaded at run
    time; `evohpc fetch-lm` makes one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the frozen weights."""
    threads: CountOrZero = 0
    """Torch threads of the LM job on a CPU; 0 leaves torch's own choice."""
    batch_size: Count = 16
    """Rows decoded together."""
    max_new_tokens: Count = 512
    """Longest completion; longer ones are cut and then usually refused."""
    top_k: CountOrZero = 0
    """Sample from the k likeliest tokens only; 0 (paper: not stated) switches it off."""
    top_p: Share = 1.0
    """Sample from the smallest set of tokens with this total probability; 1 switches it off."""
    speculation: CountOrZero = 0
    """At most so many tokens of a completion are guessed ahead, from its prompt, where the batch has empty places. Each
    token is still drawn by its own noise: on a CPU completions are the same with and without, elsewhere up to the
    rounding of another shape of batch. 0 (off): no gain was measured on a CPU; try 7 on a GPU."""
    retry_unparsable: bool = False
    """Draw a completion that is no Python once more, from the same prompt at the same temperature. The paper draws
    each once. The second counts in its place as one child, with the tokens of both."""
    stop: Literal["next_statement", "whole_class"] = "whole_class"
    """Where a completion ends; the paper states no rule. `next_statement`: before the first line at column 0, which the
    next program's docstring is. `whole_class`: also before a fence or a docstring behind a class that is whole (Python
    that ends in a return), wherever on a line it is; and what follows a whole class and makes it no Python is cut."""
    retry_copies: CountOrZero = 0
    """Draw a completion that repeats a program of its prompt again, at most so many times, from the same prompt at the
    same temperature. The paper draws each once. The last counts in its place as one child, with the tokens of all."""
    overlap: Literal["auto", "always", "never"] = "auto"
    """Whether children are evaluated while others of their round are still drawn. The search is the same, to the last
    row; a round takes as long as the longer of the two, not as long as both. `auto`: with a site profile, where the
    candidates have machines of their own; on a single machine both would want the same cores. `always` is for one that
    has a GPU for the language model."""
    tensor_parallel: bool = False
    """For a model larger than one GPU: all processes of the LM job hold it together, each a slice of every matrix, and
    draw and tune as one. Off, each holds all of it and draws a share of the completions: faster, where it fits. Not
    with ZeRO-3, nor with `tuning.method: lora`. On a CPU, a completion then depends on its batch up to rounding."""
    deepspeed: Path | None = None
    """DeepSpeed JSON for prompt-tuning; null uses ZeRO-0 with the optimizer of `tuning`."""
    vllm: JSONObject = {}
    """Further arguments of vLLM's engine, e.g. {gpu_memory_utilization: 0.8}."""

    @property
    def sampling(self) -> Sampling:
        """How completions are drawn, as a request says it, as far as this section does."""
        own = type(self).model_fields
        return Sampling(**{field.name: getattr(self, field.name) for field in fields(Sampling) if field.name in own})

    @property
    def needs_a_model(self) -> bool:
        """Say whether an LM job runs, with a model."""
        return self.engine != "scripted"

    @model_validator(mode="after")
    def _engine_knows_its_options(self) -> LMConfig:
        if self.vllm and self.engine != "vllm":
            raise ValueError(f"lm.vllm is for lm.engine vllm; that is {self.engine}")
        if self.speculation and self.engine == "vllm":
            raise ValueError(f"lm.speculation is {self.speculation}, which lm.engine vllm does not do: take 0")
        for name in sorted(self.vllm.keys() & SET_BY_EVOHPC.keys()):
            advice = f"; set {SET_BY_EVOHPC[name]} instead" if SET_BY_EVOHPC[name] else ""
            raise ValueError(f"lm.vllm has {name}, which evohpc sets itself{advice}")
        return self


class TuningConfig(Section):
    """Prompt-tuning between rounds (Lester et al. 2021; paper, Table 2). The paper does not state optimizer,
    schedule, initialisation or example format; evohpc uses Adam at a constant rate, initialises from sampled
    vocabulary, continues from the last round's prompt, and puts the loss on the child's code only, under its own
    measured metrics."""

    method: Literal["soft_prompt", "lora"] = "soft_prompt"
    """What is tuned. `soft_prompt`, as in the paper: virtual tokens in front of every prompt. `lora` (Hu et al.
    2021): an update of low rank to every linear layer but the last; needs the whole model in each process."""
    lora_rank: Count = 8
    """Rank of each update of a LoRA."""
    lora_alpha: Positive = 16
    """An update counts alpha / rank times."""
    virtual_tokens: Count = 16
    """Length of the soft prompt."""
    epochs: Count = 5
    """Times that each round's examples are gone through."""
    batch_size: Count = 16
    """Examples of one optimizer step."""
    learning_rate: Positive = 0.1
    """Of every step; the paper has 0.1. With a 0.5B model 0.003 disturbs less in the first rounds and does worse after
    many; at neither more children train than without tuning, as far as was measured (docs/results/tuning.md). A soft
    prompt's 0.1 is far too large for a LoRA, which wants about 0.0002."""
    restart: bool = False
    """Algorithm 1's theta_{t+1} <- Train(theta_t, ...) continues from the last prompt; true restarts each round."""
    max_examples: Count | None = None
    """At most this many examples a round, the fittest first; null (paper) takes all."""
    fitness_weight: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0
    """How much more the fitter examples count: each token of the fittest weighs 1 + this in the loss, of the least fit
    1 - this, of those between by their rank. The paper weighs all alike (0)."""

    @model_validator(mode="after")
    def _rate_suits_the_method(self) -> TuningConfig:
        if self.method == "lora" and self.learning_rate > _LARGEST_LORA_RATE:
            raise ValueError(
                f"tuning.learning_rate is {self.learning_rate:g}, at which a LoRA destroys the model; at most "
                f"{_LARGEST_LORA_RATE:g} is accepted with tuning.method lora, 0.0002 is usual"
            )
        return self


_SIZES = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


def read_deepspeed_config(path: Path | None) -> dict[str, object]:
    """Return the settings in the file that `lm.deepspeed` names; none if it is null.

    Raises:
        ConfigError: the file cannot be read, is no JSON object, or leaves values to a Trainer.
    """
    if path is None:
        return {}
    try:
        settings = read_json(path)
    except OSError as error:
        raise ConfigError(f"lm.deepspeed: {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"lm.deepspeed: {path}: not valid JSON: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"lm.deepspeed: {path}: holds {type(settings).__name__}; DeepSpeed's settings are an object")
    if next(not_in_json(settings), ""):  # Python reads such JSON, and no request can hold it
        raise ConfigError(
            f"lm.deepspeed: {path}: holds NaN or Infinity, which are no JSON; write a number, or leave the key out"
        )
    if key := next(_left_to_a_trainer(settings), ""):
        raise ConfigError(
            f'lm.deepspeed: {path}: {key} is "auto", which only the Trainer of transformers fills in; '
            "write a value, or leave it out"
        )
    return settings


def _left_to_a_trainer(settings: dict[str, Any], under: str = "") -> Iterator[str]:
    """Yield the keys whose value is "auto", but for sizes of batches, which evohpc sets itself."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _left_to_a_trainer(value, f"{under}{name}.")
        elif value == "auto" and name not in _SIZES:
            yield under + name


def is_partitioning(deepspeed_config: dict[str, object]) -> bool:
    """Say whether a DeepSpeed configuration divides the weights among the ranks (ZeRO-3)."""
    zero = deepspeed_config.get("zero_optimization")
    return isinstance(zero, dict) and zero.get("stage") == 3
