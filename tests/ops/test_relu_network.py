"""The network of every backend against torch layer by layer, with double backward."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from threefusion.geometry.mlp import FieldNetwork, plain_network
from threefusion.ops.backend import backend
from threefusion.ops.numba_kernels.relu_network import BLOCK, GROUPS
from threefusion.ops.relu_network import relu_network, relu_network_with_gradient
from threefusion.ops.torch_kernels import relu_network as reference
from threefusion.ops.torch_kernels.relu_network import CHUNK

COUNTS = (0, 1, CHUNK, 2 * CHUNK + 77, GROUPS * BLOCK + 77)


def make(layers, count, dtype=torch.float32, hidden=18):
    """No width is a multiple of four."""
    torch.manual_seed(layers)
    network = plain_network(6, 3, hidden, layers).to(dtype)
    return network, torch.randn(count, 6, dtype=dtype, requires_grad=True)


@torch.no_grad()
def difference(a, b):
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) if b.numel() else float(a.shape != b.shape)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_values_input_gradients_and_parameter_gradients_equal_those_of_torch(each_backend, layers, count):
    network, x = make(layers, count)
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
def test_derivatives_equal_finite_differences(layers, monkeypatch):
    monkeypatch.setattr(reference, "CHUNK", 4)
    network, x = make(layers, 9, torch.float64)
    parameters = [value.detach().requires_grad_() for value in network.parameters()]

    def values(x, *parameters):
        return relu_network_with_gradient(x, parameters[::2], parameters[1::2])

    with backend("torch"):
        assert gradcheck(values, (x, *parameters))


def test_gradients_do_not_depend_on_the_number_of_threads(kernel_threads):
    network, x = make(2, 3000)
    results = []
    for count in (1, 2, 5):
        kernel_threads(count)
        out, slope = network.with_slope(x)
        results.append([out, slope, *torch.autograd.grad(out.square().sum() + slope.square().sum(), [x, *network.parameters()])])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_nan_reaches_the_outputs_and_the_gradients_of_its_point(each_backend):
    network, x = make(2, 30)
    broken = x.detach().clone()
    broken[3, 1] = torch.nan
    broken.requires_grad_()
    out = network(broken)
    assert out[3].isnan().all() and not out[[0, 29]].isnan().any()
    out.sum().backward()
    assert network[0].weight.grad.isnan().any() and not broken.grad[[0, 29]].isnan().any()


def test_only_inputs_that_require_grad_are_differentiated(each_backend):
    network, x = make(1, 50)
    weights, biases = [network[0].weight, network[2].weight], [network[0].bias, network[2].bias]
    relu_network(x.detach(), weights, biases).sum().backward()
    assert x.grad is None and all(p.grad.any() for p in network.parameters())
    (for_weight,) = torch.autograd.grad(relu_network_with_gradient(x, weights, biases)[1].sum(), weights[:1])
    assert for_weight.any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_values_are_the_same(each_backend, mode):
    network, x = make(2, CHUNK + 5)
    expected = [value.detach() for value in network.with_slope(x)]
    with mode():
        values = network.with_slope(x)
        assert torch.equal(network(x), expected[0])
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(values, expected, strict=True))


def test_autocast_uses_torch():
    network, x = make(1, 100)
    with torch.autocast("cpu", torch.bfloat16):
        out, slope = network.with_slope(x)
        assert network(x).dtype == out.dtype == torch.bfloat16
    expected, expected_slope = network.with_slope(x)
    assert difference(out.float(), expected) < 0.05
    # rounding a hidden unit across 0 changes the whole gradient of a point
    assert (slope.float() - expected_slope).norm() < 0.1 * expected_slope.norm()
