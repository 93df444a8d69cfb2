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
    context: int | None = None
    """Tokens that the model takes of a prompt and its completion together, the soft prompt aside."""

    def room(self, shown: int) -> int:
        """Return how many tokens a completion may have after so many of its prompt; 0 if that leaves it none."""
        longest = self.sampling.max_new_tokens
        return longest if self.context is None else max(0, min(longest, self.context - shown))


@dataclass
class Drawing:
    """One attempt at a completion."""

    rules: Rules
    prompt: Prompt
    sample: Sample
    healed: str
    """The end of the prompt that the model was not shown; the completion repeats it."""
    longest: int
    """Tokens that it may have; at least 1."""
    attempt: int = 0
    spent: int = 0
    """Tokens of earlier attempts, which were not kept."""
    tokens: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules, prompt = self.rules, self.prompt
        self._few_shot = prompt.text.removesuffix(prompt.given)
        self._transcript = Transcript(rules.tokenizer, prompt.text, self.healed, rules.sampling.stop, prompt.given)

    def add(self, token: int) -> str:
        """Append a token; return why the completion ends there ('eos', 'class_end', 'length' or 'context'), or ''."""
        self.tokens.append(token)
        if token in self.rules.stop_ids:
            return "eos"
        if self._transcript.add(token):
            return "class_end"
        if len(self.tokens) < self.longest:
            return ""
        return "length" if self.longest == self.rules.sampling.max_new_tokens else "context"

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
