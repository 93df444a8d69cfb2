import numpy as np


def priority(item, bins):
    return item - bins
