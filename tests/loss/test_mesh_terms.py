"""Regularisers of meshes, against shapes whose values are known."""

from math import cos, log, pi, sqrt

import pytest
import torch

from threefusion.camera.orbit import orbit_views
from threefusion.errors import UserError
from threefusion.loss.settings import LaplacianConfig, NormalConsistencyConfig, SdfEntropyConfig
from threefusion.registry import build
from threefusion.types import Mesh, RenderOutput

VIEWS = orbit_views(1, 0.2, 2.0, 0.8, 3, 4)
TETRAHEDRON = Mesh(
    torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]),
)


def value(cfg, **parts):
    blank = torch.zeros(1, 3, 4, 1)
    return build(cfg)(RenderOutput(blank.expand(-1, -1, -1, 3), blank, blank, **parts), VIEWS)


def folded(angle):
    """Two faces at an edge, bent by `angle`."""
    vertices = torch.tensor([[0.0, 0, 0], [0, 1, 0], [1, 0, 0], [-cos(angle), 0, sqrt(1 - cos(angle) ** 2)]])
    return Mesh(vertices, torch.tensor([[0, 2, 1], [0, 1, 3]]))


@pytest.mark.parametrize("angle", [0.0, pi / 6, pi / 2])
def test_consistency_is_one_minus_the_cosine_of_the_bend(angle):
    assert value(NormalConsistencyConfig(), mesh=folded(angle)).item() == pytest.approx(1 - cos(angle), abs=1e-6)


def test_consistency_of_a_tetrahedron():
    assert value(NormalConsistencyConfig(), mesh=TETRAHEDRON).item() == pytest.approx(1 + 1 / 3, abs=1e-6)


def test_laplacian_of_a_tetrahedron():
    # each vertex, at sqrt 3 from the origin, has the other three for neighbours, whose middle is at -1/3 of it
    assert value(LaplacianConfig(), mesh=TETRAHEDRON).item() == pytest.approx(4 / 3 * sqrt(3), abs=1e-5)


def test_entropy_of_crossed_edges():
    ends = torch.tensor([[-1.0, 2.0], [3.0, -4.0], [1.0, 2.0], [-1.0, -2.0]])
    expected = log(1 + pow(2.718281828, -1)) + 1 + log(1 + pow(2.718281828, -2)) + 2
    expected += log(1 + pow(2.718281828, -3)) + 3 + log(1 + pow(2.718281828, -4)) + 4
    assert value(SdfEntropyConfig(), edge_distances=ends).item() == pytest.approx(expected / 2, rel=1e-5)


@pytest.mark.parametrize("cfg", [NormalConsistencyConfig(), LaplacianConfig(), SdfEntropyConfig()])
def test_an_empty_surface_costs_nothing_and_none_is_refused(cfg):
    empty = Mesh(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 3, dtype=torch.int64))
    assert value(cfg, mesh=empty, edge_distances=torch.zeros(0, 2)).item() == 0
    with pytest.raises(UserError, match="rasterizer"):
        value(cfg)
