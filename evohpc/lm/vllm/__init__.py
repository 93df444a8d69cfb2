"""vLLM as the engine that draws the completions."""
