def priority(item, bins):
    left = bins - item
    ranks = -left
    ranks[(left > 4) & (left < 12)] -= 20
    return ranks
