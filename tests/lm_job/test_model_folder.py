import json
from pathlib import Path

import pytest

from evohpc.errors import LMError
from evohpc.lm_job.model_folder import check_model_folder


def test_a_whole_model_folder_passes(tiny_model: Path) -> None:
    check_model_folder(tiny_model)


@pytest.mark.parametrize(
    ("lacks", "problem"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights"),
        ("tokenizer*", "has no tokenizer"),
    ],
)
def test_what_a_model_folder_lacks_is_named(tmp_path: Path, tiny_model: Path, lacks: str, problem: str) -> None:
    for file in tiny_model.iterdir():
        if not file.match(lacks):
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(LMError, match=f"{problem}.*evohpc fetch-lm"):
        check_model_folder(tmp_path)


def test_a_missing_model_folder_and_a_missing_shard_are_named(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(LMError, match=r"none is missing; lm.path must name"):
        check_model_folder(tmp_path / "none")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    with pytest.raises(LMError, match=r"has no model-2\.safetensors"):
        check_model_folder(tmp_path)
