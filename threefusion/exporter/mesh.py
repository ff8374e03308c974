"""A field becomes a textured mesh: level, surface, repair, texture coordinates, colours, files, and how close it is."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import torch

from threefusion.errors import UserError
from threefusion.exporter.bake import absorption_layers, bake, field_color, vertex_colors
from threefusion.exporter.exporter import Exporter
from threefusion.exporter.fidelity import (
    FieldViews,
    compare,
    device_of,
    evaluation_mode,
    field_views,
    views_around,
)
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.topology import decimate, is_watertight, main_components, smooth, vertex_normals
from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import write_mesh
from threefusion.geometry.geometry import ImplicitGeometry
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
from threefusion.registry import register
from threefusion.types import Mesh, Scene

logger = logging.getLogger(__name__)

COARSE = 3
"""Fine cells along one coarse cell, when the grid is sparse."""
BAND = 6.0
"""How far the final level may lie from the one found on the coarse grid, as a factor."""


@register("mesh")
class MeshExporter(Exporter):
    """Closed triangle mesh with a base-colour texture, as GLB and, if asked, OBJ, PLY, STL."""

    def __init__(self, cfg: MeshExporterConfig) -> None:
        super().__init__()
        self.cfg = cfg

    @torch.no_grad()
    def forward(self, scene: Scene, folder: Path) -> list[Path]:
        """`model.glb` first, then the other formats; `report` says how the mesh compares with the field.

        Raises:
            UserError: the scene has no density field, is empty, or has diverged. Nothing is written then.
        """
        started = time.perf_counter()
        if not isinstance(scene.geometry, ImplicitGeometry):
            raise UserError(
                f"the geometry {type(scene.geometry).__name__} has no density, so there is no surface to export: "
                "choose a volumetric geometry, or set exporter to null"
            )
        with evaluation_mode(scene):
            grid, level, fit = self._level(scene)
            mesh, facts = self._surface(grid, level)
            mesh, colors = self._texture(scene, mesh, grid)
            comparison = compare(mesh, self._views(scene, start=0.5))
        formats = ["glb", *(name for name in self.cfg.formats if name != "glb")]
        paths = write_mesh(mesh, colors, Path(folder), formats)
        self.report = {**comparison, **fit, **facts, "seconds": time.perf_counter() - started}
        self._warn()
        return paths

    def _views(self, scene: Scene, start: float) -> FieldViews:
        """The field from all sides; other values of `start` give other views."""
        return field_views(scene, views_around(scene.geometry.radius, self.cfg.views, self.cfg.view_size, start))

    def _level(self, scene: Scene) -> tuple[DensityGrid, float, dict]:
        """The sampled density, the level of its surface, and how well that level's silhouettes match."""
        density, radius, device = _density(scene.geometry, self.cfg.resolution), scene.geometry.radius, device_of(scene.geometry)
        views = self._views(scene, start=0.0)
        seen, rays = views.mask.flatten().to(device), views.batch.camera.rays().to(device)
        least = least_level(radius)
        if not self.cfg.sparse or self.cfg.resolution <= 16 * COARSE:
            grid = sample_density(density, radius, self.cfg.resolution, device)
        else:
            coarse = sample_density(density, radius, self.cfg.resolution // COARSE + 1, device)
            middle = self.cfg.level or best_level(highest_density(coarse, rays), seen, least)[0]
            grid = refine_density(density, coarse, self.cfg.resolution, middle / BAND, middle * BAND)
        _refuse_empty(grid, views, least)
        level, overlap = best_level(highest_density(grid, rays), seen, least)
        level = self.cfg.level or level
        return grid, level, {"level": level, "search_iou": overlap, "density_evaluations": grid.evaluations}

    def _surface(self, grid: DensityGrid, level: float) -> tuple[Mesh, dict]:
        """Closed components with normals and at most `max_faces` faces, and facts about it."""
        found = marching_cubes(grid, level)
        if len(found.faces) == 0:
            highest = float(grid.log_density.max().exp())
            raise UserError(f"exporter.level is {level:g}, but the highest density is {highest:.3g}: lower it, or leave it out")
        mesh, dropped = main_components(found, self.cfg.smallest_part)
        mesh = decimate(smooth(mesh, self.cfg.smoothing), self.cfg.max_faces)
        facts = {
            "vertices": len(mesh.vertices),
            "faces": len(mesh.faces),
            "watertight": is_watertight(mesh),
            "dropped_volume": dropped,
        }
        return replace(mesh, normals=vertex_normals(mesh)), facts

    def _texture(self, scene: Scene, mesh: Mesh, grid: DensityGrid) -> tuple[Mesh, torch.Tensor]:
        """The mesh with uv and its baked base colour, and one colour per vertex."""
        device = device_of(scene.geometry)
        color = field_color(scene.geometry, scene.material, _covariance(scene.geometry, self.cfg.resolution))
        mesh = unwrap(mesh, self.cfg.texture_size, self.cfg.unwrap_seconds)
        layers = absorption_layers(grid, mesh, self.cfg.color_samples)
        texture = bake(mesh, layers, color, self.cfg.texture_size, device)
        return replace(mesh, textures={"base_color": texture}), vertex_colors(layers, color, device)

    def _warn(self) -> None:
        """Say what in the report deserves a look."""
        if self.report["silhouette_iou"] < 0.8:
            logger.warning(
                "the mesh's silhouette agrees with the rendered views only to %.2f (intersection over union): "
                "the scene may be foggy; raise loss.opaqueness.weight",
                self.report["silhouette_iou"],
            )
        if self.report["dropped_volume"] > 0.1:
            logger.warning(
                "%.0f %% of the volume was in small parts apart from the largest one and is not in the mesh; "
                "see exporter.smallest_part",
                100 * self.report["dropped_volume"],
            )


def _covariance(geometry: ImplicitGeometry, resolution: int) -> float | None:
    """Variance of a grid cell's footprint, for geometries that blur: unblurred they show frequencies no training view saw."""
    return (2 * geometry.radius / resolution) ** 2 / 12 if geometry.needs_covariance else None


def _density(geometry: ImplicitGeometry, resolution: int) -> Density:
    """The density at points, blurred over a grid cell where the geometry can."""
    covariance = _covariance(geometry, resolution)
    if covariance is None:
        return geometry.density
    return lambda points: geometry(points, False, torch.full_like(points, covariance)).density


def _refuse_empty(grid: DensityGrid, views: FieldViews, least: float) -> None:
    """End with a sentence if nothing is to be seen.

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
