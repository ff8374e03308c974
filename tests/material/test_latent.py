"""Latents are rendered as colours are, and reach a prior without its encoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from threefusion.background.settings import SolidConfig
from threefusion.camera.orbit import orbit_views
from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.geometry.geometry import BuildContext
from threefusion.material.latent import COLORS_OF_LATENTS, LatentMaterial
from threefusion.material.settings import LatentConfig
from threefusion.registry import build
from threefusion.testing.samples import small_ball
from threefusion.types import FieldSample, Lights, RenderOutput, Scene

SHAPES = {
    "volume": ("voxel-grid", {"resolution": 8, "radius": 0.5}, {}),
    "rasterizer": ("tetrahedra", {"resolution": 16, "radius": 0.5}, {}),
    "patch": ("voxel-grid", {"resolution": 8, "radius": 0.5}, {"size": 4}),
}
VIEWS = orbit_views(2, 0.3, 2.0, 0.8, 8, 8)


def render(renderer, background="#ff8000"):
    """Two views of a small scene whose features are random."""
    geometry, shape, settings = SHAPES[renderer]
    material = build(LatentConfig())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = build(settings_class("geometry", geometry)(**shape), BuildContext(material.feature_width, surface=small_ball))
        for parameter in built.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    scene = Scene(built, material, build(SolidConfig(color=background)))
    return scene, build(settings_class("renderer", renderer)(**settings))(scene, VIEWS)


def test_colours_of_a_background_are_shown_again():
    color = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    material = build(LatentConfig())
    torch.testing.assert_close(material.shown(material.behind(color)), color, atol=1e-5, rtol=0)


def test_the_first_latent_brightens_and_the_colour_is_the_known_one():
    """Kevin Turner's factors give colours in [-1, 1]."""
    shown = build(LatentConfig()).shown(torch.tensor([[0.0, 0, 0, 0], [1.0, 0, 0, 0]]))
    torch.testing.assert_close(shown, torch.tensor([[0.5, 0.5, 0.5], [0.5 + 0.298 / 2, 0.5 + 0.207 / 2, 0.5 + 0.208 / 2]]))
    assert torch.tensor(COLORS_OF_LATENTS).shape == (4, 3)


@pytest.mark.parametrize("renderer", [*SHAPES])
def test_a_render_has_latents_and_the_colours_that_they_are_shown_as(renderer):
    scene, seen = render(renderer)
    assert seen.latents.shape == (2, 8, 8, 4) and seen.image.shape == (2, 8, 8, 3)
    torch.testing.assert_close(seen.image, scene.material.shown(seen.latents))
    empty = seen.opacity[..., 0] < 1e-6
    assert empty.any() and (seen.opacity > 0.5).any()
    torch.testing.assert_close(
        seen.image[empty], torch.tensor([1.0, 128 / 255, 0]).expand(int(empty.sum()), 3), atol=1e-4, rtol=0
    )
    seen.latents.sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in scene.geometry.parameters())


def test_what_is_exported_is_what_is_shown():
    material = build(LatentConfig())
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    light = Lights(*(torch.zeros(5, 3) for _ in range(3)))
    latents = material(FieldSample(features), light, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(latents, features)
    assert torch.equal(material.textures(FieldSample(features))["base_color"], material.shown(features).clamp(0, 1))


@pytest.fixture
def objective(monkeypatch):
    """Score distillation on a prior over latents of 4 channels, whose encoder is not to be called."""
    prior = build(settings_class("prior", "gaussian")(image_size=8))
    monkeypatch.setattr(type(prior), "shape", (4, 8, 8), raising=False)
    monkeypatch.setattr(type(prior), "encode", lambda *given: pytest.fail("encoded"))
    return build(settings_class("guidance", "sds")(input="latents"), prior)


def test_latents_are_not_encoded(objective):
    _, seen = render("volume")
    assert torch.equal(objective.encode(objective.image(seen), VIEWS), seen.latents.permute(0, 3, 1, 2))


def test_without_the_material_or_a_prior_of_as_many_channels_it_is_one_line(objective, monkeypatch):
    _, seen = render("volume")
    with pytest.raises(UserError, match="latents are rendered with material=latent alone"):
        objective.image(replace(seen, latents=None))
    monkeypatch.setattr(type(objective.prior), "shape", (3, 8, 8))
    with pytest.raises(UserError, match="renders 4 channels, the prior has 3"):
        objective.encode(seen.latents, VIEWS)
    with pytest.raises(ValueError, match="image_weight: not with input latents"):
        settings_class("guidance", "hifa")(input="latents")


def test_a_material_of_colours_leaves_renders_alone():
    seen = RenderOutput(torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 1), torch.zeros(1, 2, 2, 1))
    diffuse = build(settings_class("material", "diffuse")())
    assert diffuse.developed(seen) is seen and diffuse.channels == 3 and LatentMaterial.channels == 4
