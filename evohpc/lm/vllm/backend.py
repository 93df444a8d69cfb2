"""vLLM, as far as it is used here: requests in, tokens out. Imports it only when it is started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor

from evohpc.errors import LMError, did_you_mean
from evohpc.messages import LMRequest


@dataclass(frozen=True)
class Ask:
    """One request to vLLM."""

    name: str
    """Never used before."""
    shown: list[int] | Tensor
    """Token ids, or embeddings, [tokens, hidden size]."""
    seed: int
    """Below 2**63."""
    temperature: float
    max_tokens: int
    allowed: list[int] | None = None
    """The only tokens that may be drawn; None allows all."""


@dataclass(frozen=True)
class Drawn:
    """What a step has brought one request."""

    name: str
    tokens: list[int]
    is_over: bool
    """It will bring no more."""


class Backend(Protocol):
    """Draws tokens for many requests at once."""

    def embed(self, ids: list[int]) -> Tensor:
        """Return the input embeddings of token ids, [tokens, hidden size], on the CPU."""

    def submit(self, ask: Ask) -> None:
        """Take a request in."""

    def step(self) -> list[Drawn]:
        """Draw the next token of the requests whose turn it is."""

    def abort(self, name: str) -> None:
        """Forget a request that is not over."""


class VLLM:
    """A `Backend`: vLLM's own engine, stepped."""

    def __init__(self, request: LMRequest, stop_ids: Iterable[int], *, gpus: int, longest: int, embeds: bool) -> None:
        """Load the model.

        Args:
            stop_ids: tokens that end a request.
            gpus: the model is divided among them.
            longest: most tokens of a prompt with its completion.
            embeds: whether prompts are shown as embeddings.

        Raises:
            LMError: vLLM cannot run this model here, or knows no such argument as in `request.vllm`.
        """
        from vllm import EngineArgs, LLMEngine
        from vllm.platforms import current_platform

        own = arguments(request, gpus=gpus, longest=longest, embeds=embeds)
        if current_platform.is_cpu():
            # After each piece of a prompt but the last, 0.32 takes its seeded noise back, which it cannot on a CPU.
            own["enable_chunked_prefill"] = False
        _check(request.vllm, [field.name for field in fields(EngineArgs)])
        try:
            self._engine = LLMEngine.from_engine_args(EngineArgs(**{**own, **request.vllm}))
        except Exception as error:  # whatever it is, it is about this model on this machine
            raise LMError(f"vLLM cannot run {request.model_path} here: {_reason(error)}") from error
        # It refuses those that the model has no embedding for, and so never draws.
        drawable = [token for token in sorted(stop_ids) if token < self._engine.model_config.get_vocab_size()]
        self._settings = {
            "top_k": request.sampling.top_k,
            "top_p": request.sampling.top_p,
            "stop_token_ids": drawable,
        }

    def embed(self, ids: list[int]) -> Tensor:
        """See `Backend.embed`."""
        answers: list[Tensor] = self._engine.apply_model(partial(_embedded, ids=ids))
        return answers[0]  # each GPU has its part of the vocabulary, and the whole of the answer

    def submit(self, ask: Ask) -> None:
        """See `Backend.submit`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        settings = SamplingParams(
            **self._settings,
            temperature=ask.temperature,
            seed=ask.seed,
            max_tokens=ask.max_tokens,
            allowed_token_ids=ask.allowed,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        kind = "prompt_embeds" if isinstance(ask.shown, Tensor) else "prompt_token_ids"
        (prompt,) = self._engine.renderer.render_cmpl([{kind: ask.shown}])
        self._engine.add_request(ask.name, prompt, settings)

    def step(self) -> list[Drawn]:
        """See `Backend.step`."""
        answers = self._engine.step()
        return [Drawn(each.request_id, list(each.outputs[0].token_ids), each.finished) for each in answers]

    def abort(self, name: str) -> None:
        """See `Backend.abort`."""
        self._engine.abort_request([name])


def arguments(request: LMRequest, *, gpus: int, longest: int, embeds: bool) -> dict[str, object]:
    """Return the arguments of vLLM's engine that a user has no say in; see `VLLM`."""
    return {
        "model": request.model_path,
        "dtype": request.dtype,
        "max_model_len": longest,
        "max_num_seqs": request.sampling.batch_size,
        "tensor_parallel_size": gpus,
        "enable_prompt_embeds": embeds,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "async_scheduling": False,
        "disable_log_stats": True,
        "seed": 0,
    }


def _embedded(model: Any, *, ids: list[int]) -> Tensor:
    """Return the input embeddings of token ids; runs where the model is."""
    with torch.inference_mode():
        device = next(model.parameters()).device
        vectors: Tensor = model.embed_input_ids(torch.tensor(ids, device=device))
    return vectors.cpu()


def _check(given: dict[str, object], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            unknown = f"lm.vllm sets {name}, an argument that this version of vLLM does not know"
            raise LMError(f"{unknown}; {did_you_mean(name, known)}".rstrip("; "))


def _reason(error: Exception) -> str:
    """Return what an exception says in one line; pydantic's begin with how many there are."""
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"])
    return str(error).strip().partition("\n")[0] or type(error).__name__
