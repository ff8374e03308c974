"""The bars of the benchmark of frozen networks."""

import pytest

from benchmarks.network import Row
from threefusion.machine.process import cores


@pytest.mark.parametrize(
    "case, threads, way, ratio, error, failed",
    [
        (("pixel", "call", 8), cores(), "openvino", 2.1, 6e-3, False),
        (("pixel", "call", 8), cores(), "openvino", 1.9, 6e-3, True),
        (("pixel", "call", 4), cores(), "openvino", 1.9, 6e-3, False),
        (("pixel", "call", 8), cores() + 1, "openvino", 1.9, 6e-3, False),
        (("latent", "guidance", 8), cores(), "openvino", 1.4, 6e-3, True),
        (("pixel", "call", 8), cores(), "traced", 1.1, 6e-3, False),
        (("pixel", "call", 4), cores(), "openvino", 2.5, 2e-2, True),
    ],
)
def test_a_row_names_the_bar_that_it_misses(case, threads, way, ratio, error, failed):
    row = Row(case, threads, way, 10.0, ratio, error)
    assert row.failed == failed and ("misses its bar" in str(row)) == failed
