"""What the scene of a stage takes over from the stage before."""

import pytest
import torch

from threefusion.config import load_config
from threefusion.system import conversion
from threefusion.system.scene import build_scene
from threefusion.system.start import Source


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Fits of few steps."""
    monkeypatch.setattr(conversion, "SHAPE_STEPS", 3)
    monkeypatch.setattr(conversion, "POINTS", 1 << 10)


def scenes(tiny, *overrides):
    """A scene with other parameters than it was built with, and the one that is built after it with `overrides`."""
    before, renderer = build_scene(load_config(tiny, ["background.type=environment"]))
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(0.5)
        before.heading.fill_(1.25)
    config = load_config(tiny, ["background.type=environment", *overrides])
    after, _ = build_scene(config, Source(before, renderer, "stage coarse"))
    fresh, _ = build_scene(config)
    return before, after, fresh


def same(one, other):
    """Whether two parts hold the same tensors."""
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(one[k].shape == other[k].shape and torch.equal(one[k], other[k]) for k in one)


def test_parts_of_the_same_class_and_shapes_start_from_the_stage_before(tiny):
    before, after, fresh = scenes(tiny, "geometry.bias=1.0", "renderer.sampler.samples_per_ray=8")
    assert same(after.geometry, before.geometry) and same(after.background, before.background)
    assert not same(fresh.geometry, before.geometry)
    assert after.heading == 1.25 and fresh.heading == 0
    assert not {p.data_ptr() for p in after.parameters()} & {p.data_ptr() for p in before.parameters()}


def test_a_geometry_of_other_shapes_is_fitted_and_the_other_parts_are_copied(tiny):
    before, after, fresh = scenes(tiny, "geometry.encoding.levels=2")
    assert not same(after.geometry, fresh.geometry)
    assert same(after.background, before.background)
    assert after.heading == 1.25
    line = "from stage coarse: density-field fitted to the shape and the colours; background copied"
    assert (after.origin, before.origin) == (line, "")


def test_a_geometry_of_another_radius_is_not_copied(tiny):
    """Its scene would have another size."""
    before, after, _ = scenes(tiny, "geometry.radius=1.2")
    assert not same(after.geometry, before.geometry) and "fitted" in after.origin


def test_a_part_of_another_class_starts_anew(tiny):
    before, after, fresh = scenes(tiny, "background.type=solid")
    assert same(after.background, fresh.background) and same(after.geometry, before.geometry)
    assert after.origin == "from stage coarse: density-field copied"
