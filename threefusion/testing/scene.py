"""Contracts of what a scene consists of: encoding, geometry, material, background, sampler, renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from threefusion.config import Choice, choose
from threefusion.errors import UserError
from threefusion.geometry.geometry import CanvasGeometry
from threefusion.registry import build
from threefusion.testing.samples import small_scene, views
from threefusion.types import FieldSample, Lights, Rays, Shading

POINTS = 12


def seeded(seed: int) -> torch.Generator:
    """A generator for made-up input."""
    return torch.Generator().manual_seed(seed)


def cube_points(count: int = POINTS) -> Tensor:
    """Points in [-1, 1]^3."""
    return 2 * torch.rand(count, 3, generator=seeded(0)) - 1


def unit_vectors(count: int = POINTS, seed: int = 1) -> Tensor:
    """Directions all round."""
    return nn.functional.normalize(torch.randn(count, 3, generator=seeded(seed)), dim=-1)


def seeded_build(choice: Choice, *dependencies: object, seed: int = 0) -> Any:
    """A component with initial parameters that follow from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(choice, *dependencies)


def assert_finite(values: Iterable[Tensor | None], what: str) -> None:
    """No NaN, no infinity."""
    for value in values:
        assert value is None or value.isfinite().all(), f"{what}: not finite"


def assert_finite_gradients(module: nn.Module, output: Tensor, what: str) -> None:
    """Gradients that reach trainable parameters are finite, and where there are parameters, at least one is reached."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        return
    assert output.requires_grad, f"{what}: no gradient reaches the parameters"
    gradients = torch.autograd.grad(output.float().square().sum(), parameters, allow_unused=True)
    assert_finite(gradients, f"gradient of {what}")
    assert any(gradient is not None for gradient in gradients), f"{what}: no parameter receives a gradient"


def assert_state_round_trip(make: Callable[[int], nn.Module], ask: Callable[[Any], Tensor], what: str) -> None:
    """A second instance that loads the first one's `state_dict` answers alike."""
    first, second = make(0).eval(), make(1).eval()
    second.load_state_dict(first.state_dict())
    assert torch.equal(ask(first), ask(second)), f"{what}: its state_dict does not hold everything"
    for name, value in first.state_dict().items():
        assert isinstance(value, Tensor), f"{what}: {name} in its state_dict is no tensor"


def check_encoding(choice: Choice) -> None:
    """[N 3] -> [N width]."""
    encoding = seeded_build(choice)
    points = cube_points().requires_grad_()
    covariance = torch.full((POINTS, 3), 1e-3) if encoding.needs_covariance else None
    encoded = encoding(points, covariance)
    assert encoded.shape == (POINTS, encoding.width), f"encoding: {tuple(encoded.shape)} is not [N width={encoding.width}]"
    assert_finite([encoded, *torch.autograd.grad(encoded.square().sum(), points, retain_graph=True)], "encoding")
    assert_finite_gradients(encoding, encoded, "encoding")
    assert encoding(points[:0], None if covariance is None else covariance[:0]).shape == (0, encoding.width), (
        "encoding: empty input"
    )
    assert_state_round_trip(lambda seed: seeded_build(choice, seed=seed), lambda made: made(points, covariance), "encoding")


def check_geometry(choice: Choice) -> None:
    """Fields answer at points, canvases show a picture."""
    geometry = seeded_build(choice, 3)
    if isinstance(geometry, CanvasGeometry):
        picture = geometry.canvas()
        assert picture.ndim == 3 and picture.shape[-1] == 3, "geometry: a canvas is [H W 3]"
        assert ((picture >= 0) & (picture <= 1)).all(), "geometry: a canvas holds colours in [0, 1]"
        assert_finite_gradients(geometry, picture, "geometry")
        assert_state_round_trip(lambda seed: seeded_build(choice, 3, seed=seed), lambda made: made.canvas(), "geometry")
        return
    points = 0.5 * geometry.radius * cube_points()
    covariance = torch.full((POINTS, 3), 1e-3) if geometry.needs_covariance else None
    sample = geometry(points, True, covariance)
    assert sample.features.shape == (POINTS, 3), "geometry: it has to give as many features as the material asks for"
    assert sample.normal is not None and sample.normal.shape == (POINTS, 3), "geometry: normals were asked for"
    length = sample.normal.norm(dim=-1)
    assert torch.allclose(length, torch.ones_like(length), atol=1e-3), "geometry: normals have unit length"
    assert_finite([sample.features, sample.density, sample.sdf, sample.normal], "geometry")
    assert_finite_gradients(geometry, torch.cat([sample.features, sample.normal], -1), "geometry")
    if sample.density is not None:
        assert (sample.density >= 0).all(), "geometry: density is at least 0"
        assert (geometry.density(2 * geometry.radius * unit_vectors()) == 0).all(), "geometry: density is 0 outside the ball"
    empty = geometry(points[:0], True, None if covariance is None else covariance[:0])
    assert empty.features.shape == (0, 3), "geometry: empty input"
    assert_state_round_trip(lambda seed: seeded_build(choice, 3, seed=seed), lambda made: made.density(points), "geometry")


def check_material(choice: Choice) -> None:
    """Features and light -> colours, in each way of shading."""
    material = seeded_build(choice)
    features = torch.randn(POINTS, material.feature_width, generator=seeded(2), requires_grad=True)
    sample = FieldSample(features, density=torch.ones(POINTS, 1), normal=unit_vectors(), points=0.5 * cube_points())
    light = Lights(2 * unit_vectors(seed=3), torch.full((POINTS, 3), 0.9), torch.full((POINTS, 3), 0.1))
    for shading in Shading:
        modes = torch.full((POINTS,), int(shading))
        assert isinstance(material.needs_normal(modes), bool), "material: needs_normal answers with a bool"
        color = material(sample, unit_vectors(seed=4), light, modes)
        assert color.shape == (POINTS, 3), "material: colours are [N 3]"
        assert_finite([color, *torch.autograd.grad(color.sum(), features, allow_unused=True)], "material")
    textures = material.textures(sample)
    assert "base_color" in textures, "material: an exporter needs base_color"
    assert ((textures["base_color"] >= 0) & (textures["base_color"] <= 1)).all(), "material: base_color lies in [0, 1]"
    nothing = FieldSample(features[:0], density=torch.ones(0, 1), normal=torch.zeros(0, 3), points=torch.zeros(0, 3))
    dark = Lights(*(torch.zeros(0, 3) for _ in range(3)))
    assert material(nothing, torch.zeros(0, 3), dark, torch.zeros(0, dtype=torch.int64)).shape == (0, 3), "material: empty input"


def check_background(choice: Choice) -> None:
    """Directions -> colours; steady in evaluation."""
    background = seeded_build(choice)
    batch, directions, view_index = views(), unit_vectors(), torch.arange(POINTS) % 2
    for training in (True, False):
        color = background.train(training)(directions, view_index, batch)
        assert color.shape == (POINTS, 3), "background: colours are [R 3]"
        assert ((color >= 0) & (color <= 1)).all(), "background: colours lie in [0, 1]"
        assert torch.equal(color, background(directions, view_index, batch)), "background: all randomness comes from the batch"
    assert_finite_gradients(background, background(directions, view_index, batch), "background")
    assert background(directions[:0], view_index[:0], batch).shape == (0, 3), "background: empty input"
    ask = lambda made: made(directions, view_index, batch)  # noqa: E731 (a question, twice)
    assert_state_round_trip(lambda seed: seeded_build(choice, seed=seed), ask, "background")


def check_sampler(choice: Choice) -> None:
    """Rays -> stretches inside the ball, sorted; none on rays that miss."""
    geometry = small_scene().geometry
    sampler = seeded_build(choice, geometry)
    batch = views()
    rays = batch.camera.rays()
    for training in (True, False):
        samples = sampler.train(training)(rays, batch)
        assert len(samples.t_start) > 0, "sampler: rays through the middle of the scene have samples"
        assert (samples.t_start < samples.t_end).all(), "sampler: stretches have a positive length"
        order = samples.ray_index.double() * 1e3 + samples.t_start
        assert (order.diff() >= 0).all(), "sampler: sorted by ray, then distance"
        middle = rays.origins[samples.ray_index] + samples.t_mid[:, None] * rays.directions[samples.ray_index]
        assert (middle.norm(dim=-1) <= geometry.radius * 1.001).all(), "sampler: samples lie in the ball"
        again = sampler(rays, batch)
        assert torch.equal(samples.t_start, again.t_start), "sampler: all randomness comes from the batch"
    away = Rays(3 * rays.directions, rays.directions, rays.radii, rays.view_index)
    assert len(sampler(away, batch).t_start) == 0, "sampler: rays that miss have no samples"


def check_renderer(choice: Choice) -> None:
    """Views -> images, with gradients to the scene."""
    try:
        scene = small_scene(renderer=choice)
    except UserError:  # a renderer of flat scenes
        scene = small_scene(geometry=choose("geometry", "image"), renderer=choice)
    canvas = isinstance(scene.geometry, CanvasGeometry)
    batch = views(size=16)
    for normals in (False,) if canvas else (False, True):
        render = scene.renderer(batch, normals=normals)
        channels = 4 if render.space == "latent" else 3
        size = tuple(scene.geometry.canvas().shape[:2]) if canvas else (16, 16)  # a picture has a size of its own
        assert render.image.shape == (2, *size, channels), "renderer: images are [B H W C]"
        assert render.opacity.shape == render.depth.shape == (2, *size, 1), "renderer: opacity and depth are [B H W 1]"
        assert ((render.opacity >= 0) & (render.opacity <= 1 + 1e-5)).all(), "renderer: opacity lies in [0, 1]"
        assert_finite([render.image, render.opacity, render.depth, render.normal], "renderer")
        assert_finite_gradients(scene.renderer, render.image, "renderer")
    if not canvas:
        assert render.normal is not None and render.normal.shape == (2, 16, 16, 3), "renderer: normals were asked for"
    single = torch.cat([scene.renderer(views(1, 16, first)).image for first in range(2)])
    assert torch.allclose(single, scene.renderer(batch).image, atol=1e-5), "renderer: a view does not depend on the others"


CONTRACTS: dict[str, Callable[[Choice], None]] = {
    "encoding": check_encoding,
    "geometry": check_geometry,
    "material": check_material,
    "background": check_background,
    "sampler": check_sampler,
    "renderer": check_renderer,
}
"""By kind."""
