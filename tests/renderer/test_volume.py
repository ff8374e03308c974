from dataclasses import replace
from math import pi

import pytest
import torch
from scenes import Ball, Rendered, small_field, volume

from threefusion.background.environment import Environment
from threefusion.background.settings import EnvironmentConfig, SolidConfig
from threefusion.background.solid import Solid
from threefusion.camera.orbit import orbit_views
from threefusion.camera.orbital import OrbitalCameras
from threefusion.camera.projection import camera_rays
from threefusion.camera.settings import OrbitalConfig
from threefusion.errors import UserError
from threefusion.geometry.canvas import Canvas
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import CanvasConfig
from threefusion.loss.orientation import Orientation
from threefusion.loss.settings import OrientationConfig
from threefusion.renderer.image import Image
from threefusion.renderer.settings import ImageConfig
from threefusion.types import Scene, Shading, ViewBatch


def views(count=3, size=8, **settings):
    return orbit_views(count, 0.3, 2.2, 0.8, size, size, **settings)


def chord(batch, size):
    rays = camera_rays(batch.camera)
    closest = torch.linalg.cross(rays.origins, rays.directions).norm(dim=-1)
    return 2 * (size**2 - closest**2).clamp_min(0).sqrt()


def test_a_ball_of_constant_density_is_as_opaque_as_its_chords():
    batch = views(size=16)
    out = volume(Ball(density=2.0, size=0.6), samples_per_ray=512)(batch)
    expected = (1 - (-2.0 * chord(batch, 0.6)).exp()).reshape(out.opacity.shape)
    assert (out.opacity - expected).abs().max() < 0.02
    assert torch.allclose(out.image, 0.5 * out.opacity.expand_as(out.image), atol=1e-6)


def test_depth_and_normal_of_an_opaque_ball():
    batch = views(size=16)
    out = volume(Ball(density=1000.0, size=0.6), samples_per_ray=1024)(batch, normals=True)
    rays = camera_rays(batch.camera)
    seen = chord(batch, 0.6) > 0.2
    middle = -(rays.origins * rays.directions).sum(-1)
    distance = middle - chord(batch, 0.6) / 2
    assert (out.depth.flatten() - distance)[seen].abs().max() < 0.01
    surface = rays.origins + rays.directions * distance[:, None]
    assert (out.normal.reshape(-1, 3) - surface / 0.6)[seen].abs().max() < 0.05
    lengths = out.normal.norm(dim=-1)
    fog = volume(Ball(density=0.002, size=0.6))(batch, normals=True)
    assert fog.opacity.any() and not fog.normal.any()
    assert torch.allclose(lengths[out.opacity[..., 0] > 0.5], torch.tensor(1.0)) and not lengths[out.opacity[..., 0] == 0].any()


def test_transparency_shows_the_background():
    white = volume(Ball(), background=Solid(SolidConfig(color="#ffffff")))(views())
    black = volume(Ball())(views())
    assert torch.allclose(white.image - black.image, (1 - white.opacity).expand_as(white.image), atol=1e-6)


def test_rotating_the_scene_is_rotating_the_camera():
    turn = 2 * pi / 3
    rotation = torch.tensor(
        [
            [torch.tensor(turn).cos(), -torch.tensor(turn).sin(), 0],
            [torch.tensor(turn).sin(), torch.tensor(turn).cos(), 0],
            [0, 0, 1],
        ]
    )
    center = torch.tensor([0.3, 0.1, 0.2])
    still = volume(Ball(size=0.4, center=center.tolist(), features=lambda p: 4 * p))
    turned = volume(Ball(size=0.4, center=(rotation @ center).tolist(), features=lambda p: 4 * p @ rotation))
    before, after = still(views(3)), turned(views(3))
    # view i + 1 of three stands one turn further than view i
    assert torch.allclose(after.image.roll(-1, 0), before.image, atol=1e-4)
    assert before.image.std() > 0.05


@pytest.mark.parametrize("sampler", ["uniform", "occupancy"])
@pytest.mark.parametrize("random", [False, True])
def test_a_batch_equals_its_views_one_by_one(sampler, random):
    cameras = OrbitalCameras(OrbitalConfig(height=8, width=8, albedo_steps=0, lit_probability=1.0))
    background = Environment(EnvironmentConfig())
    rendered = volume(small_field(), sampler, 16, background)
    whole = rendered(cameras.sample(5, 0, torch.arange(4)), normals=True, random=random)
    for view in range(4):
        alone = rendered(cameras.sample(5, 0, torch.tensor([view])), normals=True, random=random)
        for name in ("image", "opacity", "depth", "normal"):
            assert torch.allclose(getattr(whole, name)[view], getattr(alone, name)[0], atol=1e-5)


def test_chunks_change_nothing():
    field, background = small_field(), Environment(EnvironmentConfig())
    batch = views(shading=Shading.LIT)
    with torch.no_grad():
        whole = volume(field, background=background)(batch, samples=True)
        pieces = volume(field, background=background, rays_per_chunk=50)(batch, samples=True)
    for name in ("image", "opacity", "depth", "normal"):
        assert torch.allclose(getattr(whole, name), getattr(pieces, name), atol=1e-6)
    assert torch.allclose(whole.samples.weights, pieces.samples.weights)
    assert torch.equal(whole.samples.view_index, pieces.samples.view_index)


@pytest.mark.parametrize("encoding", ["dense-grid", "integrated"])
def test_computing_activations_again_changes_no_gradient(encoding):
    batch = views(shading=Shading.LIT)
    found = []
    for size in (10**6, 1000):
        rendered = volume(small_field(encoding, network="residual"), samples_per_ray=24, samples_per_chunk=size)
        out = rendered(batch, samples=True)
        (out.image.square().mean() + Orientation(OrientationConfig())(out, batch)).backward()
        found.append([out.image, out.normal, *(parameter.grad for parameter in rendered.scene.parameters())])
    for whole, pieces in zip(*found, strict=True):
        assert torch.allclose(whole, pieces, atol=1e-6)


def test_culling_with_an_up_to_date_grid_does_not_change_the_image():
    rendered = volume(small_field(), "occupancy", sampling={"resolution": 16, "threshold": 1e-4})
    batch = views(size=16)
    before = rendered(batch)
    count = len(rendered.renderer.sampler(rendered.scene.geometry.radius, camera_rays(batch.camera), batch, False).t_start)
    for step in range(0, 256, 16):
        rendered.update(step)
    assert (
        len(rendered.renderer.sampler(rendered.scene.geometry.radius, camera_rays(batch.camera), batch, False).t_start)
        < 0.8 * count
    )
    assert (rendered(batch).image - before.image).abs().max() < 0.01


def test_pruning_drops_samples_that_weigh_next_to_nothing():
    batch = views(size=16, shading=Shading.LIT)
    with torch.no_grad():
        whole = volume(Ball(density=50.0))(batch, samples=True)
        pruned = volume(Ball(density=50.0), prune_below=1e-3)(batch, samples=True)
    assert len(pruned.samples.weights) < 0.3 * len(whole.samples.weights)
    assert (pruned.image - whole.image).abs().max() < 0.02


def test_normals_are_given_when_a_view_is_lit_or_when_they_are_wanted():
    rendered = volume(small_field())
    assert rendered(views()).normal is None and rendered(views()).samples is None
    for out in (rendered(views(), normals=True), rendered(views(shading=Shading.TEXTURELESS))):
        assert out.normal.shape == (3, 8, 8, 3) and out.samples is None


@pytest.mark.parametrize("grad", [True, False])
def test_samples_are_given_whenever_they_are_wanted(grad):
    rendered = volume(small_field(), rays_per_chunk=50)
    with torch.set_grad_enabled(grad):
        plain, lit = rendered(views(), samples=True).samples, rendered(views(), samples=True, normals=True).samples
    assert plain.normal is None and torch.equal(plain.weights, lit.weights)
    assert lit.normal.shape == lit.direction.shape == plain.direction.shape


def test_a_pixel_has_a_normal_from_one_percent_opacity_on():
    """Just above and just below the threshold, through the middle of a ball whose normals all point the same way."""

    class Combed(Ball):
        def forward(self, points, normals, covariance=None):
            return replace(super().forward(points, normals), normal=torch.tensor([1.0, 0.0, 0.0]).expand_as(points))

    for opacity, expected in ((0.015, True), (0.007, False)):
        density = -torch.log1p(torch.tensor(-opacity)).item() / 1.2
        out = volume(Combed(density=density, size=0.6), samples_per_ray=256)(orbit_views(1, 0.3, 2.2, 0.01, 1, 1), normals=True)
        assert out.opacity.item() == pytest.approx(opacity, rel=0.05)
        assert bool(out.normal.any()) is expected


def test_a_geometry_without_normals_is_an_error_that_says_what_to_do():
    class Bare(Ball):
        def forward(self, points, normals, covariance=None):
            return super().forward(points, False)

    rendered = volume(Bare())
    assert rendered(views()).opacity.any()
    with pytest.raises(UserError, match="lit_probability"):
        rendered(views(), normals=True)


def test_cones_reach_the_integrated_encoding():
    rendered = volume(small_field("integrated", blob="none"))
    coarse, fine = rendered(views(1, size=2)), rendered(views(1, size=32))
    plain = volume(small_field("integrated", blob="none"))
    plain.scene.geometry.needs_covariance = False
    # the fewer the pixels, the wider their cones and the smoother what they see
    differences = [(out.image - plain(views(1, size=n)).image).abs().max() for n, out in ((2, coarse), (32, fine))]
    assert differences[0] > 5 * differences[1]


def away(batch: ViewBatch) -> ViewBatch:
    c2w = batch.camera.c2w.clone()
    c2w[:, :3, :3] = c2w[:, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    return replace(batch, camera=replace(batch.camera, c2w=c2w))


@pytest.mark.parametrize("sampler", ["uniform", "occupancy"])
@pytest.mark.parametrize("encoding", ["dense-grid", "integrated"])
def test_views_that_miss_everything_show_the_background_and_train(sampler, encoding):
    rendered = volume(small_field(encoding), sampler, background=Solid(SolidConfig(color="#336699", learned=True)))
    batch = away(views(2, shading=Shading.LIT))
    out = rendered(batch, normals=True, samples=True)
    assert not out.opacity.any() and torch.allclose(out.image, torch.tensor([0.2, 0.4, 0.6]).expand(2, 8, 8, 3))
    loss = out.image.sum() + Orientation(OrientationConfig())(out, batch)
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in rendered.scene.geometry.parameters())


def test_every_parameter_learns_from_lit_views():
    rendered = volume(small_field(), background=Environment(EnvironmentConfig(random_probability=0.0)))
    batch = views(shading=Shading.LIT)
    out = rendered(batch, samples=True)
    (out.image.square().mean() + Orientation(OrientationConfig())(out, batch)).backward()
    for name, parameter in rendered.scene.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), name


def test_a_renderer_owns_nothing_of_the_scene():
    names = set(volume(small_field(), "occupancy").renderer.state_dict())
    assert {name.split(".")[0] for name in names} == {"sampler", "pruning"}


def test_the_image_renderer_shows_the_canvas_and_has_no_normals():
    canvas = Canvas(CanvasConfig(), BuildContext(3))
    rendered = Rendered(Scene(canvas, None, Solid(SolidConfig())), Image(ImageConfig()))
    out = rendered(views(2))
    assert out.image.shape == (2, 64, 64, 3) and (out.opacity == 1).all()
    out.image.sum().backward()
    assert torch.allclose(canvas.pixels.grad, torch.full((1, 64, 64, 3), 0.5))
    with pytest.raises(UserError, match="normals"):
        rendered(views(2), normals=True)


def test_a_few_steps_of_descent_paint_the_target():
    rendered = volume(small_field(), "occupancy", 24)
    cameras = OrbitalCameras(OrbitalConfig(height=12, width=12))
    target = torch.tensor([0.9, 0.2, 0.1])
    optimiser = torch.optim.Adam(rendered.scene.parameters(), 0.05)
    losses = []
    for step in range(30):
        rendered.update(step)
        out = rendered(cameras.sample(step, 0, torch.arange(4)))
        loss = (out.image - target * out.opacity.detach()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_half_precision_networks_give_single_precision_images():
    rendered = volume(small_field())
    batch = views(shading=Shading.LIT)
    whole = rendered(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = rendered(batch)
    assert half.image.dtype == half.opacity.dtype == half.normal.dtype == torch.float32
    assert (half.image - whole.image).abs().max() < 0.05
    half.image.mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in rendered.scene.parameters())
