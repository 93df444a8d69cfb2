"""Whatever stands in a file or in an answer: a verdict or one of evohpc's own errors, soon and in little memory.

Inputs are edits of what is right, by hypothesis: pieces are cut out, doubled, moved, and replaced by what is special to
the format. `make reliability` tries a hundred times as many.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from support.driving import RUN_ID, TASK, make_run, program
from support.requests import PROMPT, prompts
from support.requests import request as lm_request
from support.rows import trained
from support.tally import Tally

from evohpc import envelopes
from evohpc.config.evaluation import ScreeningConfig
from evohpc.config.search import load_config
from evohpc.config.site import load_site
from evohpc.envelopes import encode
from evohpc.errors import EvohpcError
from evohpc.evolution.screening import screen
from evohpc.lm import completions_file
from evohpc.lm.programs import repeats, whole_class
from evohpc.messages import Completion, LMRequest, Result
from evohpc.run_folder import RunDir, read_request
from evohpc.sandbox import outputs
from evohpc.search.search import Search
from evohpc.slurm import commands

EXAMPLES = [100, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(7200)])]
SLOWEST_CPU_S = 1.0
MEMORY_MB = 200

PYTHON = ["(" * 50, ")" * 50, "[" * 300, "lambda: " * 40, "f'{", "}'", '"""', "\\", "\n" + " " * 90, "9" * 5000]
PYTHON += ["\u202e", "match x:\n case [*_]: ", "async ", "yield ", "**" * 60, "not " * 200, "@", ":=", "\ud800"]
PYTHON += ["-" * 2000, "1e999", "\0"]
JSON = ["NaN", "1e999", "[" * 2000, "{" * 500, '"\\ud800"', "null", "-0", "9" * 400, '""', ":", ",", "\0", "true", "{}"]
YAML = ["&a [*a]", "*a", "!!python/object:os.system x", "<<: *a", "\t", "? ", "| ", "---\n", "%TAG ! x\n", "{" * 400]
YAML += ["~", "0x", "\u2028", "[" * 2000, "- " * 2000]
SLURM = ["|", "\n", "9" * 5000, "_[1-4]", "_4294967294", "²", "(null)", "CANCELLED by 0", "\0", "CLUSTER: x", "%"]
SLURM += ["node[1-", "\r"]

Consume = Callable[[str], object]
Fuzz = Callable[[st.SearchStrategy[str], Consume], None]


@st.composite
def edited(draw: st.DrawFn, texts: list[str], pieces: list[str]) -> str:
    """Draw an edit of one of several texts."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 1, 2, 7, 40])))
        kind = draw(st.sampled_from(["cut", "double", "piece", "piece", "text"]))
        new = {"cut": "", "double": text[start:end] * 2}.get(kind)
        if new is None:
            new = draw(st.sampled_from(pieces) if kind == "piece" else st.text(max_size=8))
        text = text[:start] + new + text[end:]
    return text


def cpu_seconds(consume: Consume, text: str) -> float:
    """Return what it took to consume a text; the clock on the wall would blame it for other programs."""
    gc.disable()  # the garbage of a whole session of tests is not this parser's
    started = time.process_time()
    try:
        with suppress(EvohpcError):
            consume(text)
        return time.process_time() - started
    finally:
        gc.enable()


@pytest.fixture(params=EXAMPLES)
def fuzz(request: pytest.FixtureRequest, tally: Tally) -> Iterator[Fuzz]:
    """Give many inputs of a strategy to a function, which may raise no error but evohpc's own."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def try_all(inputs: st.SearchStrategy[str], consume: Consume) -> None:
        @settings(max_examples=request.param, deadline=None, phases=(Phase.generate,), database=None)
        @given(inputs)
        def one(text: str) -> None:
            assert cpu_seconds(consume, text) < SLOWEST_CPU_S

        one()
        tally("inputs of fuzzed parsers; none raised, hung or filled the memory", request.param)

    yield try_all
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_MB << 10


def raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def test_programs_are_screened(fuzz: Fuzz) -> None:
    fuzz(edited([program(8), program(9) + program(9)], PYTHON), lambda text: screen(text, TASK, ScreeningConfig()))


def test_completions_are_cut_and_compared(fuzz: Fuzz) -> None:
    body = program(8).partition("Module):\n")[2]

    def consume(text: str) -> None:
        whole_class(PROMPT, text)
        repeats(PROMPT, text)

    fuzz(edited([body, body + '"""Metrics:'], PYTHON), consume)


def test_results_are_unsealed(fuzz: Fuzz) -> None:
    whole = envelopes.seal(RUN_ID, 1, trained("c1", num_params=4, error=0.1)).decode()
    fuzz(edited([whole], JSON), lambda text: envelopes.unseal(raw(text), RUN_ID, Result))


def test_arrays_of_candidates_are_read(fuzz: Fuzz, tmp_path: Path) -> None:
    whole = save({"a": np.arange(6, dtype=np.float32), "b": np.zeros((0, 4), np.float16)}).decode("latin-1")
    path = tmp_path / "x.safetensors"

    def consume(text: str) -> None:
        path.write_bytes(text.encode("latin-1", errors="replace"))
        with suppress(outputs.Untrusted, FloatingPointError):
            outputs.read_arrays(path, outputs.Budget(1 << 20, 100))

    fuzz(edited([whole], JSON), consume)


def test_configs_are_read(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    whole = "task: mnist1d\nseeds: s\nlm: {engine: scripted}\nsearch:\n  rounds: 3\n  temperatures: [0.5, 1]\n"

    def consume(text: str) -> None:
        path.write_bytes(raw(text))
        load_config(path)

    fuzz(edited([whole], YAML), consume)


def test_site_profiles_are_read(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    whole = "evaluation: {partition: gpu, time_minutes: 30, options: {gres: 'gpu:1'}}\nsetup: [module load cuda]\n"

    def consume(text: str) -> None:
        path.write_bytes(raw(text))
        load_site(path)

    fuzz(edited([whole], YAML), consume)


def test_requests_and_completions_are_read(fuzz: Fuzz, tmp_path: Path) -> None:
    asked = lm_request(prompts=prompts([PROMPT], samples=2))
    round = RunDir(tmp_path).round(0)
    round.path.mkdir(parents=True)
    lines = "".join(encode(Completion(0, sample, "    pass\n", 3, "eos")) + "\n" for sample in range(2))

    def consume(text: str) -> None:
        round.request.write_bytes(raw(text))
        round.completions.write_bytes(raw(text))
        completions_file.recover(round.completions, asked)
        completions_file.read_complete(round.completions, asked)
        read_request(round)

    fuzz(edited([encode(asked), lines], JSON), consume)
    assert isinstance(asked, LMRequest)


def test_run_folders_are_opened(fuzz: Fuzz, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    whole = {path: path.read_text() for path in (run.config, run.provenance)}

    def consume(text: str) -> None:
        for path, right in whole.items():
            path.write_bytes(raw(text))
            with suppress(EvohpcError):
                Search.open(run.path)
            path.write_text(right)

    fuzz(edited([*whole.values(), json.dumps({"run_id": 3})], [*JSON, *YAML]), consume)


def test_answers_of_slurm_are_read(fuzz: Fuzz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = tmp_path / "answer"
    for name in ("squeue", "sacct", "scontrol", "sbatch"):
        (tmp_path / name).write_text(f"#!/bin/sh\nexec /bin/cat {answer}\n")
        os.chmod(tmp_path / name, 0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def consume(text: str) -> None:
        answer.write_bytes(raw(text))
        for ask in (commands.queue, lambda: commands.history({"12": "evohpc-a"}), commands.largest_array):
            with suppress(EvohpcError):
                ask()
        with suppress(EvohpcError):
            commands.longest_minutes("gpu")
        commands.submit(tmp_path / "job.sh")

    rows = "12|3|evohpc-a|RUNNING|None\n12_4|evohpc-a|COMPLETED\n"
    told = "MaxArraySize            = 1001\nPartitionName=gpu\n   MaxTime=1-00:00:00 DefaultTime=NONE\n"
    fuzz(edited([rows, told, "1234;cluster\n"], SLURM), consume)
