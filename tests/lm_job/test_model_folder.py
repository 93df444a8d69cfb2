"""What is wrong with the folder of a language model is said when the run is made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from evohpc.errors import LMError
from evohpc.lm_job import script as lm_script
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


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{7:064d}\nsize 988097824\n"


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def shard(folder: Path) -> None:
    """Divide the weights into two files, as large models have it."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[:2], "model-2.safetensors": names[2:]}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, folder / file)
    weight_map = {name: file for file, own in parts.items() for name in own}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()


def sharded_and(spoil: Callable[[Path], object]) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        shard(folder)
        spoil(folder)

    return work


def be(**values: object) -> Callable[[Path], object]:
    def work(folder: Path) -> object:
        config = json.loads((folder / "config.json").read_text())
        return (folder / "config.json").write_text(json.dumps({**config, **values}))

    return work


def bring_code(kind: str) -> Callable[[Path], object]:
    return be(model_type=kind, auto_map={"AutoModelForCausalLM": "modeling.Own"})


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda at: (at / "model.safetensors").write_text(POINTER), "a git-lfs pointer instead of model.safetensors"),
        (lambda at: (at / "tokenizer.json").write_text(POINTER), "a git-lfs pointer instead of tokenizer.json"),
        (lambda at: cut(at / "model.safetensors"), "has a model.safetensors that is not whole"),
        (lambda at: cut(at / "tokenizer.json"), "has a tokenizer.json that is no JSON object"),
        (lambda at: cut(at / "config.json"), "has a config.json that is no JSON object"),
        (lambda at: (at / "tokenizer.json").unlink(), "has no tokenizer (tokenizer.json, tokenizer.model"),
        (sharded_and(lambda at: (at / "model-2.safetensors").unlink()), "has no model-2.safetensors, which model.safe"),
        (sharded_and(lambda at: cut(at / "model-1.safetensors")), "has a model-1.safetensors that is not whole"),
        (sharded_and(lambda at: cut(at / "model.safetensors.index.json")), "has no readable model.safetensors.index"),
        (lambda at: (at / "tokenizer.json").write_text("{}"), "has a tokenizer.json without a model"),
        (sharded_and(lambda at: (at / "model.safetensors.index.json").write_text('{"weight_map": []}')), "no readable"),
        (be(model_type="mamba", architectures=5), "is of a kind, mamba, that is recurrent"),
        (be(model_type="mamba"), "is of a kind, mamba, that is recurrent; take one of attention"),
        (be(model_type="t5", is_encoder_decoder=True), "is of a kind, t5, with an encoder and a decoder"),
        (be(architectures=["BertForMaskedLM"]), "was not trained to go on with a text: its config.json says Bert"),
        (bring_code("my_own"), "is of a kind, my_own, that needs code of its own (auto_map in config.json)"),
    ],
)  # fmt: skip
def test_what_is_not_what_its_name_says_is_named(model: Path, spoil: Callable[[Path], object], problem: str) -> None:
    spoil(model)
    with pytest.raises(LMError) as error:
        check_model_folder(model)
    assert f"{model} " in str(error.value)
    assert problem in str(error.value)


def index_of_weights_that_are_not_there(folder: Path) -> None:
    """As who fetched the safetensors alone of a folder that has both kinds."""
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}))


@pytest.mark.parametrize("change", [shard, bring_code("qwen2"), index_of_weights_that_are_not_there])
def test_what_transformers_can_load_passes(model: Path, change: Callable[[Path], object]) -> None:
    change(model)
    check_model_folder(model)


@pytest.fixture
def cached(tmp_path: Path, tiny_model: Path) -> Path:
    """The model as a hub's cache has it: links to files elsewhere in the cache."""
    cache = tmp_path / "models--A--B"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, file in enumerate(sorted(tiny_model.iterdir())):
        shutil.copy(file, cache / "blobs" / str(number))
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / str(number))
    return snapshot


def test_a_snapshot_of_a_hub_s_cache_passes_while_its_links_lead_somewhere(cached: Path) -> None:
    check_model_folder(cached)
    with pytest.raises(LMError, match=rf"is a cache of models; the model in it is {cached};"):
        check_model_folder(cached.parent.parent)
    (cached / "model.safetensors").resolve().unlink()
    with pytest.raises(LMError, match=r"has a link to nothing: model\.safetensors -> \.\./\.\./blobs/"):
        check_model_folder(cached)


def test_a_container_gets_what_the_links_of_a_model_folder_lead_to(cached: Path, tiny_model: Path) -> None:
    binds = {bind.target: bind.source for bind in lm_script.model_binds(cached)}
    assert binds == {f"/model/{file.name}": file.resolve() for file in cached.iterdir()}
    assert not any(source.is_symlink() for source in binds.values())
    assert [bind.source for bind in lm_script.model_binds(tiny_model)] == [tiny_model]
