"""Noise on the surface costs a small share of a step, whatever else the machine does."""

import pytest

from benchmarks.surface_noise import LARGEST, measure


@pytest.mark.slow
def test_painting_the_noise_costs_little() -> None:
    step, noise = measure(8)
    assert 0 < noise <= LARGEST * (step - noise)
