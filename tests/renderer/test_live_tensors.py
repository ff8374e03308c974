"""Bytes are counted while somebody holds them, and no longer."""

import pytest
import torch
from live_tensors import LiveTensors
from torch.profiler import ProfilerActivity, profile

from threefusion.config import load_config
from threefusion.ops.backend import backend
from threefusion.system.build import build_system


def test_what_is_made_counts_until_it_is_freed():
    before = torch.ones(100)
    with LiveTensors() as meter:
        assert (meter.now, meter.lap()) == (0, 0)
        large = torch.zeros(1000)
        assert meter.now == 4000
        view, same = large.view(10, 100)[3:], large.mul_(2)
        assert meter.now == 4000
        before.add_(1)
        before.view(10, 10).t()
        assert meter.now == 4000
        del large, same
        assert meter.now == 4000, "a view keeps the whole of it"
        del view
        assert (meter.now, meter.lap(), meter.lap()) == (0, 4000, 0)


def test_what_a_graph_keeps_counts():
    weight = torch.ones(50, requires_grad=True)
    with LiveTensors() as meter:
        loss = (weight.exp() * weight).sum()
        assert meter.now == 200 + 4, "exp is kept for the backward pass"
        loss.backward()
        assert meter.now == 200 + 4, "the gradient is there, exp is not"
        del loss
        weight.grad = None
        assert meter.now == 0


@pytest.mark.parametrize("override", ["renderer.samples_per_chunk=100000", "renderer.samples_per_chunk=2000"])
@pytest.mark.parametrize(("name", "excess"), [("torch", 0.02), ("numba", 0.4)])
def test_the_count_agrees_with_the_profiler_of_torch(tiny, override, name, excess):
    """The profiler is told of every allocation, those inside kernels too.

    Beneath a dispatch mode autograd does not add gradients in place: where tables are most of the memory, one too many.
    """
    with backend(name):
        counted, peak = counts_of_a_step(tiny, override)
    assert 0.98 * peak <= counted <= (1 + excess) * peak
    assert counted > 1e6


def counts_of_a_step(tiny, override):
    """The most bytes alive in a step, as counted here and as the profiler says."""
    system = build_system(load_config(tiny, ["camera.albedo_steps=0", "renderer.sampler.samples_per_ray=48", override]))
    batch = system.camera.sample(0, 0, torch.arange(4))

    def step() -> None:
        system.compute_loss(batch)[0].backward()
        system.zero_grad()

    step()
    with LiveTensors() as meter:
        step()
        counted = meter.lap()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return counted, peak
