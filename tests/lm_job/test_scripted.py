import ast
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import MNIST1D_SEEDS
from support.requests import PROGRAM, PROMPT, ask, prompts, request, write

from evohpc.config.evaluation import ScreeningConfig
from evohpc.config.prompt import PromptConfig
from evohpc.evolution.code_hash import code_hash
from evohpc.evolution.prompts import Example, candidate_source, few_shot_prompt
from evohpc.evolution.screening import screen
from evohpc.lm import completions_file
from evohpc.lm_job.base import progress
from evohpc.lm_job.scripted import ScriptedLMJob, mutate
from evohpc.messages import Status, TaskInterface
from evohpc.run_folder import RoundDir, read_request

SEEDS = sorted(MNIST1D_SEEDS.glob("*.py"))
PRELUDE = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
TASK = TaskInterface("t", "Model", "class Model(nn.Module):", PRELUDE, ("torch",), "acc")
PARENTS = [Example(path.stem, path.read_text(), 5000, 0.9) for path in SEEDS]


def prompt(*parents: Example) -> str:
    return few_shot_prompt(parents, PARENTS, TASK, PromptConfig())


@pytest.mark.slow
def test_children_of_the_seeds_are_copies_mutants_and_a_few_broken_ones() -> None:
    verdicts = []
    for one in PARENTS:
        for other in PARENTS:
            children = [candidate_source(mutate(prompt(one, other), seed), TASK) for seed in range(40)]
            verdicts += [screen(child, TASK, ScreeningConfig()) for child in children]
    known = {code_hash(ast.parse(parent.source), parent.source) for parent in PARENTS}
    outcomes = Counter("copy" if v.code_hash in known else v.status for v in verdicts)
    # Of 640, a tenth is copied and a tenth is broken by the rules; dropped lines break some more.
    assert outcomes[Status.PENDING] > 320
    assert 30 < outcomes["copy"] < 200
    assert 30 < outcomes[Status.SYNTAX] < 200
    assert len({v.code_hash for v in verdicts}) > 60


def test_a_child_is_a_function_of_its_prompt_and_seed() -> None:
    text = prompt(PARENTS[0], PARENTS[1])
    assert [mutate(text, seed) for seed in range(20)] == [mutate(text, seed) for seed in range(20)]


def test_both_parents_have_children_and_the_metrics_none() -> None:
    text = prompt(PARENTS[0], PARENTS[3])
    children = [mutate(text, seed) for seed in range(60)]
    bodies = [parent.source.partition(f"{TASK.header}\n")[2].rstrip() + "\n" for parent in (PARENTS[0], PARENTS[3])]
    assert all(body in children for body in bodies)
    assert not any("num_params" in child for child in children)


@given(st.text(), st.integers(0, 2**63 - 1))
def test_any_prompt_has_a_child(text: str, seed: int) -> None:
    assert isinstance(mutate(text, seed), str)
    assert isinstance(mutate(f"{text}\nclass Model(nn.Module):\n{text}\nclass Model(nn.Module):\n", seed), str)


@pytest.fixture
def folder(tmp_path: Path) -> RoundDir:
    texts = [prompt(PARENTS[i], PARENTS[i + 1]) for i in range(2)]
    return write(tmp_path, request(prompts=prompts(texts, samples=4, temperature=1.0)))


def test_an_incomplete_answer_is_given_again_and_a_complete_one_kept(folder: RoundDir) -> None:
    job, completions = ScriptedLMJob(), folder.completions
    job.start(folder)
    assert job.poll()
    assert progress(folder) == (8, 8)
    whole = completions.read_bytes()
    completions.write_bytes(whole[: len(whole) // 2])
    job.start(folder)
    assert completions.read_bytes() == whole
    ScriptedLMJob(texts=["other"]).start(folder)
    assert completions.read_bytes() == whole


def test_given_texts_are_used_in_turn(folder: RoundDir) -> None:
    ScriptedLMJob(texts=["a", "b", "c"]).start(folder)
    found = completions_file.read_complete(folder.completions, read_request(folder))
    assert [completion.text for completion in found] == list("abcabcab")


def test_only_a_rule_draws_no_token(folder: RoundDir) -> None:
    ScriptedLMJob(texts=["", "two words"]).start(folder)
    found = completions_file.read_complete(folder.completions, read_request(folder))
    assert [completion.tokens for completion in found] == [1, 2] * 4


def test_scripted_children_are_mutants_copies_and_broken_programs() -> None:
    children = [mutate(PROMPT, seed) for seed in range(200)]
    body = PROGRAM.partition("\n")[2]
    assert children == [mutate(PROMPT, seed) for seed in range(200)]
    assert len(set(children)) > 10
    assert 5 <= children.count(body) <= 50
    assert 5 <= sum(child.endswith("(") for child in children) <= 50
    assert sum("LazyLinear(" in child and child != body for child in children) > 60


def test_scripted_texts_are_used_in_turn(tmp_path: Path, tiny_model: Path) -> None:
    round = ask(tmp_path, tiny_model)
    ScriptedLMJob(texts=["    a\n", "    b\n"]).start(round)
    found = completions_file.read_complete(round.completions, read_request(round))
    assert [c.text.strip() for c in found] == ["a", "b"] * 3
