"""Draws the completions of a round with vLLM: `python -m evohpc.lm.vllm.engine RUN/rounds/NNN/request.json`.

The soft prompt is shown as prompt embeddings, in front of those of the prompt. Each completion is one request with its
own seed and temperature; its tokens are looked at as they come, and it is aborted when its class has ended. A prompt
whose end is left for the model to write again (`stopping.heal`) takes a request for the first token, which may only be
one that repeats it, and another for the rest: the same distribution.

Needs neither DeepSpeed nor peft. vLLM's kernels may round differently in another batch. So a completion depends on its
seed and, that far, on its neighbours: what a restart draws need not be what the first run would have drawn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Tensor

from evohpc import linux
from evohpc.errors import LMError
from evohpc.lm import architecture, completions, generate, model, soft_prompt, stopping
from evohpc.lm.drawing import Drawing, Rules
from evohpc.lm.log import telling
from evohpc.lm.times import timed
from evohpc.lm.vllm.backend import VLLM, Ask, Backend, Drawn
from evohpc.messages import Completion, LMRequest, Prompt, Sampling
from evohpc.run_folder import RoundDir


def main() -> int:
    """Draw what is missing of the completions of the request on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="evohpc.lm.vllm.engine")
    parser.add_argument("request", type=RoundDir.of_request, metavar="RUN/rounds/NNN/request.json")
    parser.add_argument("--model", help="the model folder, where it is not at the path that the request names")
    parser.add_argument("--gpus", type=int, default=1, help="divide the model among so many")
    parser.add_argument("--parent", type=int, help="end when this process, the caller, does")
    options = parser.parse_args()
    if options.parent is not None:
        linux.end_with(options.parent)
    return generate.exit_code(lambda: complete(options.request, options.model, options.gpus))


def complete(round: RoundDir, model_path: str | None = None, gpus: int = 1) -> None:
    """Draw what a round's request still lacks, with what was tuned for it.

    Raises:
        LMError: the model folder or the soft prompt cannot be used.
        RunFolderError: the request cannot be read.
        StorageError: the file system refused.
    """
    request = generate.read(round, model_path)
    missing = completions.missing(request, round)
    if missing:
        folder = generate.adapter_to_use(request, round)
        with timed(round, "loading"):
            engine = start(request, None if folder is None else soft_prompt.load(folder), gpus)
        with timed(round, "drawing"):
            completions.complete(engine, request, round, missing)


def start(request: LMRequest, virtual: Tensor | None, gpus: int) -> VLLMEngine:
    """Load the model of a request into vLLM.

    Args:
        virtual: the soft prompt, [virtual tokens, hidden size]; None shows the prompts alone.
        gpus: the model is divided among them.

    Raises:
        LMError: the folder holds no such model, or vLLM cannot run it.
    """
    reader = Reader.of(Path(request.model_path))
    longest = max(len(stopping.heal(reader.tokenizer, prompt.text)[0]) for prompt in request.prompts)
    longest += request.sampling.max_new_tokens + (0 if virtual is None else len(virtual))
    longest = longest if reader.context is None else min(longest, reader.context)
    with telling(f"starting vLLM with {request.model_path}"):
        backend = VLLM(request, reader.stop_ids, gpus=gpus, longest=longest, embeds=virtual is not None)
    return VLLMEngine(backend, reader, virtual, request.sampling)


@dataclass(frozen=True)
class Reader:
    """What is to be known of a model to read what it draws."""

    tokenizer: Any
    """A transformers tokenizer with a Rust backend."""
    stop_ids: frozenset[int]
    """Tokens that end a completion."""
    vocab_size: int
    """Token ids that the model has an embedding for."""
    context: int | None
    """See `architecture.context`."""

    @classmethod
    def of(cls, folder: Path) -> Reader:
        """Read a model folder, without its weights.

        Raises:
            LMError: it does not hold a causal LM with a fast tokenizer.
        """
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig

        with model.reading(folder):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            has_defaults = (folder / "generation_config.json").is_file()
            defaults = GenerationConfig.from_pretrained(folder) if has_defaults else config
        if not getattr(tokenizer, "is_fast", False):
            raise LMError(f"{folder} has no fast tokenizer (tokenizer.json); save it with transformers' AutoTokenizer")
        ids, vocabulary = stopping.stop_ids(defaults, tokenizer), config.get_text_config().vocab_size
        return cls(tokenizer, ids, vocabulary, architecture.context(config))

    def repeating(self, healed: str) -> list[int]:
        """Return the tokens that repeat the end of a prompt that the model was not shown."""
        vocabulary = range(min(len(self.tokenizer), self.vocab_size))
        return stopping.repeating(self.tokenizer, vocabulary, healed)


@dataclass
class _Row:
    """A completion that is being drawn, by one request to vLLM or two."""

    drawing: Drawing
    shown: list[int]
    """What the model is shown of the prompt."""

    @property
    def name(self) -> str:
        """What vLLM calls the request that draws its next token."""
        drawing = self.drawing
        return f"{drawing.prompt.index}.{drawing.sample.index}.{drawing.attempt}.{self._part}"

    @property
    def seed(self) -> int:
        """Seed of that request."""
        key = (self.drawing.attempt, self._part)
        return int(SeedSequence(self.drawing.sample.seed, spawn_key=key).generate_state(1, "uint64")[0] >> 1)

    @property
    def _part(self) -> int:
        return 1 if self.drawing.tokens else 0


class VLLMEngine:
    """A `completions.Engine` that asks a `Backend`."""

    def __init__(self, backend: Backend, reader: Reader, virtual: Tensor | None, sampling: Sampling) -> None:
        """`virtual` is the soft prompt, [virtual tokens, hidden size]; None shows the prompt alone."""
        self._backend, self._reader, self._virtual, self._sampling = backend, reader, virtual, sampling
        free = None if reader.context is None else reader.context - (0 if virtual is None else len(virtual))
        self._rules = Rules(reader.tokenizer, reader.stop_ids, sampling, free)
        self._rows: dict[str, _Row] = {}
        self._allowed: dict[str, list[int]] = {}

    def room(self, prompt: Prompt) -> int:
        """See `completions.Engine.room`."""
        return self._rules.room(len(stopping.heal(self._reader.tokenizer, prompt.text)[0]))

    def draw(self, prompts: Sequence[Prompt], on_step: Callable[[int], None]) -> Iterator[list[Completion]]:
        """See `completions.Engine.draw`."""
        waiting = self._first_attempts(prompts)
        while True:
            while len(self._rows) < self._sampling.batch_size and (row := next(waiting, None)):
                self._submit(row)
            if not self._rows:
                return
            drawn = self._backend.step()
            on_step(sum(len(each.tokens) for each in drawn))
            if ended := [completion for each in drawn for completion in self._take(each)]:
                yield ended

    def finish(self) -> None:
        """See `completions.Engine.finish`; there are no other ranks."""

    def _first_attempts(self, prompts: Sequence[Prompt]) -> Iterator[_Row]:
        for prompt in prompts:
            shown, healed = stopping.heal(self._reader.tokenizer, prompt.text)
            for sample in prompt.samples:
                yield _Row(Drawing(self._rules, prompt, sample, healed, self._rules.room(len(shown))), shown)

    def _submit(self, row: _Row) -> None:
        """Ask for a row's first token, if that is to repeat the end of its prompt, or for all that it still lacks."""
        is_mending = bool(row.drawing.healed) and not row.drawing.tokens
        left = row.drawing.longest - len(row.drawing.tokens)
        ask = Ask(
            row.name,
            self._shown(row.shown + row.drawing.tokens),
            row.seed,
            row.drawing.sample.temperature,
            1 if is_mending else left,
            self._repeating(row.drawing.healed) if is_mending else None,
        )
        self._rows[ask.name] = row
        self._backend.submit(ask)

    def _shown(self, ids: list[int]) -> list[int] | Tensor:
        if self._virtual is None:
            return ids
        vectors = self._backend.embed(ids)
        return torch.cat([self._virtual.to(vectors), vectors])

    def _repeating(self, healed: str) -> list[int]:
        if healed not in self._allowed:
            self._allowed[healed] = self._reader.repeating(healed)
        return self._allowed[healed]

    def _take(self, drawn: Drawn) -> list[Completion]:
        """Append what a step has drawn to its row; return the completion that this ends, if any."""
        row = self._rows[drawn.name]
        stop = next(filter(None, (self._add(row, token) for token in drawn.tokens)), "")
        if stop or drawn.is_over:
            del self._rows[drawn.name]
        if stop:
            if not drawn.is_over:
                self._backend.abort(drawn.name)
            return self._end(row, stop)
        if drawn.is_over:
            self._go_on(row)
        return []

    def _go_on(self, row: _Row) -> None:
        """Ask for what follows a row's first token."""
        if not row.drawing.healed or len(row.drawing.tokens) != 1:
            where = f"sample {row.drawing.sample.index} of prompt {row.drawing.prompt.index}"
            raise LMError(f"vLLM gave up {where} after {len(row.drawing.tokens)} tokens; the log above may say why")
        self._submit(row)

    def _add(self, row: _Row, token: int) -> str:
        """Append a token to a row; return why it ends there, or ''."""
        return row.drawing.add(token)

    def _end(self, row: _Row, stop: str) -> list[Completion]:
        """Return a row's completion, unless it is to be drawn once more."""
        ended = row.drawing.end(stop)
        if isinstance(ended, Completion):
            return [ended]
        self._submit(_Row(ended, row.shown))
        return []


if __name__ == "__main__":
    sys.exit(main())
