"""YAML as people type it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evohpc.config.search import load_config
from evohpc.config.site import load_site
from evohpc.config.strict_yaml import dump, parse
from evohpc.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("2.5e-3", 2.5e-3),
        (".5", 0.5),
        ("7", 7),
        ("-3", -3),
        ("0x10", 16),
        ("12:30:00", "12:30:00"),
        ("16:00", "16:00"),
        ("1-00:00:00", "1-00:00:00"),
        ("012345", "012345"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("2001-01-01", "2001-01-01"),
        ("1.2.3", "1.2.3"),
        ("[&a 1, *a]", [1, 1]),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: object) -> None:
    found = parse(f"key: {text}")["key"]
    assert (found, type(found)) == (value, type(value))


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
"""PyYAML itself folds what Unicode calls a line's end."""
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXT
    | st.from_regex(r"[-0-9.:eExo_]{1,8}"),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@settings(max_examples=20, deadline=None)  # PyYAML takes its time over each
@given(st.dictionaries(st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True), VALUES))
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    assert parse(dump(document)) == document


def config(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(f"seeds: s\nlm: {{engine: scripted}}\n{text}")
    return path


def test_a_small_number_of_a_task_is_a_number(tmp_path: Path) -> None:
    path = config(tmp_path, "task_options: {weight_decay: 1e-4}\n")
    assert load_config(path, ["task_options.rate=1e-3"]).task_options == {"weight_decay": 1e-4, "rate": 1e-3}


def test_an_octal_number_is_refused_where_a_number_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"search.rounds: input should be a valid integer; it is '010'"):
        load_config(config(tmp_path, "search: {rounds: 010}\n"))


def test_a_mark_of_windows_editors_is_no_text(tmp_path: Path) -> None:
    path = config(tmp_path, "")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_config(path).seeds == tmp_path / "s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: 1\na: 2", "the key a is there twice at line 2"),
        (b"a:\n\tb: 1", "found character"),
        (b"a: caf\xe9", "it is not UTF-8 text"),
        ("a: 1".encode("utf-16"), "it is not UTF-8 text"),
        (b"a: 1\n---\nb: 2", "expected a single document"),
        (b"a: " + b"9" * 5000, "not valid YAML"),
        (b"a: " + b"[" * 5000, "not valid YAML"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_site_profile_says_it_the_natural_way(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        "driver:\n  setup: module load cuda\n  account: 012345\n"
        "  options: {time: 12:30:00, begin: 16:00, exclusive: false, contiguous: true}\n"
        "evaluation:\n  gpus_per_node: 1\n  requeue: no\n  account: 5349\n"
        "  setup: |\n    module load cuda\n    module load apptainer\n"
    )
    site = load_site(path)
    assert site.driver.setup == ("module load cuda",)
    assert site.evaluation.setup == ("module load cuda", "module load apptainer")
    assert site.driver.sbatch_options({}) == {
        "account": "012345",
        "time": "12:30:00",
        "begin": "16:00",
        "contiguous": True,
    }
    assert site.evaluation.sbatch_options({}) == {"account": "5349", "gpus-per-node": "1"}
    assert site.evaluation.requeue is False
