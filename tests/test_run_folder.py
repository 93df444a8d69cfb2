import json
from pathlib import Path

import pytest
from support.requests import request

from evohpc.envelopes import encode
from evohpc.errors import RunFolderError
from evohpc.files import write_atomic
from evohpc.messages import SEED_ROUND, Prompt, Sample
from evohpc.run_folder import RoundDir, RunDir, read_request

RUN = RunDir(Path("/r"))


def test_every_path_lies_in_the_run_and_has_its_own_place() -> None:
    round = RUN.round(3)
    values: list[tuple[type, RunDir | RoundDir]] = [(RunDir, RUN), (RoundDir, round)]
    paths = [
        value
        for kind, folder in values
        for name in vars(kind)
        if not name.startswith("_")
        if isinstance(value := getattr(folder, name, None), Path) and value != folder.path
    ]
    paths += [round.job("j"), round.candidate("c"), round.result("c", 1), round.result("c", 2), round.log("c", 1)]
    assert len(paths) == len(set(paths)) > 20
    assert all(path.is_relative_to("/r") for path in paths)


def test_rounds_have_their_folders() -> None:
    assert [RUN.round(n).path.name for n in (SEED_ROUND, 0, 12, 1000)] == ["seeds", "000", "012", "1000"]


def test_labels_are_not_beside_what_candidates_get() -> None:
    assert RUN.labels.parent not in (RUN.data, *RUN.data.parents)


def test_a_round_knows_its_run_and_its_name() -> None:
    for number, name in ((3, "003"), (SEED_ROUND, "seeds")):
        assert (RUN.round(number).name, RUN.round(number).run) == (name, RUN)


def test_a_command_line_may_name_a_request_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    round = RunDir(tmp_path).round(3)
    round.path.mkdir(parents=True)
    monkeypatch.chdir(round.path)
    assert RoundDir.of_request("request.json") == RoundDir.of_request(round.request) == round


# As evohpc 0.1.0 wrote it for a search with the scripted LM, with fewer prompts and samples.
REQUEST_OF_0_1_0 = (
    '{"adapter":null,"batch_size":32,"deepspeed_config":{},"dtype":"float32","engine":"scripted",'
    '"max_new_tokens":1024,"model_path":"","prompts":[{"index":0,"parents":["seed-a","seed-b"],'
    '"samples":[{"index":0,"seed":6,"temperature":0.8}],"text":"class Model:"}],"retry_unparsable":true,"round":1,'
    '"run_id":"r-1","schema":1,"speculation":8,"tensor_parallel":false,"threads":0,"top_k":50,"top_p":0.95,'
    '"tuning":null,"vllm":{}}'
)


def test_a_request_that_0_1_0_wrote_is_read(tmp_path: Path) -> None:
    round = RunDir(tmp_path).round(1)
    write_atomic(round.request, REQUEST_OF_0_1_0)
    request = read_request(round)
    assert (request.run_id, request.round) == ("r-1", 1)
    assert (request.sampling.batch_size, request.sampling.top_k, request.sampling.top_p) == (32, 50, 0.95)
    assert request.prompts == (Prompt(0, "class Model:", ("seed-a", "seed-b"), (Sample(0, 6, 0.8),)),)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        *((text, ".*") for text in ("", "{", "{}", "[]", '{"top_k": 1}', '{"sampling": {"top_k": 1}}', "[" * 100_000)),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_request_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: str | None, problem: str) -> None:
    round = RunDir(tmp_path).round(1)
    round.path.mkdir(parents=True)
    if content is not None:
        round.request.write_text(content)
    advice = "try again, or delete it to have it written anew"
    with pytest.raises(RunFolderError, match=rf"^cannot read {round.request}: {problem}; {advice}$"):
        read_request(round)


def test_a_request_of_0_1_0_is_read_as_one_of_today(tmp_path: Path) -> None:
    """Then the fields of `sampling` stood beside the others, and some of them were not written."""
    round, asked = RoundDir(tmp_path), request("m", batch_size=7, max_new_tokens=99, top_k=5)
    document = json.loads(encode(asked))
    flat = {name: document.pop("sampling")[name] for name in ("batch_size",)} | {"max_new_tokens": 99, "top_k": 5}
    round.request.write_text(json.dumps({**document, **flat, "top_p": 1.0}))
    assert read_request(round) == asked
    round.request.write_text(encode(asked))
    assert read_request(round) == asked
