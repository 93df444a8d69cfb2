"""What vLLM is asked, with a module in its place that notes it; test_vllm.py asks the real one."""

import sys
from collections.abc import Collection
from dataclasses import dataclass, make_dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from support.requests import request

from evohpc.config.lm import SET_BY_EVOHPC
from evohpc.errors import LMError
from evohpc.lm.vllm import backend as vllm_backend
from evohpc.lm.vllm.backend import VLLM, Ask, Drawn


@dataclass
class Engine:
    """vLLM's, as far as it is used."""

    arguments: object
    failure: Exception | None = None

    def __post_init__(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.asked: list[tuple[Any, ...]] = []
        self.aborted: list[str] = []
        self.model_config = SimpleNamespace(get_vocab_size=lambda: 100)
        self.renderer = SimpleNamespace(render_cmpl=lambda prompts: [{"rendered": prompt} for prompt in prompts])

    def add_request(self, name: str, prompt: Any, settings: Any) -> None:
        self.asked.append((name, prompt, settings))

    def step(self) -> list[SimpleNamespace]:
        output = SimpleNamespace(token_ids=(7, 8))
        return [SimpleNamespace(request_id="a", outputs=[output], finished=True)]

    def abort_request(self, names: list[str]) -> None:
        self.aborted += names

    def apply_model(self, work: Any) -> list[Any]:
        return [work(Model()), "of another GPU"]


class Module(ModuleType):
    """One that is put together by hand."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)


class Model(torch.nn.Embedding):
    def __init__(self) -> None:
        super().__init__(100, 3)

    def embed_input_ids(self, ids: list[int]) -> Any:
        return self(ids)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put a double in place; return what decides how it behaves, and the engine once there is one."""
    state = SimpleNamespace(failure=None, engine=None, is_cpu=False)

    def start(given: Any) -> Engine:
        state.engine = engine = Engine(given, state.failure)
        return engine

    names = [*vllm_backend.arguments(request(""), gpus=1, longest=1, embeds=False), "gpu_memory_utilization"]
    names += ["enable_chunked_prefill"]
    package, parameters, platforms = (Module(name) for name in ("vllm", "vllm.sampling_params", "vllm.platforms"))
    package.EngineArgs = make_dataclass("EngineArgs", [(name, object, None) for name in names])
    package.LLMEngine = SimpleNamespace(from_engine_args=start)
    package.SamplingParams = lambda **settings: settings
    parameters.RequestOutputKind = SimpleNamespace(DELTA="delta")
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: state.is_cpu)
    for module in (package, parameters, platforms):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return state


def started(stop_ids: Collection[int] = (5,), **changes: Any) -> VLLM:
    return VLLM(request("model", **changes), stop_ids, gpus=2, longest=30, embeds=True)


def test_users_are_kept_from_what_evohpc_sets() -> None:
    own = vllm_backend.arguments(request(""), gpus=1, longest=1, embeds=False)
    assert own.keys() | {"speculative_config"} == SET_BY_EVOHPC.keys()


def test_the_engine_gets_the_request_and_the_users_arguments(vllm: SimpleNamespace) -> None:
    started(dtype="bfloat16", batch_size=9, vllm={"gpu_memory_utilization": 0.5})
    given = vllm.engine.arguments
    assert (given.model, given.dtype, given.max_num_seqs, given.tensor_parallel_size) == ("model", "bfloat16", 9, 2)
    assert (given.max_model_len, given.enable_prompt_embeds, given.gpu_memory_utilization) == (30, True, 0.5)
    assert given.enable_chunked_prefill is None


def test_on_a_cpu_prompts_are_computed_in_one_piece(vllm: SimpleNamespace) -> None:
    vllm.is_cpu = True
    started()
    assert vllm.engine.arguments.enable_chunked_prefill is False


def test_a_completion_is_asked_for_with_its_own_settings(vllm: SimpleNamespace) -> None:
    backend = started(stop_ids={99, 100, 5}, top_k=4, top_p=0.9)
    backend.submit(Ask("a", [1, 2], 77, 0.6, 12, [8, 9]))
    vectors = torch.ones(2, 3)
    backend.submit(Ask("b", vectors, 78, 0.8, 13))
    (first, second) = vllm.engine.asked
    assert first == (
        "a",
        {"rendered": {"prompt_token_ids": [1, 2]}},
        {
            "top_k": 4,
            "top_p": 0.9,
            "stop_token_ids": [5, 99],
            "temperature": 0.6,
            "seed": 77,
            "max_tokens": 12,
            "allowed_token_ids": [8, 9],
            "detokenize": False,
            "output_kind": "delta",
        },
    )
    assert second[1]["rendered"]["prompt_embeds"] is vectors
    assert second[2]["allowed_token_ids"] is None


def test_what_comes_back_is_passed_on(vllm: SimpleNamespace) -> None:
    backend = started()
    assert backend.step() == [Drawn("a", [7, 8], True)]
    assert backend.embed([3, 4]).shape == (2, 3)
    backend.abort("b")
    assert vllm.engine.aborted == ["b"]


def test_an_unknown_argument_is_named_with_the_nearest(vllm: SimpleNamespace) -> None:
    with pytest.raises(LMError, match=r"lm.vllm sets gpu_memory_utilisation.*; did you mean gpu_memory_utilization\?"):
        started(vllm={"gpu_memory_utilisation": 0.5})
    assert vllm.engine is None


def test_what_vllm_cannot_run_is_told_in_one_line(vllm: SimpleNamespace) -> None:
    vllm.failure = RuntimeError("no memory\nat all")
    with pytest.raises(LMError, match=r"vLLM cannot run model here: no memory$"):
        started()
    try:
        TypeAdapter(int).validate_python("x")
    except ValueError as error:
        vllm.failure = error
    with pytest.raises(LMError, match="vLLM cannot run model here: Input should be a valid integer"):
        started()
