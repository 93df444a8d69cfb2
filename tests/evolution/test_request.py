from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.rows import candidate

from evohpc.config.lm import LMConfig, TuningConfig
from evohpc.config.prompt import PromptConfig
from evohpc.config.search import Config, SearchConfig
from evohpc.envelopes import decode, encode
from evohpc.evolution.prompts import Example, completion_target, draw_examples, few_shot_prompt
from evohpc.evolution.repairs import repair_prompt
from evohpc.evolution.request import request, samples
from evohpc.messages import Candidate, LMRequest, LowRank, Sampling, Status, TaskInterface, Tuning

TASK = TaskInterface("t", "Model", "class Model(nn.Module):", "import torch.nn as nn\n", ("torch",), "acc")


def example(name: str, size: int) -> Example:
    source = f"class Model(nn.Module):\n    def forward(self, x):\n        return x + {size}\n"
    return Example(name, source, size, 0.5)


PARENTS = [example("a", 1000), example("b", 2000), example("c", 3000)]
EXAMPLES = [example("d", 100), example("e", 200)]


def config(tuning: TuningConfig | None = None, **search: Any) -> Config:
    lm = LMConfig(path=Path("/lm"), dtype="bfloat16", threads=3, batch_size=5, max_new_tokens=99, top_k=7, top_p=0.5)
    return Config(seeds=Path("s"), lm=lm, search=SearchConfig(**search), tuning=tuning or TuningConfig())


def ask(
    config: Config,
    round: int = 2,
    tuning_examples: list[Example] = EXAMPLES,
    adapter: str | None = "rounds/001/adapter",
    parents: list[Example] = PARENTS,
    failed: Sequence[Candidate] = (),
) -> LMRequest:
    return request(
        config,
        TASK,
        run_id="r",
        round=round,
        parents=parents,
        failed=failed,
        tuning_examples=tuning_examples,
        adapter=adapter,
        deepspeed_config={"zero_optimization": {"stage": 2}},
    )


def tuning_of(config: Config, **how: Any) -> Tuning:
    tuning = ask(config, **how).tuning
    assert tuning is not None
    return tuning


def test_the_prompts_show_drawn_parents_and_name_them() -> None:
    asked = ask(config(prompts_per_round=4, samples_per_prompt=3, seed=5))
    assert [prompt.index for prompt in asked.prompts] == [0, 1, 2, 3]
    by_id = {parent.candidate_id: parent for parent in PARENTS}
    for prompt in asked.prompts:
        shown = [by_id[name] for name in prompt.parents]
        assert len(shown) == 2
        assert prompt.text == few_shot_prompt(shown, PARENTS, TASK, config().prompt)
        assert prompt.samples == samples(config(seed=5).search, 2, prompt.index, 3)
    assert len({prompt.parents for prompt in asked.prompts}) > 1


def test_a_half_program_ends_the_prompt_and_is_given_to_its_children() -> None:
    sources = [replace(parent, source=parent.source.replace("    def", "    x = 1\n\n    def")) for parent in PARENTS]
    some = config(prompts_per_round=40).model_copy(update={"prompt": PromptConfig(half_programs=0.5)})
    plain, begun = ask(config(prompts_per_round=40), parents=sources), ask(some, parents=sources)
    assert {prompt.given for prompt in plain.prompts} == {""}
    assert {prompt.given for prompt in begun.prompts} == {
        "",
        "    x = 1\n\n",
        "    x = 1\n\n    def forward(self, x):\n",
    }
    for prompt, other in zip(begun.prompts, plain.prompts, strict=True):
        assert prompt.text == other.text + prompt.given
        assert prompt.samples == other.samples
    assert decode(encode(begun), LMRequest) == begun


def test_some_prompts_show_a_failed_child_in_place_of_their_parents_and_the_others_stay_as_they_are() -> None:
    """Nor does a repair begin with lines of a parent, whose children it would be else."""
    half = config(prompts_per_round=40).model_copy(update={"prompt": PromptConfig(half_programs=1)})
    some = half.model_copy(update={"prompt": PromptConfig(half_programs=1, repairs=0.5)})
    raised = [
        candidate(f"f{number}", status=Status.SHAPE_ERROR, source=PARENTS[0].source, detail="E: no")
        for number in range(40)
    ]
    plain, repairing = ask(half).prompts, ask(some, failed=raised).prompts
    repairs = [prompt for prompt in repairing if prompt.parents[0].startswith("f")]
    assert 10 < len(repairs) < 30
    assert len({prompt.parents for prompt in repairs}) == len(repairs)
    for prompt, other in zip(repairing, plain, strict=True):
        if prompt in repairs:
            child = next(child for child in raised if (child.id,) == prompt.parents)
            shown = draw_examples(PARENTS, some.search, 2, prompt.index)
            assert prompt.text == repair_prompt(child, shown, PARENTS, TASK, some.prompt)
            assert (prompt.samples, prompt.given) == (other.samples, "")
        else:
            assert prompt == other


@pytest.mark.parametrize("ruled", [{"lm": LMConfig(engine="scripted")}, {"search": SearchConfig(rescale=1)}])
def test_what_rules_make_is_made_of_whole_programs(ruled: dict[str, Any]) -> None:
    asked = ask(config().model_copy(update={"prompt": PromptConfig(half_programs=1), **ruled}))
    assert {prompt.given for prompt in asked.prompts} == {""}


def test_the_lms_settings_are_passed_on() -> None:
    asked = ask(config())
    assert (asked.run_id, asked.round, asked.model_path, asked.dtype, asked.threads) == ("r", 2, "/lm", "bfloat16", 3)
    assert asked.sampling == Sampling(5, 99, top_k=7, top_p=0.5, stop="whole_class")
    assert asked.deepspeed_config == {"zero_optimization": {"stage": 2}}


def test_the_tuning_continues_from_the_last_soft_prompt() -> None:
    tuning = tuning_of(config(TuningConfig(virtual_tokens=4, epochs=3, batch_size=2, learning_rate=0.3)))
    assert (tuning.virtual_tokens, tuning.epochs, tuning.batch_size, tuning.learning_rate) == (4, 3, 2, 0.3)
    assert (tuning.start_from, tuning.lora) == ("rounds/001/adapter", None)
    assert [(e.candidate_id, e.prompt, e.completion) for e in tuning.examples] == [
        (e.candidate_id, *completion_target(e, TASK, config().prompt)) for e in EXAMPLES
    ]


def test_the_tuning_can_start_afresh_each_round() -> None:
    assert tuning_of(config(TuningConfig(restart=True))).start_from is None


def test_only_the_fittest_examples_are_taken() -> None:
    assert [e.candidate_id for e in tuning_of(config(TuningConfig(max_examples=1))).examples] == ["d"]


@pytest.mark.parametrize(
    "changes", [{"retry_unparsable": True, "speculation": 3}, {"stop": "next_statement", "retry_copies": 2}, {}]
)
def test_what_the_config_says_of_attempts_and_guesses_is_asked_for(changes: dict[str, Any]) -> None:
    lm = config().lm.model_copy(update=changes)
    asked = ask(config().model_copy(update={"lm": lm}))
    assert asked.sampling == replace(ask(config()).sampling, **changes)


def test_what_counts_as_a_copy_is_what_counts_as_a_duplicate() -> None:
    assert ask(config()).sampling.duplicates == "same_program"
    asked = ask(config(duplicates="same_computation")).sampling
    assert asked == replace(ask(config()).sampling, duplicates="same_computation")


def test_the_fitter_weigh_more_if_that_is_asked_for() -> None:
    scored = [example(name, 100) for name in "abc"]
    weights = {
        spread: [
            e.weight for e in tuning_of(config(TuningConfig(fitness_weight=spread)), tuning_examples=scored).examples
        ]
        for spread in (0, 0.5)
    }
    assert weights == {0: [1, 1, 1], 0.5: [1.5, 1, 0.5]}
    lonely = tuning_of(config(TuningConfig(fitness_weight=0.5, max_examples=1)), tuning_examples=scored).examples
    assert [e.weight for e in lonely] == [1]


@pytest.mark.parametrize("variant", ["no_tuning", "naive"])
def test_some_variants_tune_nothing(variant: str) -> None:
    assert ask(config(variant=variant)).tuning is None
    assert ask(config(variant="random_parents")).tuning is not None


def test_a_lora_is_asked_for_in_its_shape() -> None:
    lora = TuningConfig(method="lora", lora_rank=4, lora_alpha=8, learning_rate=1e-3)
    assert tuning_of(config(lora)).lora == LowRank(4, 8)


def test_a_round_without_examples_goes_on_with_the_last_soft_prompt() -> None:
    asked = ask(config(), tuning_examples=[])
    assert (asked.tuning, asked.adapter) == (None, "rounds/001/adapter")


def test_the_same_question_is_the_same_bytes_and_comes_back_from_disk() -> None:
    text = encode(ask(config()))
    assert text == encode(ask(config()))
    assert decode(text, LMRequest) == ask(config())
    assert text != encode(ask(config(), round=3))
