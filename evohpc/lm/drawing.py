"""A completion while it is drawn: the same for both engines, which only differ in where its tokens come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from evohpc.lm.programs import parses, repeats
from evohpc.lm.stopping import Transcript
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
    """Tokens of earlier attempts, which were not kept."""
    tokens: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules, prompt = self.rules, self.prompt
        self._few_shot = prompt.text.removesuffix(prompt.given)
        self._transcript = Transcript(rules.tokenizer, prompt.text, self.healed, rules.sampling.stop, prompt.given)

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
        self._transcript.cut()
        text, tokens = self._transcript.text, self.spent + len(self.tokens)
        if self._is_kept(text):
            return Completion(self.prompt.index, self.sample.index, text, tokens, stop)
        return replace(self, attempt=self.attempt + 1, spent=tokens, tokens=[])

    def _is_kept(self, text: str) -> bool:
        sampling = self.rules.sampling
        if self.attempt < sampling.retry_unparsable and not parses(self._few_shot, text):
            return False
        return self.attempt >= sampling.retry_copies or not repeats(self._few_shot, text, sampling.duplicates)
