"""Whether a folder can be the language model, as far as its files tell; the weights themselves are not read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evohpc.errors import LMError
from evohpc.files import read_json
from evohpc.tasks.data import is_whole

_POINTER = b"version https://git-lfs.github.com/spec/"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""In the order in which transformers looks for them."""
_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
_RECURRENT = {
    *("mamba", "mamba2", "falcon_mamba", "rwkv", "recurrent_gemma", "xlstm"),
    *("bamba", "falcon_h1", "jamba", "nemotron_h", "zamba", "zamba2"),
}
_OTHER_HEADS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
_NAMES = "tokenizer.json, tokenizer.model, or vocab.json and merges.txt"


def check_model_folder(path: Path) -> None:
    """Check that a folder looks like a Hugging Face causal LM, without loading it.

    Raises:
        LMError: it is missing, or lacks its config, weights or tokenizer, or one of these is not what it should be.
    """
    advice = "lm.path must name the folder of a Hugging Face causal LM; evohpc fetch-lm makes one"
    if not path.is_dir():
        raise LMError(f"{path} is {'not a folder' if path.exists() else 'missing'}; {advice}")
    if problem := next(_problems(path), None):
        raise LMError(f"{path} {problem}; {advice}")


def _problems(path: Path) -> Iterator[str]:
    """Yield what is wrong with a folder; the first is worth mending first."""
    if snapshots := sorted(path.glob("snapshots/*/config.json")):
        yield f"is a cache of models; the model in it is {snapshots[-1].parent}"
    for link in sorted(path.iterdir()):
        if link.is_symlink() and not link.exists():
            yield f"has a link to nothing: {link.name} -> {link.readlink()}"
    if not (path / "config.json").is_file():
        yield "has no config.json"
    config = _read_json(path / "config.json")
    if not isinstance(config, dict):
        yield "has a config.json that is no JSON object"
    yield from _wrong_kind(config)
    yield from _own_code(config)
    yield from _weight_problems(path)
    if not (tokenizer := next((names for names in _TOKENIZERS if all((path / n).is_file() for n in names)), ())):
        yield f"has no tokenizer ({_NAMES})"
    for name in tokenizer:
        yield from _content_problems(path / name)


def _wrong_kind(config: dict[str, Any]) -> Iterator[str]:
    """Yield why a model does not go on with a text, or not in a way that evohpc draws from."""
    kind, listed = str(config.get("model_type", "")), config.get("architectures")
    heads = [str(name) for name in listed] if isinstance(listed, list) else []
    if config.get("is_encoder_decoder"):
        yield f"is of a kind, {kind}, with an encoder and a decoder; a causal LM is needed"
    if kind in _RECURRENT:
        yield f"is of a kind, {kind}, that is recurrent; take one of attention, such as Qwen2.5-Coder, Llama or Mistral"
    if heads and all(head.endswith(_OTHER_HEADS) for head in heads):
        yield f"was not trained to go on with a text: its config.json says {heads[0]}"


def _own_code(config: dict[str, Any]) -> Iterator[str]:
    """Yield why a model that brings code of its own will not load: evohpc runs none. Where transformers knows the kind
    of model, as it does Phi-3, it takes its own; where it is not installed, as beside an LM image, the job will see."""
    kind, transformers = str(config.get("model_type", "")), importlib.util.find_spec("transformers")
    if "auto_map" not in config or transformers is None or transformers.origin is None:
        return
    if not (Path(transformers.origin).parent / "models" / kind.replace("-", "_")).is_dir() or not kind:
        name = kind or "unnamed"
        yield f"is of a kind, {name}, that needs code of its own (auto_map in config.json), and evohpc runs none"


def _weight_problems(path: Path) -> Iterator[str]:
    first = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if first is None:
        yield "has no weights (*.safetensors)"
        return
    yield from _content_problems(first)
    for shard in _shards(first) if first.suffix == ".json" else ():
        if not (path / shard).is_file():
            yield f"has no {shard}, which {first.name} names"
        yield from _content_problems(path / shard)


def _shards(index: Path) -> list[str]:
    found = _read_json(index)
    names = found.get("weight_map") if isinstance(found, dict) else None
    return sorted({str(name) for name in names.values()}) if isinstance(names, dict) else []


def _content_problems(file: Path) -> Iterator[str]:
    """Yield why a file is not what its name says."""
    with file.open("rb") as opened:
        if opened.read(len(_POINTER)) == _POINTER:
            yield f"has a git-lfs pointer instead of {file.name}: `git lfs pull` there fetches the file"
    if file.suffix == ".safetensors" and not is_whole(file):
        yield f"has a {file.name} that is not whole ({file.stat().st_size} bytes): copy it again"
    if file.suffix == ".bin" and file.stat().st_size == 0:
        yield f"has an empty {file.name}: copy it again"
    if file.name.endswith(".index.json") and not _shards(file):
        yield f"has no readable {file.name}"
    if file.name == "tokenizer.json":
        yield from _tokenizer_problems(_read_json(file))


def _tokenizer_problems(found: Any) -> Iterator[str]:
    if not isinstance(found, dict):
        yield "has a tokenizer.json that is no JSON object: copy it again"
    elif "model" not in found:
        yield "has a tokenizer.json without a model: copy it again"


def _read_json(file: Path) -> Any:
    """Return the content of a JSON file, None if it cannot be read as such."""
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None
