def priority(item, bins):
    return item - bins
