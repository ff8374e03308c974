"""From one scene to another with other parameters: its surface, and a fit of shape and colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import log

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from threefusion.errors import UserError
from threefusion.exporter.fidelity import without_background
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.surface import extract
from threefusion.exporter.topology import main_components
from threefusion.geometry.closest import points_on, sample_surface
from threefusion.geometry.conversion import at_point, density_before, distance_before
from threefusion.geometry.encoding.grid import GridEncoding
from threefusion.geometry.geometry import BuildContext, HasDensity, HasDistance, HasSurface
from threefusion.geometry.isosurface import least_level
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.settings import VolumeConfig
from threefusion.types import FieldSample, Mesh, Scene

RESOLUTION = 128
"""Samples along each axis of the grid on which the surface of a field is found."""
POINTS = 1 << 16
BATCH = 1 << 12
LR = 0.01
COLOR_STEPS = 300
SPREAD = 0.02
"""Standard deviation of the points' distance from the surface, in radii of the scene: it will move."""
SHAPE_STEPS = 500
LEAST_SEEN = 0.01
"""Density that counts as empty, as a share of the least level of a surface."""
LOG_RANGE = 10.0
"""Scale of differences of log densities, which makes them comparable with those of colours."""
LAST_LR = 0.03
"""Learning rate at the end of a fit of the shape, as a share of that at its beginning."""
FINEST = 128
"""Cells per side of the finest grid of an encoding that a shape is fitted with: between the points, finer ones would be noise,
and the gradients of the field with them."""


@torch.no_grad()
def surface_of(scene: Scene, renderer: Renderer | None) -> Mesh:
    """The surface of a scene, on the CPU, in the geometry's own frame.

    Of a density the level whose silhouettes match what its renderer shows, without debris; a geometry's own mesh as it is.

    Raises:
        UserError: the scene has no surface, is empty, or has diverged.
    """
    settings = MeshExporterConfig(resolution=RESOLUTION)
    bare = without_background(scene, torch.zeros_like(scene.heading))
    mesh = extract(bare, renderer or build(VolumeConfig()), settings).mesh
    return mesh if isinstance(scene.geometry, HasSurface) else main_components(mesh, settings.smallest_part)[0]


Error = Callable[[Float[Tensor, "N 3"], Float[Tensor, "N 1"]], Float[Tensor, ""]]
"""Of a field at points, whose values should be the second argument."""


@dataclass(frozen=True)
class Colors:
    """What a fit of colours compares: a function of points for the scene that is fitted, and for the one before."""

    fitted: Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N C"]]
    before: Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N C"]]


def colors_of(scene: Scene, previous: Scene) -> Colors | None:
    """Features in [0, 1] if both materials read them alike, else base colours; None if either scene has none to learn."""
    width, width_before = scene.material.feature_width, getattr(previous.material, "feature_width", 0)
    if not width or not width_before or not hasattr(previous.geometry, "features"):
        return None
    compared = bounded_features if alike(scene, previous) else base_color
    return Colors(lambda points: compared(scene, points), lambda points: compared(previous, points))


def alike(scene: Scene, previous: Scene) -> bool:
    """Whether the materials of both scenes read features alike."""
    one, other = scene.material, previous.material
    return type(one) is type(other) and one.feature_width == other.feature_width


def bounded_features(scene: Scene, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
    """The features of a scene at points, in [0, 1]."""
    return at_point(scene.geometry.features, scene.geometry, points).sigmoid()


def base_color(scene: Scene, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """The base colour of a scene at points, in [0, 1]."""
    sample = FieldSample(at_point(scene.geometry.features, scene.geometry, points), points=points)
    return scene.material.textures(sample)["base_color"]


def fit_colors(scene: Scene, mesh: Mesh, previous: Scene, colors: Colors, seed: int) -> None:
    """Train the features alone, with points round the surface `mesh` of the scene."""
    generator = torch.Generator().manual_seed(seed)
    points = near_surface(mesh, POINTS, SPREAD * scene.geometry.radius, generator)
    targets = evaluated(colors.before, points, previous.device)
    optimizer = torch.optim.Adam(scene.geometry.parameters(), LR, betas=(0.9, 0.99), eps=1e-15)
    with torch.enable_grad():
        for _ in range(COLOR_STEPS):
            chosen = torch.randint(len(points), (BATCH,), generator=generator)
            shown = colors.fitted(points[chosen].to(scene.device))
            optimizer.zero_grad()
            mse_loss(shown, targets[chosen].to(scene.device)).backward()
            optimizer.step()
    nn.Module.zero_grad(scene)


def fit_field(scene: Scene, context: BuildContext, colors: Colors | None, seed: int) -> None:
    """Train shape and features of a field together, with points round the surface of the scene before and in the whole ball.

    Distances are compared in radii of the scene; densities by their logarithm, where either can be seen.

    Raises:
        UserError: no part of that surface is in the ball.
    """
    geometry, generator = scene.geometry, torch.Generator().manual_seed(seed)
    near = inner_points(context.surface(), POINTS // 2, geometry.radius, generator)
    points, close = torch.cat([near, in_ball(POINTS // 2, geometry.radius, generator)]), len(near)
    if isinstance(geometry, HasDistance):
        shape, targets = distance_error(geometry), distance_before(context, points)
    else:
        shape, targets = density_error(geometry), density_before(context, points)
    shown = None if colors is None else evaluated(colors.before, points[:close], context.previous.device)
    optimizer = torch.optim.Adam(geometry.parameters(), LR, betas=(0.9, 0.99), eps=1e-15)
    with torch.enable_grad(), coarse_grids_only(geometry):
        for step in range(SHAPE_STEPS):
            optimizer.param_groups[0]["lr"] = LR * LAST_LR ** (step / SHAPE_STEPS)
            inner = torch.randint(close, (BATCH // 2,), generator=generator)
            chosen = torch.cat([inner, torch.randint(close, len(points), (BATCH // 2,), generator=generator)])
            loss = shape(points[chosen].to(scene.device), targets[chosen].to(scene.device))
            if shown is not None:
                fitted = colors.fitted(points[inner].to(scene.device))
                loss = loss + mse_loss(fitted, shown[inner].to(scene.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    nn.Module.zero_grad(scene)


def distance_error(geometry: HasDistance) -> Error:
    """Mean difference of signed distances, in radii of the scene."""
    return lambda points, targets: (geometry.distance(points) - targets).abs().mean() / geometry.radius


def density_error(geometry: HasDensity) -> Error:
    """Mean difference of log densities, 0 where both are too low to be visible."""
    low = log(LEAST_SEEN * least_level(geometry.radius))

    def error(points: Tensor, targets: Tensor) -> Tensor:
        found = at_point(geometry.density, geometry, points).clamp_min(1e-30).log()
        goal = targets.clamp_min(1e-30).log()
        # an invisible target only limits the density from above
        return torch.where(goal > low, (found - goal).abs(), (found - low).relu()).mean() / LOG_RANGE

    return error


@contextmanager
def coarse_grids_only(module: nn.Module) -> Iterator[None]:
    """Fine grids of encodings get no gradients: Adam leaves what they are."""
    hooks = []
    for encoding in module.modules():
        if isinstance(encoding, GridEncoding):
            trained = torch.arange(encoding.grid.rows, device=encoding.table.device) < encoding.coarse_rows(FINEST)
            hooks.append(encoding.table.register_hook(lambda gradient, trained=trained: gradient * trained[:, None]))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def inner_points(mesh: Mesh, count: int, radius: float, generator: torch.Generator) -> Float[Tensor, "S 3"]:
    """Those of `count` points round a surface that are in the ball.

    Raises:
        UserError: none is.
    """
    points = near_surface(mesh, count, SPREAD * radius, generator)
    distance = points.norm(dim=-1)
    if not (distance < radius).any():
        raise UserError(
            f"geometry.radius: no part of the surface to start from is less than {radius:g} from the origin, the nearest is "
            f"{float(distance.min()):.3g} away; raise it"
        )
    return points[distance < radius]


def near_surface(mesh: Mesh, count: int, spread: float, generator: torch.Generator) -> Float[Tensor, "S 3"]:
    """Points round a surface, normally distributed with this standard deviation."""
    points = points_on(mesh, *sample_surface(mesh, count, generator))
    return points + spread * torch.randn(points.shape, generator=generator)


def in_ball(count: int, radius: float, generator: torch.Generator) -> Float[Tensor, "S 3"]:
    """Points spread evenly over a ball."""
    direction = normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return radius * torch.rand(count, 1, generator=generator) ** (1 / 3) * direction


@torch.no_grad()
def evaluated(function: Callable[[Tensor], Tensor], points: Float[Tensor, "N 3"], device: torch.device) -> Float[Tensor, "N D"]:
    """A function of points, in parts, on the CPU."""
    return torch.cat([function(part.to(device)).cpu() for part in points.split(BATCH)])
