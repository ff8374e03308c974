"""Chunks down to their floor, and gradients of recomputed activations."""

import pytest
import torch
from torch import nn

from threefusion.errors import UserError
from threefusion.renderer.memory import Chunk, recomputed


def make():
    torch.manual_seed(0)
    return nn.Linear(3, 2), nn.Linear(3, 2), torch.rand(5, 3)


def test_parameters_that_the_function_does_not_use_have_no_gradient():
    used, unused, x = make()
    recomputed(lambda: used(x).tanh(), used, unused).sum().backward()
    (expected,) = torch.autograd.grad(used(x).tanh().sum(), used.weight)
    torch.testing.assert_close(used.weight.grad, expected)
    assert unused.weight.grad is None


def test_a_second_derivative_is_an_error():
    used, _, x = make()
    out = recomputed(lambda: used(x).tanh(), used)
    cotangent = torch.ones_like(out, requires_grad=True)
    (gradient,) = torch.autograd.grad(out, used.weight, cotangent, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        gradient.sum().backward()


def test_a_chunk_is_halved_down_to_its_floor_and_no_further():
    chunk = Chunk("renderer.samples_per_chunk", 2048, floor=1024)
    chunk.halve("advice")
    assert chunk.size == 1024
    with pytest.raises(UserError, match=r"cannot be halved again: it is down to 1024\. advice"):
        chunk.halve("advice")
