"""Contracts of encoding, geometry, material, background, sampler and renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from threefusion.camera.projection import camera_rays
from threefusion.config import Settings
from threefusion.geometry.geometry import BuildContext, Geometry, HasCanvas, HasDensity, HasDistance, HasSurface
from threefusion.geometry.settings import CanvasConfig, SdfFieldConfig, TetrahedraConfig
from threefusion.renderer.renderer import Renderer
from threefusion.testing.samples import POINTS, cube_points, seeded, seeded_build, small_ball, small_scene, unit_vectors, views
from threefusion.types import FieldSample, Lights, Rays, Scene, Shading, Want


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


def assert_state_round_trip(make: Callable[[int], nn.Module], evaluate: Callable[[Any], Tensor], what: str) -> None:
    """A second instance that loads the first one's `state_dict` returns the same."""
    first, second = make(0).eval(), make(1).eval()
    second.load_state_dict(first.state_dict())
    assert torch.equal(evaluate(first), evaluate(second)), f"{what}: its state_dict is incomplete"
    for name, value in first.state_dict().items():
        assert isinstance(value, Tensor), f"{what}: {name} in its state_dict is not a tensor"


def check_encoding(cfg: Settings) -> None:
    """[N 3] -> [N width]."""
    encoding = seeded_build(cfg)
    points = cube_points().requires_grad_()
    covariance = torch.full((POINTS, 3), 1e-3) if encoding.needs_covariance else None
    encoded = encoding(points, covariance)
    assert encoded.shape == (POINTS, encoding.width), f"encoding: {tuple(encoded.shape)} is not [N width={encoding.width}]"
    assert_finite([encoded, *torch.autograd.grad(encoded.square().sum(), points, retain_graph=True)], "encoding")
    assert_finite_gradients(encoding, encoded, "encoding")
    assert encoding(points[:0], None if covariance is None else covariance[:0]).shape == (0, encoding.width), (
        "encoding: empty input"
    )
    assert_state_round_trip(lambda seed: seeded_build(cfg, seed=seed), lambda made: made(points, covariance), "encoding")


def check_geometry(cfg: Settings) -> None:
    """It has a capability and fulfils its contract."""

    def make(seed: int) -> Geometry:
        return seeded_build(cfg, BuildContext(feature_width=3, surface=small_ball), seed=seed)

    geometry = make(0)
    capabilities = [capability for capability in CAPABILITIES if isinstance(geometry, capability)]
    assert capabilities, f"geometry: it has none of the capabilities {', '.join(known.__name__ for known in CAPABILITIES)}"
    for capability in capabilities:
        CAPABILITIES[capability](geometry, make)


def check_canvas(geometry: HasCanvas, make: Callable[[int], HasCanvas]) -> None:
    """A picture with colours in [0, 1]."""
    picture = geometry.canvas()
    assert picture.ndim == 4 and picture.shape[-1] == 3, "geometry: a canvas is [N H W 3]"
    assert ((picture >= 0) & (picture <= 1)).all(), "geometry: a canvas holds colours in [0, 1]"
    assert_finite_gradients(geometry, picture, "geometry")
    assert_state_round_trip(make, lambda made: made.canvas(), "geometry")


def check_density(geometry: HasDensity, make: Callable[[int], HasDensity]) -> None:
    """Points -> density, features and unit normals."""
    points = 0.5 * geometry.radius * cube_points()
    covariance = torch.full((POINTS, 3), 1e-3) if geometry.needs_covariance else None
    sample = geometry(points, True, covariance)
    assert sample.features.shape == (POINTS, 3), "geometry: returns feature_width features"
    assert sample.normal is not None and sample.normal.shape == (POINTS, 3), "geometry: normals were requested"
    length = sample.normal.norm(dim=-1)
    assert torch.allclose(length, torch.ones_like(length), atol=1e-3), "geometry: normals have unit length"
    assert_finite([sample.features, sample.density, sample.normal], "geometry")
    assert_finite_gradients(geometry, torch.cat([sample.features, sample.normal], -1), "geometry")
    assert (sample.density >= 0).all(), "geometry: density is at least 0"
    assert torch.allclose(geometry.density(points, covariance), sample.density), "geometry: density() and forward() agree"
    assert torch.allclose(geometry.features(points, covariance), sample.features), "geometry: features() and forward() agree"
    assert (geometry.density(2 * geometry.radius * unit_vectors()) == 0).all(), "geometry: density is 0 outside the ball"
    empty = geometry(points[:0], True, None if covariance is None else covariance[:0])
    assert empty.features.shape == (0, 3), "geometry: empty input"
    assert_state_round_trip(make, lambda made: made.density(points), "geometry")


def check_distance(geometry: HasDistance, make: Callable[[int], HasDistance]) -> None:
    """Points -> signed distance with its gradient, features and unit normals."""
    points = 0.5 * geometry.radius * cube_points()
    sample = geometry(points, True)
    assert sample.features.shape == (POINTS, 3), "geometry: returns feature_width features"
    shapes = [None if value is None else value.shape for value in (sample.distance, sample.gradient, sample.normal)]
    assert shapes == [(POINTS, 1), (POINTS, 3), (POINTS, 3)], "geometry: distance, gradient and normals were requested"
    length = sample.gradient.norm(dim=-1, keepdim=True)
    assert torch.allclose(sample.normal * length, sample.gradient, atol=1e-3), "geometry: normals are the gradient's directions"
    assert_finite([sample.features, sample.distance, sample.gradient], "geometry")
    assert_finite_gradients(geometry, torch.cat([sample.features, sample.distance, sample.normal], -1), "geometry")
    assert torch.allclose(geometry.distance(points), sample.distance), "geometry: distance() and forward() agree"
    assert torch.allclose(geometry.features(points), sample.features), "geometry: features() and forward() agree"
    far = 2 * geometry.radius * unit_vectors()
    assert (geometry.distance(far) > 0).all(), "geometry: the distance is positive outside the ball"
    assert geometry(points[:0], True).features.shape == (0, 3), "geometry: empty input"
    assert_state_round_trip(make, lambda made: made.distance(points), "geometry")


def check_surface(geometry: HasSurface, make: Callable[[int], HasSurface]) -> None:
    """A mesh inside the ball, with features at its points."""
    mesh = geometry.mesh()
    assert len(mesh.faces) > 0 and 0 <= int(mesh.faces.min()) <= int(mesh.faces.max()) < len(mesh.vertices), (
        "geometry: valid faces"
    )
    assert (mesh.vertices.norm(dim=-1) <= geometry.radius * 1.001).all(), "geometry: the surface lies in the ball"
    features = geometry.features(mesh.vertices)
    assert features.shape == (len(mesh.vertices), 3), "geometry: returns feature_width features"
    assert_finite([mesh.vertices, features], "geometry")
    assert_finite_gradients(geometry, torch.cat([mesh.vertices, features], -1), "geometry")
    assert_state_round_trip(make, lambda made: made.mesh().vertices, "geometry")


CAPABILITIES: dict[type[Geometry], Callable] = {
    HasCanvas: check_canvas,
    HasDensity: check_density,
    HasDistance: check_distance,
    HasSurface: check_surface,
}
"""The contract of each capability."""


def check_material(cfg: Settings) -> None:
    """Features and light -> colours, in each way of shading."""
    material = seeded_build(cfg)
    features = torch.randn(POINTS, material.feature_width, generator=seeded(2), requires_grad=True)
    normal = unit_vectors().requires_grad_()
    axes = torch.linalg.qr(torch.randn(POINTS, 3, 3, generator=seeded(4)))[0]
    density, points, direction = torch.ones(POINTS, 1), 0.5 * cube_points(), unit_vectors(seed=5)
    sample = FieldSample(features, density, normal, points, direction=direction, axes=axes if material.reads_axes else None)
    light = Lights(2 * unit_vectors(seed=3), torch.full((POINTS, 3), 0.9), torch.full((POINTS, 3), 0.1))
    for shading in Shading:
        modes = torch.full((POINTS,), int(shading))
        assert isinstance(material.needs_normal(modes), bool), "material: needs_normal returns a bool"
        color = material(sample, light, modes)
        assert color.shape == (POINTS, material.channels), "material: colours are [N channels]"
        assert_finite([color, *torch.autograd.grad(color.sum(), (features, normal), allow_unused=True)], "material")
    for seen in (sample, FieldSample(features, points=points)):
        check_textures(material.textures(seen), seen)
    nothing = torch.zeros(0, dtype=torch.int64)
    assert material(sample.select(nothing), light.select(nothing), nothing).shape == (0, material.channels), (
        "material: empty input"
    )


TEXTURES = {"base_color", "metallic_roughness", "normal"}
"""Names that exporters know."""


def check_textures(textures: dict[str, Tensor], sample: FieldSample) -> None:
    """Maps by glTF name; a normal map only of samples with normals."""
    assert "base_color" in textures, "material: textures() has base_color"
    assert set(textures) <= TEXTURES, f"material: textures() has names other than {', '.join(sorted(TEXTURES))}"
    for name, value in textures.items():
        assert value.shape == (len(sample.features), 3), f"material: {name} is [N 3]"
        if name != "normal":
            assert ((value >= 0) & (value <= 1)).all(), f"material: {name} lies in [0, 1]"
    if "normal" in textures:
        assert sample.normal is not None, "material: a normal map needs samples with normals"
        length = textures["normal"].norm(dim=-1)
        assert torch.allclose(length, torch.ones_like(length), atol=1e-4), "material: normal is of unit length"


def check_background(cfg: Settings) -> None:
    """Directions -> colours, random only on request."""
    background = seeded_build(cfg)
    batch, directions, view_index = views(), unit_vectors(), torch.arange(POINTS) % 2
    for random in (True, False):
        color = background(directions, view_index, batch, random)
        assert color.shape == (POINTS, 3), "background: colours are [R 3]"
        assert ((color >= 0) & (color <= 1)).all(), "background: colours lie in [0, 1]"
        again = background(directions, view_index, batch, random)
        assert torch.equal(color, again), "background: all randomness comes from the batch"
    assert_finite_gradients(background, background(directions, view_index, batch, False), "background")
    assert background(directions[:0], view_index[:0], batch, True).shape == (0, 3), "background: empty input"
    assert_state_round_trip(
        lambda seed: seeded_build(cfg, seed=seed), lambda made: made(directions, view_index, batch, False), "background"
    )


def check_sampler(cfg: Settings) -> None:
    """Rays -> intervals inside the ball, sorted; none on rays that miss."""
    radius = 1.3
    sampler = seeded_build(cfg)
    batch = views()
    rays = camera_rays(batch.camera)
    for random in (True, False):
        samples = sampler(radius, rays, batch, random)
        assert len(samples.t_start) > 0, "sampler: rays through the middle of the scene have samples"
        assert (samples.t_start < samples.t_end).all(), "sampler: intervals have a positive length"
        order = samples.ray_index.double() * 1e3 + samples.t_start
        assert (order.diff() >= 0).all(), "sampler: sorted by ray, then distance"
        middle = rays.origins[samples.ray_index] + samples.t_mid[:, None] * rays.directions[samples.ray_index]
        assert (middle.norm(dim=-1) <= radius * 1.001).all(), "sampler: samples lie in the ball"
        again = sampler(radius, rays, batch, random)
        assert torch.equal(samples.t_start, again.t_start), "sampler: all randomness comes from the batch"
    away = Rays(3 * rays.directions, rays.directions, rays.radii, rays.view_index)
    assert len(sampler(radius, away, batch, False).t_start) == 0, "sampler: rays that miss have no samples"


def check_renderer(cfg: Settings) -> None:
    """Views -> images, with gradients to the scene and without side effects."""
    scene, renderer = scene_for(cfg)
    canvas = isinstance(scene.geometry, HasCanvas)
    batch = views(size=16)
    size = tuple(scene.geometry.canvas().shape[1:3]) if canvas else (16, 16)  # a canvas has its own size
    wants = [Want(), Want(random=True)] if canvas else [Want(), Want(random=True), Want(normals=True)]
    for want in wants:
        before = {name: value.clone() for name, value in [*scene.state_dict().items(), *renderer.state_dict().items()]}
        render = renderer(scene, batch, want)
        assert render.image.shape == (2, *size, 3), "renderer: images are [B H W 3]"
        assert render.opacity.shape == render.depth.shape == (2, *size, 1), "renderer: opacity and depth are [B H W 1]"
        assert ((render.opacity >= 0) & (render.opacity <= 1 + 1e-5)).all(), "renderer: opacity lies in [0, 1]"
        assert_finite([render.image, render.opacity, render.depth, render.normal], "renderer")
        assert_finite_gradients(scene, render.image, "renderer")
        assert torch.equal(render.image, renderer(scene, batch, want).image), "renderer: all randomness comes from the views"
        after = dict([*scene.state_dict().items(), *renderer.state_dict().items()])
        assert all(torch.equal(value, after[name]) for name, value in before.items()), "renderer: rendering changes no state"
    plain = renderer(scene, batch)
    for training in (True, False):
        scene.train(training), renderer.train(training)
        assert torch.equal(plain.image, renderer(scene, batch).image), "renderer: self.training does not matter"
    single = torch.cat([renderer(scene, views(1, 16, first)).image for first in range(2)])
    assert torch.allclose(single, plain.image, atol=1e-5), "renderer: a view does not depend on the others"
    if not canvas:
        normal = renderer(scene, batch, Want(normals=True)).normal
        assert normal is not None and normal.shape == (2, 16, 16, 3), "renderer: normals were requested"
        check_heading(scene, renderer)


def check_heading(scene: Scene, renderer: Renderer) -> None:
    """A scene turned by 180 degrees, seen from behind, looks like the unturned one from the front."""
    front, behind = (renderer(scene, views(1, 16, first, of=2), Want(normals=True)) for first in (0, 1))
    scene.heading.fill_(torch.pi)
    turned = renderer(scene, views(1, 16, 1, of=2), Want(normals=True))
    scene.heading.zero_()
    assert torch.allclose(turned.image, front.image, atol=1e-3), "renderer: the scene's heading turns the image"
    half_turn = torch.tensor([-1.0, -1.0, 1.0])
    assert torch.allclose(turned.normal, front.normal * half_turn, atol=1e-2), "renderer: normals are in world space"
    assert not torch.equal(behind.image, turned.image) or torch.equal(front.image, behind.image), (
        "renderer: the heading is ignored"
    )


def scene_for(cfg: Settings) -> tuple[Scene, Renderer]:
    """A scene that the renderer can render."""
    geometries = {HasCanvas: CanvasConfig(), HasDistance: SdfFieldConfig(), HasSurface: TetrahedraConfig(resolution=16)}
    return small_scene(geometry=geometries.get(seeded_build(cfg).needs), renderer=cfg)


CONTRACTS: dict[str, Callable[[Settings], None]] = {
    "encoding": check_encoding,
    "geometry": check_geometry,
    "material": check_material,
    "background": check_background,
    "sampler": check_sampler,
    "renderer": check_renderer,
}
"""By kind."""
