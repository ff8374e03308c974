"""Traced networks: the same bits, and torch's own calls wherever a trace would not do."""

import pytest
import torch
from torch import nn

from threefusion.guidance.prior import execution
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.execution import runner
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.guidance.prior.traced import CALLS, CHECKS, Traced
from threefusion.registry import build

CPU = torch.device("cpu")


class Counting(nn.Module):
    """Counts how often Python runs it."""

    def __init__(self, rule=lambda x: x):
        super().__init__()
        self.layer, self.rule, self.count = nn.Linear(4, 4).requires_grad_(False), rule, 0

    def forward(self, x):
        self.count += 1
        return (self.rule(self.layer(x)),)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ran(network, count, *shape):
    """Whether all of `count` calls return what the network does, and how often Python ran it for them."""
    call, plain = Traced(network), Counting(network.rule)
    plain.layer = network.layer
    nn.init.eye_(network.layer.weight)
    nn.init.zeros_(network.layer.bias)
    # of alternating sign
    inputs = [drawn(seed, *shape).abs() * (-1) ** seed for seed in range(count)]
    same = all(torch.equal(call(x)[0], plain(x)[0]) for x in inputs)
    return same, network.count


def test_after_some_calls_of_a_shape_python_runs_no_more():
    same, count = ran(Counting(), 50, 3, 4)
    # every plain call, the trace, and the checks
    assert same and count == CALLS - 1 + 1 + CHECKS


@pytest.mark.parametrize("rule", [lambda x: x if x.sum() > 0 else -x, lambda x: x * float(x[0, 0])], ids=["branch", "number"])
def test_a_network_whose_python_depends_on_its_input_is_not_replaced(rule):
    same, count = ran(Counting(rule), 50, 3, 4)
    assert same and count >= 50


def test_what_cannot_be_traced_runs_as_before():
    network = Counting()
    network.forward = lambda x: {"not": object(), "x": network.layer(x)}["x"].tolist()
    call = Traced(network)
    assert all(call(torch.ones(1, 4)) == network(torch.ones(1, 4)) for _ in range(CALLS + 2))


def test_every_shape_is_traced_alone_and_what_is_differentiated_is_not():
    network = Counting()
    call = Traced(network)
    for count in (3, 5):
        for _ in range(CALLS):
            call(drawn(0, count, 4))
    assert len(call._traced) == 2
    x = drawn(0, 3, 4).requires_grad_()
    call(x)[0].sum().backward()
    assert torch.equal(x.grad, network.layer.weight.sum(0).expand(3, 4))


def test_auto_traces_small_networks_on_the_cpu_alone(monkeypatch):
    assert isinstance(runner(nn.Linear(2, 2), "auto", CPU), Traced)
    assert not isinstance(runner(nn.Linear(2, 2), "auto", torch.device("cuda")), Traced)
    assert not isinstance(runner(nn.Linear(2, 2), "eager", CPU), Traced)
    monkeypatch.setattr(execution, "LARGEST", 3)
    assert not isinstance(runner(nn.Linear(2, 2), "auto", CPU), Traced)


@torch.no_grad()
def test_the_bundled_prior_has_the_same_bits():
    auto, eager = build(PixelConfig(dtype="bfloat16")), build(PixelConfig(dtype="bfloat16", execution="eager"))
    for step in range(CALLS + CHECKS + 2):
        inputs = drawn(step, 2, 3, 32, 32), torch.rand(2), Conditioning(drawn(step, 2, 16, 64))
        result = auto.predict(*inputs).output
    assert torch.equal(result, eager.predict(*inputs).output)
    (traced,) = auto._runners["unet"]._traced.values()
    assert traced is not None
