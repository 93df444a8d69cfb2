"""A completion while it is drawn: the same for both engines, which only differ in where its tokens come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from evohpc.lm.stopping import Transcript, parses
from evohpc.messages import Completion, Prompt, Sample, Sampling


@dataclass(frozen=True)
class Rules:
    """What decides where a completion ends, and whether it is drawn once more."""

    tokenizer: Any
    """A transformers tokenizer with a Rust backend."""
    stop_ids: frozenset[int]
    """Tokens that end a completion."""
    sampling: Sampling


@dataclass
class Drawing:
    """One attempt at a completion."""

    rules: Rules
    prompt: Prompt
    sample: Sample
    healed: str
    """The end of the prompt that the model was not shown; the completion repeats it."""
    attempt: int = 0
    spent: int = 0
    """Tokens of an earlier attempt, which did not parse."""
    tokens: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._transcript = Transcript(self.rules.tokenizer, self.prompt.text, self.healed)

    def add(self, token: int) -> str:
        """Append a token; return why the completion ends there ('eos', 'class_end' or 'length'), or ''."""
        self.tokens.append(token)
        if token in self.rules.stop_ids:
            return "eos"
        if self._transcript.add(token):
            return "class_end"
        return "length" if len(self.tokens) == self.rules.sampling.max_new_tokens else ""

    def end(self, stop: str) -> Completion | Drawing:
        """Return the completion, or the next attempt at it if it is to be drawn once more.

        Args:
            stop: what `add` returned.
        """
        text, tokens = self._transcript.text, self.spent + len(self.tokens)
        is_final = self.attempt > 0 or not self.rules.sampling.retry_unparsable
        if is_final or parses(self.prompt.text, text):
            return Completion(self.prompt.index, self.sample.index, text, tokens, stop)
        return replace(self, attempt=self.attempt + 1, spent=tokens, tokens=[])
