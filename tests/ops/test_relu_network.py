"""The network in pieces against torch's, layer by layer and differentiated twice."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from threefusion.geometry.mlp import FieldNetwork, plain_network
from threefusion.ops import relu_network as module
from threefusion.ops.relu_network import PIECE, relu_network, relu_network_with_slope

COUNTS = (0, 1, PIECE, 2 * PIECE + 77)


def made(layers, count, dtype=torch.float32):
    torch.manual_seed(layers)
    network = plain_network(6, 3, 16, layers).to(dtype)
    return network, torch.randn(count, 6, dtype=dtype, requires_grad=True)


@torch.no_grad()
def difference(a, b):
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) if b.numel() else float(a.shape != b.shape)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_values_slopes_and_gradients_are_those_of_torch(layers, count):
    network, x = made(layers, count)
    wanted = [x, *network.parameters()]
    for_out, for_slope = torch.randn(count, 3), torch.randn(count, 6)
    results = []
    for out, slope in (network.with_slope(x), FieldNetwork(*network).with_slope(x)):
        loss = (out * for_out).sum() + (slope * for_slope).sum()
        results.append([out, slope, *torch.autograd.grad(loss, wanted)])
    for ours, theirs in zip(*results, strict=True):
        assert difference(ours, theirs) < 1e-5
    out = network(x)
    assert torch.equal(out, results[0][0])
    gradients = torch.autograd.grad((out * for_out).sum(), wanted)
    expected = torch.autograd.grad((nn.Sequential.forward(network, x) * for_out).sum(), wanted)
    for ours, theirs in zip(gradients, expected, strict=True):
        assert difference(ours, theirs) < 1e-5


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_derivatives_are_those_of_differences(layers, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 4)
    network, x = made(layers, 9, torch.float64)
    parameters = [value.detach().requires_grad_() for value in network.parameters()]

    def values(x, *parameters):
        return relu_network_with_slope(x, parameters[::2], parameters[1::2])

    assert gradcheck(values, (x, *parameters))


def test_only_what_is_asked_for_is_differentiated():
    network, x = made(1, 50)
    weights, biases = [network[0].weight, network[2].weight], [network[0].bias, network[2].bias]
    relu_network(x.detach(), weights, biases).sum().backward()
    assert x.grad is None and all(p.grad.any() for p in network.parameters())
    (for_weight,) = torch.autograd.grad(relu_network_with_slope(x, weights, biases)[1].sum(), weights[:1])
    assert for_weight.any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_values_are_the_same(mode):
    network, x = made(2, PIECE + 5)
    expected = [value.detach() for value in network.with_slope(x)]
    with mode():
        found = network.with_slope(x)
        assert torch.equal(network(x), expected[0])
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(found, expected, strict=True))


def test_under_autocast_torch_multiplies():
    network, x = made(1, 100)
    with torch.autocast("cpu", torch.bfloat16):
        out, slope = network.with_slope(x)
        assert network(x).dtype == out.dtype == torch.bfloat16
    expected, expected_slope = network.with_slope(x)
    assert difference(out.float(), expected) < 0.05
    # a unit that is rounded to the other side of 0 changes all of a point's slope
    assert (slope.float() - expected_slope).norm() < 0.1 * expected_slope.norm()
