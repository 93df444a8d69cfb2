"""What is written down of dm-clrs is what dm-clrs says."""

import pytest

from evohpc.tasks.clrs import specification, upstream
from evohpc.tasks.clrs.sampling import Sampler

WRITTEN = specification.read()


def test_the_algorithms_are_those_of_dm_clrs() -> None:
    assert list(WRITTEN) == sorted(upstream.load().specs.CLRS_30_ALGS)


@pytest.mark.parametrize("algorithm", WRITTEN)
def test_the_features_are_those_of_dm_clrs(algorithm: str) -> None:
    drawn = Sampler(algorithm, 16, seed=0).draw(1)
    points = (*drawn.features.inputs, *drawn.features.hints, *drawn.outputs)
    classes = {point.name: point.data.shape[-1] for point in points if point.type_ == "categorical"}
    told = upstream.load().specs.SPECS[algorithm]
    assert WRITTEN[algorithm] == tuple((name, *rest, classes.get(name, 1)) for name, rest in told.items())
