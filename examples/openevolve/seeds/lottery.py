import random


def search(height, calls):
    points = [(random.uniform(-5, 5), random.uniform(-5, 5)) for _ in range(calls)]
    return min(points, key=lambda point: height(*point))
