"""An evaluator as OpenEvolve has them: how near a program comes to the minimum of a function with many."""

import importlib.util
import math


def evaluate(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    x, y = program.search(height, 200)
    value = height(x, y)
    return {"value": value, "combined_score": 1 / (1 + value - LOWEST)}


def height(x, y):
    return math.sin(x) * math.cos(y) + math.sin(x * y) + (x * x + y * y) / 20


LOWEST = -1.5187
