"""Run by a Python that has vLLM: draws what a request asks for, and prints the tokens of each completion as JSON.

python vllm_tokens.py RUN/rounds/NNN/request.json [ADAPTER]
"""

import json
import sys
from pathlib import Path
from unittest.mock import patch

from evohpc.lm import generate, soft_prompt
from evohpc.lm.drawing import Drawing
from evohpc.lm.vllm import engine as vllm_engine
from evohpc.run_folder import RoundDir


def main() -> None:
    """Draw; the last line of the output is the answer."""
    request = generate.read(RoundDir.of_request(sys.argv[1]))
    virtual = soft_prompt.load(Path(sys.argv[2])) if len(sys.argv) > 2 else None
    tokens: dict[str, list[int]] = {}
    add = Drawing.add

    def note(drawing: Drawing, token: int) -> str:
        tokens.setdefault(f"{drawing.prompt.index}.{drawing.sample.index}", []).append(token)
        return add(drawing, token)

    engine = vllm_engine.start(request, virtual, gpus=1)
    drawn: list[int] = []
    with patch.object(Drawing, "add", note):
        completions = [c for ended in engine.draw(request.prompts, drawn.append) for c in ended]
    assert len(completions) == len(tokens)
    assert sum(drawn) == sum(c.tokens for c in completions), "vLLM went on after the end of a class"
    print(json.dumps(tokens))


if __name__ == "__main__":
    main()
