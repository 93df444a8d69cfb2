"""How much a step of a language model's matrices slows down where other processes want the same cores.

    python benchmarks/busy.py --others 6

Runs the products of a 0.5B model's layers for 24 rows in bfloat16, with the waiting of OpenMP's threads as it is by
default and as evohpc sets it, in turn, beside `--others` processes that only count. Prints steps/s, CPU ms a step, and
the ratios. With `--others 0` it shows what a quiet machine pays.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from statistics import median

from evohpc import linux

_STEP = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
up = [torch.randn(4864, 896, dtype=torch.bfloat16) for _ in range(24)]
rows = torch.randn(24, 896, dtype=torch.bfloat16)
def step():
    for weight in up:
        torch.nn.functional.linear(torch.nn.functional.silu(torch.nn.functional.linear(rows, weight)), weight.t())
step()
wall, cpu, steps = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - wall < float(sys.argv[2]):
    step()
    steps += 1
print(steps / (time.perf_counter() - wall), 1000 * (time.process_time() - cpu) / steps)
"""


def measure(threads: int, seconds: float, settings: dict[str, str]) -> tuple[float, float]:
    """Return steps a second and CPU milliseconds a step."""
    others = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", _STEP, str(threads), str(seconds)]
    said = subprocess.run(command, env=others | settings, stdout=subprocess.PIPE, text=True, check=True).stdout
    rate, cpu = map(float, said.split())
    return rate, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", type=int, default=6, help="processes that only count")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    counting = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.others)]
    try:
        found: dict[str, list[tuple[float, float]]] = {"default": [], "sparing": []}
        for _ in range(options.repeats):
            for name, settings in (("default", {}), ("sparing", linux.SPARING)):
                found[name].append(measure(options.threads, options.seconds, settings))
    finally:
        for process in counting:
            process.kill()
    medians = {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    for name, (rate, cpu) in medians.items():
        print(f"{name:8} {rate:7.2f} steps/s {cpu:8.1f} CPU ms a step")
    print(f"ratio    {medians['sparing'][0] / medians['default'][0]:7.2f} x the rate", end=" ")
    print(f"{medians['sparing'][1] / medians['default'][1]:6.2f} x the CPU; {options.threads} threads", end=" ")
    print(f"beside {options.others} processes")


if __name__ == "__main__":
    main()
