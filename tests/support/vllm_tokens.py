"""Run by a Python that has vLLM: draws what a request asks for, and prints the tokens of each completion as JSON.

python vllm_tokens.py RUN/rounds/NNN/request.json [ADAPTER]
"""

import json
import sys
from pathlib import Path

from evohpc.lm import generate, soft_prompt
from evohpc.lm.vllm import engine as vllm_engine
from evohpc.lm.vllm.engine import VLLMEngine
from evohpc.run_folder import RoundDir


def main() -> None:
    """Draw; the last line of the output is the answer."""
    request = generate.read(RoundDir.of_request(sys.argv[1]))
    virtual = soft_prompt.load(Path(sys.argv[2])) if len(sys.argv) > 2 else None
    tokens: dict[str, list[int]] = {}
    add = VLLMEngine._add

    def note(engine, row, token):
        tokens.setdefault(f"{row.prompt.index}.{row.sample.index}", []).append(token)
        return add(engine, row, token)

    VLLMEngine._add = note
    engine = vllm_engine.start(request, virtual, gpus=1)
    drawn: list[int] = []
    completions = [c for ended in engine.draw(request.prompts, drawn.append) for c in ended]
    assert len(completions) == len(tokens)
    assert sum(drawn) == sum(c.tokens for c in completions), "vLLM went on after the end of a class"
    print(json.dumps(tokens))


if __name__ == "__main__":
    main()
