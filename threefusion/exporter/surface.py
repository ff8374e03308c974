"""The surface of a scene as its geometry gives it: isosurface of a density or a signed distance, or a mesh."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from threefusion.camera.orbit import views_around
from threefusion.camera.projection import camera_rays
from threefusion.errors import UserError
from threefusion.exporter.fidelity import FieldViews, field_views
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.geometry.distance_grid import distance_surface, sample_distance, sample_distance_sparse
from threefusion.geometry.geometry import Geometry, HasDensity, HasDistance, HasSurface
from threefusion.geometry.isosurface import (
    Density,
    DensityGrid,
    best_level,
    highest_density,
    least_level,
    marching_cubes,
    refine_density,
    sample_density,
)
from threefusion.renderer.renderer import Renderer
from threefusion.types import Mesh, Scene

COARSE = 3
"""Fine cells along one coarse cell, when the grid is sparse."""
RIM = 1.5
"""Thickness of the layer inside the ball in which a cut surface lies, in cells."""
BAND = 6.0
"""Largest ratio of the final level to the one from the coarse grid."""


@dataclass(frozen=True)
class Surface:
    """An extracted surface, on the CPU."""

    mesh: Mesh
    grid: DensityGrid | None = None
    """The sampled density if the surface is one of its levels."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For the report."""
    rim: float | None = None
    """Distance from the origin beyond which the surface lies where the ball has cut it; None: nothing cuts it."""


def extract(scene: Scene, renderer: Renderer, cfg: MeshExporterConfig) -> Surface:
    """The surface of a scene with one, by the first capability of its geometry: mesh, density, signed distance.

    Raises:
        UserError: it has none of them, is empty, or has diverged.
    """
    geometry = scene.geometry
    if isinstance(geometry, HasSurface):
        return _given(geometry)
    if isinstance(geometry, HasDensity):
        return _density_surface(scene, renderer, cfg)
    if isinstance(geometry, HasDistance):
        return _distance_surface(scene, cfg)
    raise UserError(
        f"the geometry {type(geometry).__name__} has no density, distance or surface, so there is no mesh to export: choose "
        "another geometry, or set exporter to null"
    )


def _given(geometry: HasSurface) -> Surface:
    """The geometry's own mesh."""
    mesh = geometry.mesh()
    if len(mesh.faces) == 0:
        raise UserError("the scene is empty: its surface has no faces, so there is no mesh to write. Train longer")
    if not mesh.vertices.isfinite().all():
        raise UserError(
            "the scene's surface is not finite, so training has diverged: export an earlier checkpoint, or lower optimizer.lr"
        )
    vertices, faces = mesh.vertices.detach().float(), mesh.faces
    if mesh.welded is not None:
        # one vertex for all at one place, and no face that is a line then
        used, faces = torch.unique(mesh.welded, return_inverse=True)
        faces = faces[(faces != faces.roll(1, 1)).all(1)]
        vertices = vertices[used]
    return Surface(Mesh(vertices.cpu(), faces.cpu()), rim=geometry.rim)


def _distance_surface(scene: Scene, cfg: MeshExporterConfig) -> Surface:
    """Where the signed distance is 0."""
    sample = sample_distance_sparse if cfg.sparse else sample_distance
    grid = sample(scene.geometry.distance, scene.geometry.radius, cfg.resolution, scene.device)
    mesh = distance_surface(grid)
    if len(mesh.faces) == 0:
        raise UserError(
            f"the scene is empty: its signed distance is positive everywhere (least {float(grid.distance.min()):.2g}), so "
            "there is no mesh to write. Train longer, lower loss.sparsity.weight, or start from a larger initial shape"
        )
    return Surface(mesh, None, {"distance_evaluations": grid.evaluations}, grid.radius - RIM * grid.cell)


def _density_surface(scene: Scene, renderer: Renderer, cfg: MeshExporterConfig) -> Surface:
    """Where the density has the level whose silhouettes match the rendered views, or the one of the settings."""
    grid, level, facts = _level(scene, renderer, cfg)
    mesh = marching_cubes(grid, level)
    if len(mesh.faces) == 0:
        highest = float(grid.log_density.max().exp())
        raise UserError(f"exporter.level is {level:g}, but the highest density is {highest:.3g}: lower it, or leave it out")
    return Surface(mesh, grid, facts, grid.radius - RIM * grid.cell)


def views_of(scene: Scene, renderer: Renderer, cfg: MeshExporterConfig, start: float) -> FieldViews:
    """Renders from all sides; other values of `start` give other views."""
    return field_views(renderer, scene, views_around(scene.geometry.radius, cfg.views, cfg.view_size, start))


def _level(scene: Scene, renderer: Renderer, cfg: MeshExporterConfig) -> tuple[DensityGrid, float, dict]:
    """The sampled density, the level of its surface, and how well that level's silhouettes match."""
    geometry, resolution, device = scene.geometry, cfg.resolution, scene.device
    density, radius = _density(geometry, resolution), geometry.radius
    views = views_of(scene, renderer, cfg, start=0.0)
    mask, rays = views.mask.flatten().to(device), camera_rays(views.batch.camera).to(device)
    least = least_level(radius)
    if not cfg.sparse or resolution <= 16 * COARSE:
        grid = sample_density(density, radius, resolution, device)
    else:
        coarse = sample_density(density, radius, resolution // COARSE + 1, device)
        middle = cfg.level or best_level(highest_density(coarse, rays), mask, least)[0]
        grid = refine_density(density, coarse, resolution, middle / BAND, middle * BAND)
    _refuse_empty(grid, views, least)
    level, overlap = best_level(highest_density(grid, rays), mask, least)
    level = cfg.level or level
    return grid, level, {"level": level, "search_iou": overlap, "density_evaluations": grid.evaluations}


def cell_covariance(geometry: Geometry, resolution: int) -> float | None:
    """Variance of a grid cell's footprint, for geometries that blur: unblurred they show frequencies no training view had."""
    blurs = getattr(geometry, "needs_covariance", False)
    return (2 * geometry.radius / resolution) ** 2 / 12 if blurs else None


def _density(geometry: HasDensity, resolution: int) -> Density:
    """The density at points, blurred over a grid cell where the geometry can."""
    covariance = cell_covariance(geometry, resolution)
    if covariance is None:
        return geometry.density
    return lambda points: geometry.density(points, torch.full_like(points, covariance))


def _refuse_empty(grid: DensityGrid, views: FieldViews, least: float) -> None:
    """Refuse a scene of which nothing is visible.

    Raises:
        UserError: no view has an opaque pixel, or no density reaches `least`.
    """
    highest = float(grid.log_density.max().exp())
    opacity = float(views.opacity.max())
    if highest <= least or opacity <= 0.5:
        raise UserError(
            f"the scene is empty: no ray is more than half absorbed (highest opacity {opacity:.2g}, highest density "
            f"{highest:.2g}; a surface needs more than {least:.2g}), so there is no mesh to write. Train longer, lower "
            "loss.sparsity.weight, raise loss.opaqueness.weight, or raise the initial density of the geometry"
        )
