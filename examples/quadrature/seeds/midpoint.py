def rule(n):
    step = 2 / n
    return [(i + 0.5) * step - 1 for i in range(n)], [step] * n
