"""How the ranks of a job share what is to be drawn; the model is a stand-in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.requests import prompts, request, write

from evohpc.errors import LMError
from evohpc.lm import completions, completions_file, ranks
from evohpc.messages import Completion, LMRequest, Prompt
from evohpc.run_folder import RoundDir

ASKED = request(prompts=prompts([f"class A{index}:" for index in range(7)], samples=4))


class Died(Exception):
    """Of a rank."""


class Engine:
    """Draws one completion after the other, until it has drawn so many."""

    def __init__(self, lives: int) -> None:
        self._left = lives
        self.prompts: Sequence[Prompt] = ()

    def room(self, prompt: Prompt) -> int:
        return 0 if "too long" in prompt.text else 100

    def draw(self, prompts: Sequence[Prompt], on_step: Callable[[int], None]) -> Iterator[list[Completion]]:
        self.prompts = prompts
        for prompt in prompts:
            for sample in prompt.samples:
                if not self._left:
                    raise Died
                self._left -= 1
                yield [Completion(prompt.index, sample.index, f"text of seed {sample.seed}", 1, "stop")]

    def finish(self) -> None:
        """Nothing waits for it."""


def drawn(round: RoundDir, asked: LMRequest, lives: int = 1000) -> Engine:
    engine = Engine(lives)
    completions.complete(engine, asked, round, completions.missing(asked, round))
    return engine


def three_ranks_die(round: RoundDir, lives: int, monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Let each rank draw so many; what is missing is known before the first begins, as they agree on it."""
    missing, engines = completions.missing(ASKED, round), [Engine(lives) for _ in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(ranks, "WORLD_SIZE", 3)
        for rank, engine in enumerate(engines):
            patch.setattr(ranks, "RANK", rank)
            with pytest.raises(Died):
                completions.complete(engine, ASKED, round, missing)
    return engines


def test_what_lacks_nothing_before_it_grows_with_all_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    round = write(tmp_path, ASKED)
    three_ranks_die(round, 4, monkeypatch)
    assert len(completions_file.read_prefix(round.completions, ASKED)) == 12
    three_ranks_die(round, 3, monkeypatch)
    assert len(completions_file.read_prefix(round.completions, ASKED)) == 15  # the first has a gap now


def test_a_prompt_is_computed_by_one_rank_but_for_the_last_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = three_ranks_die(write(tmp_path, ASKED), 0, monkeypatch)
    assert [[(p.index, len(p.samples)) for p in engine.prompts] for engine in engines] == [
        [(0, 4), (3, 4), (6, 1)],
        [(1, 4), (4, 4), (6, 1)],
        [(2, 4), (5, 4), (6, 2)],
    ]


def test_what_ranks_that_died_have_left_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, round = write(tmp_path / "a", ASKED), write(tmp_path / "b", ASKED)
    drawn(whole, ASKED)
    three_ranks_die(round, 6, monkeypatch)
    engine = drawn(round, ASKED)
    assert [(p.index, len(p.samples)) for p in engine.prompts] == [(3, 2), (4, 2), (5, 2), (6, 4)]
    assert round.completions.read_bytes() == whole.completions.read_bytes()
    assert not list(round.path.glob("*.rank*"))


def test_a_prompt_that_the_model_cannot_take_costs_its_own_completions_alone(tmp_path: Path) -> None:
    """Programs grow, and a search of days must not end with the first two that are too long together."""
    texts = ["class A:", "too long", "class B:"]
    asked = request(prompts=tuple(replace(each, given="    x") for each in prompts(texts, samples=2)))
    round = write(tmp_path, asked)
    assert [prompt.text for prompt in drawn(round, asked).prompts] == ["class A:", "class B:"]
    found = completions_file.read(round.completions, asked)
    assert len(found) == 6
    assert [found[1, sample] for sample in (0, 1)] == [Completion(1, s, "    x", 0, "context") for s in (0, 1)]
    assert not completions.missing(asked, round)


def test_a_model_that_takes_no_prompt_of_a_round_is_an_error(tmp_path: Path) -> None:
    asked = request(prompts=prompts(["too long", "too long, too"], samples=2))
    round = write(tmp_path, asked)
    with pytest.raises(LMError, match=r"takes fewer tokens than any prompt of this round"):
        drawn(round, asked)


def test_all_ranks_agree_whether_a_model_takes_no_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rank has nothing but the prompt that is too long; if it failed, the others would wait for it."""
    asked = request(prompts=prompts(["class A:", "too long"], samples=1))
    round = write(tmp_path, asked)
    monkeypatch.setattr(ranks, "WORLD_SIZE", 2)
    monkeypatch.setattr(ranks, "RANK", 1)
    monkeypatch.setattr(ranks, "gather", lambda mine: [[], mine])
    monkeypatch.setattr(ranks, "wait_for_all", lambda: None)
    assert drawn(round, asked).prompts == []
