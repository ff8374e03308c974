"""Every operation gives float32 results under autocast and for half-precision inputs, on every backend, with its derivatives."""

import pytest
import torch
from grid_scenes import GRIDS, difference, scene

from threefusion.geometry.normals import central_gradient
from threefusion.ops.composite import packed_weights, weighted_sums
from threefusion.ops.grid import encode, encode_vjp
from threefusion.ops.march import march
from threefusion.ops.rasterize import interpolate, rasterize
from threefusion.ops.relu_network import relu_network, relu_network_with_gradient

pytestmark = pytest.mark.usefixtures("each_backend")

POINTS, TABLE, COTANGENT, TANGENT = scene(GRIDS["hash"], 500)
RAYS = torch.arange(50).repeat_interleave(10)
DEPTHS, COLORS = POINTS[:, 0].abs(), TANGENT.sigmoid()
LAYERS = [torch.randn(16, 3, generator=torch.Generator().manual_seed(1)), torch.randn(2, 16) / 4, torch.randn(16), torch.randn(2)]
CLIP = torch.tensor([[[-0.9, -0.8, 0.1, 1.0], [0.8, -0.7, 0.2, 1.3], [0.1, 0.9, -0.3, 0.8]]])
FACE = torch.tensor([[0, 1, 2]])


def slope_of_encoding(points, table):
    """Needs the encoding's backward pass and, for its gradient, its second derivatives."""
    points = points if points.requires_grad else points.detach().requires_grad_()
    return torch.autograd.grad(encode(points, table, GRIDS["hash"]).square().sum(), points, create_graph=True)[0].float()


OPERATIONS = {
    "encode": (lambda p, t: encode(p, t, GRIDS["hash"]), POINTS, TABLE),
    "encode_vjp": (lambda p, t, c: encode_vjp(p, t, c, GRIDS["hash"]), POINTS, TABLE, COTANGENT),
    "second derivatives": (slope_of_encoding, POINTS, TABLE),
    "packed_weights": (lambda d: packed_weights(d, RAYS, 50), DEPTHS),
    "weighted_sums": (lambda w, v: weighted_sums(w, v, RAYS, 50), DEPTHS, COLORS),
    "relu_network": (lambda x, *p: relu_network(x, p[:2], p[2:]), POINTS, *LAYERS),
    "relu_network_with_gradient": (lambda x, *p: torch.cat(relu_network_with_gradient(x, p[:2], p[2:]), -1), POINTS, *LAYERS),
    "rasterize": (lambda c: interpolate(COLORS[:3], FACE, rasterize(c, FACE, 8, 8)), CLIP),
    "depth": (lambda c: rasterize(c, FACE, 8, 8).depth, CLIP),
}


def results(operation, inputs):
    """Value of the operation and its gradients with respect to all inputs."""
    inputs = [value.detach().requires_grad_() for value in inputs]
    value = operation(*inputs)
    probe = torch.linspace(-1, 1, value.numel()).reshape(value.shape)
    return [value.detach(), *torch.autograd.grad((value * probe).sum(), inputs, allow_unused=True)]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OPERATIONS)
def test_autocast_changes_no_bit(name, half):
    operation, *inputs = OPERATIONS[name]
    expected = results(operation, inputs)
    with torch.autocast("cpu", half):
        found = results(operation, inputs)
    assert found[0].dtype == torch.float32
    assert all(b is None if a is None else torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OPERATIONS)
def test_half_precision_inputs_are_computed_on_in_float32(name, half):
    operation, *inputs = OPERATIONS[name]
    inputs = [value.to(half) for value in inputs]
    expected = results(operation, [value.float() for value in inputs])
    found = results(operation, inputs)
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert (a is None) == (b is None)
        # gradients come back in the precision of their input
        assert a is None or difference(b.float(), a) < (2e-2 if index else 1e-2), index


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_marching_in_half_precision_is_that_of_its_rounded_rays(half):
    origins, directions = POINTS[:50].to(half), torch.nn.functional.normalize(TANGENT[:50], dim=-1).to(half)
    near, far, shift = (torch.full((50,), value, dtype=half) for value in (0.0, 1.5, 0.5))
    occupied = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(2)) > 0.5
    whole = march(*(value.float() for value in (origins, directions, near, far, shift)), occupied, 1.0, 0.05)
    with torch.autocast("cpu", half):
        found = march(origins, directions, near, far, shift, occupied, 1.0, 0.05)
    assert len(whole[0]) > 100 and all(torch.equal(a, b) for a, b in zip(whole, found, strict=True))


def test_finite_differences_are_not_those_of_rounded_values():
    def function(points):
        return (points @ LAYERS[0].t()).sin().sum(-1)

    expected = central_gradient(function, POINTS, 1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(central_gradient(function, POINTS, 1e-3), expected)
