"""Draws samples of prompts with llama.cpp, for `generation.py`: `python llama_batch.py GGUF < prompts.json`.

Runs where llama-cpp-python is installed, not evohpc. Reads {"prompts": [[token ids]], "samples": n, "tokens": n,
"threads": n, "together": prompts decoded together, "unified": whether rows share one cache} and prints the seconds on
the clock and of the CPU, prefill included. Each prompt is computed once and given to its samples; all samples have the
same number of tokens.
"""

import json
import sys
import time

import llama_cpp as llama


def main() -> None:
    """Measure and print."""
    asked = json.load(sys.stdin)
    rows = asked["together"] * asked["samples"]
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(sys.argv[1].encode(), llama.llama_model_default_params())
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = rows * (max(map(len, asked["prompts"])) + asked["tokens"])
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_seq_max = rows
    parameters.n_threads = parameters.n_threads_batch = asked["threads"]
    parameters.kv_unified = asked["unified"]
    context = llama.llama_init_from_model(model, parameters)
    batch = llama.llama_batch_init(512, 0, 1)
    started = time.perf_counter(), time.process_time()
    for first in range(0, len(asked["prompts"]), asked["together"]):
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        draw(context, batch, asked["prompts"][first : first + asked["together"]], asked["samples"], asked["tokens"])
    print(time.perf_counter() - started[0], time.process_time() - started[1])


def draw(context, batch, prompts: list[list[int]], samples: int, tokens: int) -> None:
    """Compute the prompts, and draw all samples together."""
    rows = [(ids, chain(seed)) for seed, ids in enumerate(prompts * samples)]
    last = [0] * len(rows)
    for first, ids in enumerate(prompts):
        feed(context, batch, [(token, place, first, place == len(ids) - 1) for place, token in enumerate(ids)])
        for row in range(first, len(rows), len(prompts)):
            last[row] = llama.llama_sampler_sample(rows[row][1], context, len(ids) - 1)
            if row != first:
                llama.llama_memory_seq_cp(llama.llama_get_memory(context), first, row, -1, -1)
    for step in range(tokens - 1):
        feed(context, batch, [(token, len(rows[row][0]) + step, row, True) for row, token in enumerate(last)])
        last = [llama.llama_sampler_sample(sampler, context, row) for row, (_, sampler) in enumerate(rows)]


def chain(seed: int):
    """Return a sampler at temperature 0.8 over the whole vocabulary."""
    sampler = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    llama.llama_sampler_chain_add(sampler, llama.llama_sampler_init_temp(0.8))
    llama.llama_sampler_chain_add(sampler, llama.llama_sampler_init_dist(seed))
    return sampler


def feed(context, batch, entries: list[tuple[int, int, int, bool]]) -> None:
    """Run (token, position, sequence, are its logits needed)."""
    batch.n_tokens = len(entries)
    for place, (token, position, sequence, wanted) in enumerate(entries):
        batch.token[place], batch.pos[place] = token, position
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
        batch.logits[place] = wanted
    if llama.llama_decode(context, batch):
        sys.exit("llama_decode failed")


if __name__ == "__main__":
    main()
