"""Requests to the language model, and their files."""

from dataclasses import fields

from evohpc.envelopes import encode
from evohpc.messages import LMRequest, Prompt, Sample, Sampling
from evohpc.run_folder import RoundDir, RunDir


def request(model_folder, **changes) -> LMRequest:
    prompts = tuple(
        Prompt(i, f"class A{i}:", (), tuple(Sample(j, 10 * i + j, 0.8) for j in range(3))) for i in range(2)
    )
    values = {
        "schema": 1,
        "run_id": "r",
        "round": 0,
        "model_path": str(model_folder),
        "dtype": "float32",
        "threads": 1,
        "adapter": None,
        "deepspeed_config": {},
        "tuning": None,
        "prompts": prompts,
    }
    sampling = {field.name: changes.pop(field.name) for field in fields(Sampling) if field.name in changes}
    return LMRequest(sampling=Sampling(**{"batch_size": 4, "max_new_tokens": 12, **sampling}), **{**values, **changes})


def write(run, asked: LMRequest) -> RoundDir:
    round = RunDir(run).round(asked.round)
    round.path.mkdir(parents=True, exist_ok=True)
    round.request.write_text(encode(asked))
    return round


def identity(path) -> tuple[int, int]:
    """Return what changes when a file is written; reading may change the rest of its status."""
    return path.stat().st_ino, path.stat().st_mtime_ns
