"""What `--json` prints, against the schema that the docs have of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command_line import call
from support.evaluating import CONFIG, HONEST
from support.paths import MNIST1D_SEEDS, ROOT
from support.searching import train_finalists

from evohpc.report.documents import SCHEMA
from evohpc.search.search import Search
from evohpc.search.verification import Asked, Verification

jsonschema = pytest.importorskip("jsonschema")
pytestmark = pytest.mark.usefixtures("unsynced", "made_once")


@pytest.fixture(scope="module")
def validator() -> Any:
    """One that refuses what the schema does not describe, as the docs' own does not: new keys may come."""
    schema = json.loads((ROOT / "docs/output.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for described in schema["$defs"].values():
        if "properties" in described:
            described["additionalProperties"] = False
    return jsonschema.Draft202012Validator(schema)


def check(validator: Any, kind: str, text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    validator.validate(document)
    assert (document["schema"], document["kind"]) == (SCHEMA, kind)
    return document


@pytest.mark.parametrize("command", ["status", "show", "why", "diff", "lineage"])
@pytest.mark.parametrize("id", ["best", "seed-cnn"])
def test_one_document_is_as_the_schema_says(
    validator: Any, command: str, id: str, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"status": [], "diff": [id, "seed-gru"]}.get(command, [id])
    code, out, _ = call(capsys, command, finished_run, *words, "--json")
    assert code == 0
    document = check(validator, "candidate" if command == "show" else command, out)
    assert document["run"] == Search.open(finished_run).run_id


def test_each_line_is_a_document(validator: Any, finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = call(capsys, "list", finished_run, "--json")[1].splitlines()
    assert {check(validator, "candidate", line)["candidate"]["status"] for line in listed} >= {"trained"}
    assert call(capsys, "export", finished_run, "--jsonl", "-")[1].splitlines() == listed


def test_a_table_of_finalists_is_one(
    validator: Any, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Verification.create(finished_run, Asked(2), seeds=1, folder=tmp_path / "v")
    train_finalists(tmp_path / "v", 0)
    check(validator, "verify", call(capsys, "verify", finished_run, "--to", tmp_path / "v", "--json")[1])


@pytest.mark.slow
def test_an_evaluation_is_one(validator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("SEEDS", str(MNIST1D_SEEDS)))
    (tmp_path / "mine.py").write_text(HONEST)
    out = call(capsys, "evaluate", tmp_path / "mine.py", "--config", tmp_path / "config.yaml", "--json")[1]
    assert check(validator, "evaluate", out)["num_params"] == 410


def test_what_the_schema_does_not_know_is_refused(validator: Any) -> None:
    found = {"schema": 1, "kind": "diff", "run": "r", "id": "a", "differences": []}
    validator.validate(found)
    for change in ({"schema": 2}, {"kind": "other"}, {"id": 3}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**found, **change})
