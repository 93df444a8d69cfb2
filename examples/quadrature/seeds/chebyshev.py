import math


def rule(n):
    angles = [(i + 0.5) * math.pi / n for i in range(n)]
    return [math.cos(angle) for angle in angles], [math.sin(angle) * math.pi / n for angle in angles]
