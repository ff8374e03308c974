from dataclasses import replace
from math import log

import pytest
import torch

from threefusion.camera.orbit import orbit_views
from threefusion.errors import UserError
from threefusion.loss.eikonal import Eikonal
from threefusion.loss.normal_smoothness import NormalSmoothness2d, NormalSmoothness3d
from threefusion.loss.opaqueness import Opaqueness
from threefusion.loss.orientation import Orientation
from threefusion.loss.settings import (
    EikonalConfig,
    NormalSmoothness2dConfig,
    NormalSmoothness3dConfig,
    OpaquenessConfig,
    OrientationConfig,
    SparsityConfig,
    ZVarianceConfig,
)
from threefusion.loss.sparsity import Sparsity
from threefusion.loss.z_variance import ZVariance
from threefusion.types import RenderedSamples, RenderOutput

TERMS = [
    Orientation(OrientationConfig()),
    Sparsity(SparsityConfig()),
    Opaqueness(OpaquenessConfig()),
    Eikonal(EikonalConfig()),
    ZVariance(ZVarianceConfig()),
    NormalSmoothness2d(NormalSmoothness2dConfig()),
    NormalSmoothness3d(NormalSmoothness3dConfig()),
]


def batch(views):
    return orbit_views(views, 0.2, 2.0, 0.8, 3, 4)


def render(views=2, seed=0, per_view=30):
    generator = torch.Generator().manual_seed(seed)
    opacity = torch.rand(views, 3, 4, 1, generator=generator).requires_grad_()
    normal, direction = torch.nn.functional.normalize(torch.randn(2, views * per_view, 3, generator=generator), dim=-1)
    weights = torch.rand(views * per_view, generator=generator).requires_grad_()
    ray_index = torch.randint(12, (views, per_view), generator=generator).sort().values + 12 * torch.arange(views)[:, None]
    gradient, nearby = torch.randn(2, views * per_view, 3, generator=generator).requires_grad_()
    where = (direction, torch.arange(views).repeat_interleave(per_view), ray_index.flatten())
    t = 1 + torch.rand(views * per_view, generator=generator)
    samples = RenderedSamples(weights, normal.requires_grad_(), *where, t, 12 * views, gradient, nearby)
    image = torch.nn.functional.normalize(torch.randn(views, 3, 4, 3, generator=generator), dim=-1).requires_grad_()
    return RenderOutput(torch.zeros(views, 3, 4, 3), opacity, opacity, image, samples=samples)


def one_view(whole, view):
    part = whole.samples.view_index == view
    samples = whole.samples.select(part.nonzero()[:, 0])
    samples = replace(samples, view_index=0 * samples.view_index, ray_index=samples.ray_index - 12 * view, rays=12)
    cut = slice(view, view + 1)
    return RenderOutput(whole.image[cut], whole.opacity[cut], whole.depth[cut], whole.normal[cut], samples=samples)


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


@pytest.mark.parametrize(
    ("index", "name"),
    [(0, "orientation"), (3, "eikonal"), (4, "z-variance"), (5, "normal-smoothness-2d"), (6, "normal-smoothness-3d")],
)
def test_a_term_without_what_it_needs_is_an_error_that_names_it(index, name):
    flat = RenderOutput(torch.zeros(1, 3, 4, 3), torch.zeros(1, 3, 4, 1), torch.zeros(1, 3, 4, 1))
    with pytest.raises(UserError, match=f"'{name}'"):
        TERMS[index](flat, batch(1))


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


def with_samples(**changed):
    whole = render(1, per_view=4)
    return replace(whole, samples=replace(whole.samples, **changed))


def test_eikonal_of_known_gradients():
    gradient = torch.tensor([[1.0, 0, 0], [0, 3.0, 0], [0, 0, 0], [0, 0, -1.0]], requires_grad=True)
    value = TERMS[3](with_samples(gradient=gradient), batch(1))
    value.backward()
    assert abs(value.item() - (0 + 4 + 1 + 0) / 4) < 1e-5 and gradient.grad.isfinite().all()


def test_z_variance_of_two_slabs_and_of_one_and_transparent_rays_do_not_count():
    weights = torch.tensor([0.4, 0.4, 0.9, 0.2], requires_grad=True)
    rays, t = torch.tensor([2, 2, 5, 7]), torch.tensor([1.0, 2.0, 1.5, 1.0])
    value = TERMS[4](with_samples(weights=weights, ray_index=rays, t=t), batch(1))
    assert abs(value.item() - (0.25 + 0) / 2) < 1e-5


def test_normal_smoothness_in_the_image_leaves_out_pairs_across_a_silhouette():
    normal = torch.zeros(1, 3, 4, 3)
    normal[:, :, :2, 0] = normal[:, :, 2:, 1] = 1
    opacity = torch.ones(1, 3, 4, 1)
    whole = RenderOutput(normal, opacity, opacity, normal)
    assert torch.allclose(TERMS[5](whole, batch(1)), torch.tensor(3 * 2.0 / 17))
    opacity = opacity.clone()
    opacity[:, :, 2] = 0
    assert TERMS[5](RenderOutput(normal, opacity, opacity, normal), batch(1)) == 0


def test_normal_smoothness_in_space_by_weight_without_a_gradient_to_it():
    axes = torch.eye(3)[[0, 0, 1, 1]]
    weights = torch.tensor([0.5, 0.0, 0.25, 1.0], requires_grad=True)
    whole = with_samples(weights=weights, normal=axes.requires_grad_(), nearby_normal=torch.eye(3)[[0, 1, 0, 1]])
    value = TERMS[6](whole, batch(1))
    value.backward()
    assert abs(value.item() - 0.25 * (2 / 3) / 12) < 1e-6 and weights.grad is None
