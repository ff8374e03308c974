from math import log

import pytest
import torch

from threefusion.camera.orbit import orbit_views
from threefusion.errors import UserError
from threefusion.loss.opaqueness import Opaqueness
from threefusion.loss.orientation import Orientation
from threefusion.loss.settings import OpaquenessConfig, OrientationConfig, SparsityConfig
from threefusion.loss.sparsity import Sparsity
from threefusion.types import RenderedSamples, RenderOutput

TERMS = [Orientation(OrientationConfig()), Sparsity(SparsityConfig()), Opaqueness(OpaquenessConfig())]


def batch(views):
    return orbit_views(views, 0.2, 2.0, 0.8, 3, 4)


def render(views=2, seed=0, per_view=30):
    generator = torch.Generator().manual_seed(seed)
    opacity = torch.rand(views, 3, 4, 1, generator=generator).requires_grad_()
    normal, direction = torch.nn.functional.normalize(torch.randn(2, views * per_view, 3, generator=generator), dim=-1)
    weights = torch.rand(views * per_view, generator=generator).requires_grad_()
    samples = RenderedSamples(weights, normal.requires_grad_(), direction, torch.arange(views).repeat_interleave(per_view))
    return RenderOutput(torch.zeros(views, 3, 4, 3), opacity, opacity, samples=samples)


def one_view(whole, view):
    part = whole.samples.view_index == view
    samples = RenderedSamples(
        whole.samples.weights[part],
        whole.samples.normal[part],
        whole.samples.direction[part],
        torch.zeros(int(part.sum()), dtype=int),
    )
    cut = slice(view, view + 1)
    return RenderOutput(whole.image[cut], whole.opacity[cut], whole.depth[cut], samples=samples)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_a_batch_is_the_mean_of_its_views(term):
    whole = render(3)
    alone = torch.stack([term(one_view(whole, view), batch(1)) for view in range(3)])
    assert torch.allclose(term(whole, batch(3)), alone.mean())


def test_orientation_counts_back_faces_by_weight_and_only_turns_normals():
    whole = render()
    samples = whole.samples
    value = TERMS[0](whole, batch(2))
    expected = 0.0
    for weight, normal, direction in zip(samples.weights.detach(), samples.normal.detach(), samples.direction, strict=True):
        expected += float(weight * max(0.0, float(normal @ direction)) ** 2)
    assert abs(value.item() - expected / 24) < 1e-5
    value.backward()
    assert samples.weights.grad is None
    facing = (samples.normal * samples.direction).sum(-1) < 0
    assert facing.any() and not samples.normal.grad[facing].any() and samples.normal.grad[~facing].any()


def test_orientation_without_normals_is_an_error_that_names_it():
    flat = RenderOutput(torch.zeros(1, 3, 4, 3), torch.zeros(1, 3, 4, 1), torch.zeros(1, 3, 4, 1))
    with pytest.raises(UserError, match="orientation"):
        TERMS[0](flat, batch(1))


def level(opacity):
    filled = torch.full((2, 3, 4, 1), opacity, requires_grad=True)
    return RenderOutput(torch.zeros(2, 3, 4, 3), filled, filled)


def test_sparsity_of_a_constant_opacity():
    for opacity in (0.0, 0.5, 1.0):
        assert torch.allclose(TERMS[1](level(opacity), batch(2)), torch.tensor((opacity**2 + 0.01) ** 0.5))


def test_opaqueness_is_largest_halfway_and_finite_at_the_ends():
    assert torch.allclose(TERMS[2](level(0.5), batch(2)), torch.tensor(log(2)))
    for opacity in (0.0, 1.0):
        end = level(opacity)
        value = TERMS[2](end, batch(2))
        value.backward()
        assert value < 0.01 and torch.isfinite(end.opacity.grad).all()
