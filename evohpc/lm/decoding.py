"""Draws the completions of many prompts together.

A prompt is computed once and its keys and values given to each of its samples. A row that ends leaves the batch and the
next sample takes its place, of whatever prompt; places that stay empty are given to guesses at what other rows go on
with. None of that changes any row: its numbers depend on its own prompt only (`PackedLinear`), and its noise on its own
seed and step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from evohpc.lm import architecture, zero3
from evohpc.lm.drawing import Drawing, Rules
from evohpc.lm.kv_cache import Slots
from evohpc.lm.model import LanguageModel
from evohpc.lm.prompt_lookup import History
from evohpc.lm.sampling import distribution, draw, uniforms
from evohpc.lm.stopping import heal, repeating
from evohpc.messages import Completion, Prompt, Sampling


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A prompt that has been computed."""

    healed: str
    length: int
    room: int
    """Tokens that a completion may have."""
    history: History
    cache: DynamicCache
    logits: Tensor
    """[1, vocabulary]; only tokens that repeat `healed` have a finite one."""


@dataclass
class _Row:
    """A completion that is being drawn, in a row of the batch."""

    prefix: _Prefix
    drawing: Drawing
    noise: list[float]
    """One number in [0, 1) for each token."""
    history: History

    @classmethod
    def of(cls, prefix: _Prefix, drawing: Drawing) -> _Row:
        """Begin an attempt at a completion of a prompt."""
        noise = uniforms(drawing.sample.seed, drawing.longest, attempt=drawing.attempt)
        return cls(prefix, drawing, noise, prefix.history.fork())


class Decoder:
    """Draws completions with one model, soft prompt and `Sampling`."""

    def __init__(
        self,
        lm: LanguageModel,
        soft_prompt: Tensor | None,
        sampling: Sampling,
        forward: Callable[..., Any] | None = None,
    ) -> None:
        """Take a model and how to draw from it.

        Args:
            soft_prompt: [virtual tokens, hidden size]; None shows the prompt alone.
            forward: what to call instead of the model itself.
        """
        self._lm = lm
        self._forward = forward or lm.model
        self._soft_prompt = soft_prompt
        self._sampling = sampling
        self._virtual = 0 if soft_prompt is None else len(soft_prompt)
        context = architecture.context(lm.model.config)
        free = None if context is None else context - self._virtual
        self._rules = Rules(lm.tokenizer, lm.stop_ids, sampling, free)
        self._slots = Slots(sampling.batch_size)
        self._rows: list[_Row] = []
        self._again: deque[_Row] = deque()

    @torch.inference_mode()
    def draw(
        self, prompts: Sequence[Prompt], on_step: Callable[[int], None] = lambda rows: None
    ) -> Iterator[list[Completion]]:
        """Yield completions as they end, until each sample of each prompt has one.

        Args:
            prompts: such as leave `room` for a completion.
            on_step: called with the number of tokens drawn, after each step.
        """
        waiting = self._first_attempts(prompts)
        while True:
            ended: list[Completion] = []
            while len(self._rows) < self._sampling.batch_size and (row := self._next(waiting)):
                ended += self._start(row)
            if self._rows:
                tokens, more = self._step()
                on_step(tokens)
                ended += more
            if ended:
                yield ended
            elif not self._rows and not self._again:
                return

    def finish(self) -> None:
        """See `completions.Engine.finish`."""
        if isinstance(self._forward, zero3.Lockstep):
            self._forward.finish()

    def room(self, prompt: Prompt) -> int:
        """See `completions.Engine.room`."""
        return self._rules.room(len(heal(self._lm.tokenizer, prompt.text)[0]))

    def prefill(self, prompt: Prompt) -> _Prefix:
        """Compute a prompt once for all of its samples."""
        ids, healed = heal(self._lm.tokenizer, prompt.text)
        cache = DynamicCache()  # of all tokens, in layers with a sliding window, too
        inputs = torch.tensor([[0] * self._virtual + ids], device=self._lm.device)
        with self._lm.beginning_with(self._soft_prompt):
            answer = self._forward(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = self._mend(answer.logits[:, -1].float(), healed)
        return _Prefix(healed, self._virtual + len(ids), self._rules.room(len(ids)), History(ids), cache, logits)

    def _first_attempts(self, prompts: Sequence[Prompt]) -> Iterator[_Row]:
        for prompt in prompts:
            if prompt.samples:
                prefix = self.prefill(prompt)
                for sample in prompt.samples:
                    yield _Row.of(prefix, Drawing(self._rules, prompt, sample, prefix.healed, prefix.room))

    def _next(self, waiting: Iterator[_Row]) -> _Row | None:
        return self._again.popleft() if self._again else next(waiting, None)

    def _start(self, row: _Row) -> list[Completion]:
        """Draw a completion's first token; let it into the batch unless that ended it."""
        token = self._draw(row.prefix.logits[None], [row])[0][0]
        if stop := self._add(row, token):
            return self._end(row, stop)
        self._slots.admit(row.prefix.cache, row.prefix.length)
        self._rows.append(row)
        return []

    def _step(self) -> tuple[int, list[Completion]]:
        """Draw a token for every row, and more for those whose guesses are right.

        Returns:
            How many were drawn, and the completions that they ended.
        """
        guesses = self._guesses()
        width = 1 + max(map(len, guesses))
        shown = [[row.drawing.tokens[-1], *guess] for row, guess in zip(self._rows, guesses, strict=True)]
        padded = torch.tensor([known + [0] * (width - len(known)) for known in shown], device=self._lm.device)
        drawn = self._draw(self._slots.step(self._forward, padded, self._lm.model.dtype), self._rows)
        kept = [self._keep(*each) for each in zip(self._rows, drawn, guesses, strict=True)]
        self._slots.advance([count for count, _ in kept])
        ended = []
        for place in reversed(range(len(kept))):
            if stop := kept[place][1]:
                ended += self._end(self._rows[place], stop)
                # Row i of the batch is in slot i: where a slot is released, the last row moves, here as there.
                self._rows[place] = self._rows[self._slots.release(place)]
                self._rows.pop()
        return sum(count for count, _ in kept), ended

    def _guesses(self) -> list[list[int]]:
        """Return what each row may go on with; no more than fit into the empty places of the batch."""
        room = self._sampling.batch_size // len(self._rows) - 1
        ahead = min(self._sampling.speculation, room)
        left = [row.drawing.longest - 1 - len(row.drawing.tokens) for row in self._rows]
        return [row.history.guess(max(0, min(ahead, most))) for row, most in zip(self._rows, left, strict=True)]

    def _keep(self, row: _Row, drawn: Sequence[int], guess: Sequence[int]) -> tuple[int, str]:
        """Append what was drawn as far as it was drawn after the right tokens; return how many, and why it ends."""
        for count, token in enumerate(drawn[: len(guess) + 1], start=1):
            stop = self._add(row, token)
            if stop or count > len(guess) or token != guess[count - 1]:
                break
        return count, stop

    def _end(self, row: _Row, stop: str) -> list[Completion]:
        """Return a row's completion, unless it is to be drawn once more."""
        ended = row.drawing.end(stop)
        if isinstance(ended, Completion):
            return [ended]
        self._again.append(_Row.of(row.prefix, ended))
        return []

    def _draw(self, logits: Tensor, rows: Sequence[_Row]) -> list[list[int]]:
        """Return the next tokens of the rows: for each place the one that is drawn there, if all before are right.

        Args:
            logits: [rows, places, vocabulary].
        """
        sampling, device, places = self._sampling, logits.device, logits.shape[1]
        temperatures = torch.tensor([row.drawing.sample.temperature for row in rows], device=device)
        noise = [row.noise[len(row.drawing.tokens) :][:places] for row in rows]
        padded = [number for numbers in noise for number in numbers + [0.0] * (places - len(numbers))]
        each = temperatures.repeat_interleave(places)
        weights = distribution(logits.flatten(0, 1), each, top_k=sampling.top_k, top_p=sampling.top_p)
        tokens = self._lm.replica.agreed(draw(weights, torch.tensor(padded, dtype=torch.float64, device=device)))
        matrix: list[list[int]] = tokens.view(-1, places).tolist()
        return matrix

    def _add(self, row: _Row, token: int) -> str:
        """Append a token to a row; return why it ends there, or ''."""
        row.history.append(token)
        return row.drawing.add(token)

    def _mend(self, logits: Tensor, healed: str) -> Tensor:
        if not healed:
            return logits
        allowed = repeating(self._lm.tokenizer, self._lm.vocabulary, healed)
        mended = torch.full_like(logits, -torch.inf)
        mended[:, allowed] = logits[:, allowed]
        return mended
