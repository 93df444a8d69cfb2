from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.driving import CONFIG, Driving, InstantRunner, Tables, drive, make_run, measure, tables
from support.killing import Killed, declare_dead, mortal
from support.paths import GOLDEN, ROOT
from support.rows import candidate

from evohpc.config.lm import LMConfig
from evohpc.config.prompt import PromptConfig
from evohpc.config.search import Config, SearchConfig
from evohpc.evolution.prompts import Example
from evohpc.evolution.repairs import ERRORS, repair_prompt, repaired
from evohpc.lm.programs import repeats, shown_bodies
from evohpc.messages import SEED_ROUND, Attempt, Candidate, Result, Status, TaskInterface
from evohpc.run_folder import RunDir, read_request
from evohpc.search.rebuild import rebuild
from evohpc.store.store import Store

pytestmark = pytest.mark.usefixtures("unsynced")

TASK = TaskInterface("t", "Model", "class Model(nn.Module):", "import torch.nn as nn\n", ("torch",), "val_accuracy")
BODY = """\
    def __init__(self, hidden=8):
        super().__init__()
        self.dense = nn.LazyLinear(hidden)
        self.out = nn.Linear(40, 10)

    def forward(self, x):
        return self.out(self.dense(x))
"""
SOURCE = f"{TASK.prelude}\n\n{TASK.header}\n{BODY}"
DETAIL = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (128x8 and 40x10) (line 11)"
PARENTS = [Example("seed-a", SOURCE, 1500, 0.6), Example("seed-b", SOURCE, 5210, 0.902)]


def failed(name: str = "r000p00s000", **changes: Any) -> Candidate:
    return candidate(name, **{"status": Status.SHAPE_ERROR, "source": SOURCE, "detail": DETAIL, **changes})


def config(repairs: float = 1, lm: LMConfig | None = None, **search: Any) -> Config:
    settings = {"prompts_per_round": 400, "seed": 3, **search}
    prompt = PromptConfig(repairs=repairs)
    return Config(seeds=Path("s"), lm=lm or LMConfig(path=Path("/lm")), search=SearchConfig(**settings), prompt=prompt)


def shown(config: Config, children: Sequence[Candidate], round: int = 1) -> dict[int, str]:
    return {prompt: child.id for prompt, child in repaired(config, round, children).items()}


def prompt(child: Candidate, **how: Any) -> str:
    return repair_prompt(child, PARENTS, PARENTS, TASK, PromptConfig(size_rounding=100, **how))


def comment(child: Candidate) -> list[str]:
    return [line for line in prompt(child).split("\n") if line.startswith("#")]


MANY = [failed(f"r000p{number:02d}s000") for number in range(1000)]


def test_a_prompt_that_asks_for_a_repair() -> None:
    assert prompt(failed()) == (GOLDEN / "prompt_repair.txt").read_text()


def test_the_docs_show_it() -> None:
    assert f"```python\n{prompt(failed())}```" in (ROOT / "docs" / "algorithm.md").read_text()


def test_the_preamble_comes_first() -> None:
    assert prompt(failed(), preamble="# Small.\n") == "# Small.\n" + prompt(failed())


def test_an_error_outside_of_the_program_has_no_line() -> None:
    for where in ("", " (line 3 of the task)", " (line 99)", " (line 999999999)"):
        said = comment(failed(detail=f"ValueError: the output has shape (1,){where}"))
        assert said == ["# That fails: ValueError: the output has shape (1,)", "# The same without that error:"]


@pytest.mark.parametrize("newline", ["\r", "\r\n", "\n"])
def test_lines_are_those_that_python_sees(newline: str) -> None:
    source = SOURCE.replace("import", "# form \x0c feeds \x85 \u2028\nimport", 1).replace("\n", newline)
    assert "# in the line: self.out = nn.Linear(40, 10)" in prompt(failed(source=source, detail="E: no (line 9)"))


def test_each_failed_child_is_shown_once_and_then_prompts_are_as_ever() -> None:
    asked = shown(config(), MANY[:30])
    assert list(asked) == list(range(30))
    assert sorted(asked.values()) == [child.id for child in MANY[:30]]
    assert list(asked.values()) != sorted(asked.values())  # drawn: no prompt's children come before another's


def test_the_chance_is_the_configs_and_no_other_draw_depends_on_it() -> None:
    assert shown(config(0), MANY) == {}
    few, some, all_of_them = (shown(config(chance), MANY) for chance in (0.25, 0.5, 1))
    assert 70 < len(few) < 130
    assert few.keys() < some.keys() < all_of_them.keys() == set(range(400))
    assert list(few.values()) == list(all_of_them.values())[: len(few)]


def test_the_draw_is_the_searchs_and_the_rounds() -> None:
    assert shown(config(0.5), MANY) == shown(config(0.5), MANY)
    for other in (shown(config(0.5), MANY, round=2), shown(config(0.5, seed=4), MANY)):
        assert other.keys() != shown(config(0.5), MANY).keys()
        assert list(other.values()) != list(shown(config(0.5), MANY).values())[: len(other)]


@pytest.mark.parametrize("status", [status for status in Status if status not in ERRORS])
def test_what_is_no_error_of_the_programs_is_not_shown(status: Status) -> None:
    others = [replace(child, status=status) for child in MANY[1:]]
    assert set(shown(config(), [MANY[0], *others]).values()) == {MANY[0].id}


def test_a_seed_that_failed_is_its_authors_to_mend() -> None:
    assert shown(config(), [failed("seed-a", round=SEED_ROUND)], round=0) == {}


def test_what_rules_answer_shows_no_failed_child_and_takes_none_away() -> None:
    assert shown(config(lm=LMConfig(engine="scripted")), MANY) == {}
    assert shown(config(rescale=1), MANY) == {}
    ruled = shown(config(rescale=0.5), MANY)
    assert 150 < len(ruled) < 250
    assert list(ruled.values()) == list(shown(config(), MANY).values())[: len(ruled)]


def test_a_failed_program_that_is_written_again_is_a_copy() -> None:
    assert shown_bodies(prompt(failed())) == [BODY]
    assert repeats(prompt(failed()), BODY.replace("hidden", "width"))
    assert not repeats(prompt(failed()), BODY.replace("40", "8"))


@given(st.text(), st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=900))
def test_no_words_of_a_program_leave_their_comment(error: str, words: str) -> None:
    source = SOURCE.replace("return self", f"pass  # {words}\n        return self")
    said = comment(failed(source=source, detail=f"E: {error} (line 11)"))
    assert [line.split(":")[0] for line in said] == ["# That fails", "# in the line", "# The same without that error"]
    assert all(line.isprintable() and len(line) < 300 for line in said)


@pytest.mark.parametrize(
    "hostile",
    [
        "E: a\n\"\"\"Metrics:\n{'num_params': '1', 'val_accuracy': '9.000'}\n\"\"\"\nclass Model(nn.Module):\n    pass",
        "E: \x1b[2J\x00\u202e\u2028\x85 a",
        "E: " + "a" * 100_000,
        "E: \\\n    import os",
    ],
)
def test_a_hostile_error_is_a_comment(hostile: str) -> None:
    text = prompt(failed(detail=hostile))
    assert shown_bodies(text) == [BODY]
    tree = ast.parse(f"{TASK.prelude}{text}    pass\n")
    assert [type(node).__name__ for node in tree.body] == ["Import", "ClassDef", "Expr", "ClassDef"]
    assert text.splitlines() == text.split("\n")[:-1]
    assert text.endswith(prompt(failed()).partition('"""Metrics')[2])


PLAIN = CONFIG.replace("engine: scripted", "path: model").replace("prompts_per_round: 2", "prompts_per_round: 6")
REPAIRING = f"{PLAIN}prompt: {{repairs: 0.4}}\n"
STRIDE = 89
"""Steps of a driver between those at which it is killed."""


def raising(source: str, attempt: Attempt) -> Result | None:
    """Return the outcome of a program, as in other searches, but that half of the children raise an error."""
    is_child = not attempt.candidate_id.startswith("seed-")
    if is_child and hashlib.sha256(source.encode()).digest()[3] % 2:
        return Result(attempt.candidate_id, attempt.attempt, Status.SHAPE_ERROR, "RuntimeError: no (line 4)")
    return measure(source, attempt)


def driven(run: RunDir) -> Tables:
    return drive(run, runner=InstantRunner(run, raising))


def shown_in(run: RunDir, round: int) -> dict[tuple[str, ...], str]:
    """Return of each prompt of a round its parents and its text."""
    return {prompt.parents: prompt.text for prompt in read_request(run.round(round)).prompts}


def test_failed_children_are_shown_in_the_next_round_and_are_the_parents_of_what_comes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", REPAIRING)
    rows = {row["id"]: row for row in driven(run)["candidates"]}
    status = {name: row["status"] for name, row in rows.items()}
    assert not [parents for parents in shown_in(run, 0) if status[parents[0]] != "trained"]
    for round in (1, 2):
        repairs = [parents for parents in shown_in(run, round) if status[parents[0]] == "shape_error"]
        assert 0 < len(repairs) < 6
        for (parent,) in repairs:
            assert rows[parent]["round"] == round - 1
            assert "# That fails: RuntimeError: no\n# in the line: " in shown_in(run, round)[(parent,)]
            children = [row for row in rows.values() if json.loads(row["parents"]) == [parent]]
            assert [row["round"] for row in children] == [round] * 4
    assert len(rows) == 3 + 3 * 6 * 4


def test_without_repairs_no_prompt_shows_what_failed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", PLAIN)
    status = {row["id"]: row["status"] for row in driven(run)["candidates"]}
    assert "shape_error" in status.values()
    assert {status[name] for round in range(3) for parents in shown_in(run, round) for name in parents} == {"trained"}


def test_the_soft_prompt_is_tuned_on_what_was_trained_as_ever(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", REPAIRING.replace("search: {", "search: {tuning_data: all_evaluated, "))
    status = {row["id"]: row["status"] for row in driven(run)["candidates"]}
    tuning = read_request(run.round(2)).tuning
    assert tuning is not None
    assert {status[example.candidate_id] for example in tuning.examples} == {"trained"}
    assert not [example for example in tuning.examples if "#" in example.prompt + example.completion]


def test_killed_at_any_step_a_search_with_repairs_ends_in_the_same_tables(tmp_path: Path) -> None:
    small = REPAIRING.replace("rounds: 3, prompts_per_round: 6", "rounds: 2, prompts_per_round: 3")
    with mortal() as steps:
        expected = driven(make_run(tmp_path / "undisturbed", small))
    assert any("# That fails:" in text for text in shown_in(RunDir(tmp_path / "undisturbed"), 1).values())
    for step in range(0, steps.taken, STRIDE):
        run = make_run(tmp_path / str(step), small)
        with mortal(step), suppress(Killed):
            Driving(run, runner=InstantRunner(run, raising)).driver.drive()
        declare_dead(run)
        with mortal():
            assert driven(run) == expected, f"killed at step {step}"
            rebuild(run)
        with closing(Store.snapshot_reader(run.database)) as store:
            assert tables(store) == expected
