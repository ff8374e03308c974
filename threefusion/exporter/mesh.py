"""The mesh exporter: level, surface, repair, texture coordinates, colours, files, comparison with the field."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import torch

from threefusion.camera.orbit import views_around
from threefusion.camera.projection import camera_rays
from threefusion.errors import UserError
from threefusion.exporter.bake import absorption_layers, bake, field_color, vertex_colors
from threefusion.exporter.exporter import Exported, Exporter
from threefusion.exporter.fidelity import FieldViews, compare, field_views, without_background
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.topology import decimate, is_watertight, main_components, smooth, vertex_normals
from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import write_mesh
from threefusion.geometry.geometry import Geometry, HasDensity, HasSurface
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
from threefusion.machine.progress import doing
from threefusion.renderer.heading import turn_mesh
from threefusion.renderer.renderer import Renderer
from threefusion.types import Mesh, Scene

logger = logging.getLogger(__name__)

COARSE = 3
"""Fine cells along one coarse cell, when the grid is sparse."""
BAND = 6.0
"""Largest ratio of the final level to the one from the coarse grid."""


class MeshExporter(Exporter):
    """Closed triangle mesh with a base-colour texture, as GLB and, if requested, OBJ, PLY, STL."""

    cfg: MeshExporterConfig

    @torch.no_grad()
    def export(self, scene: Scene, renderer: Renderer, folder: Path) -> Exported:
        """`model.glb` first, then the other formats; the report compares the mesh with the field.

        Raises:
            UserError: the scene has neither a density nor a surface, is empty, or has diverged. Nothing is written then.
        """
        started = time.perf_counter()
        unturned = without_background(scene, torch.zeros_like(scene.heading))
        doing("surface")
        extracted, grid, facts = self._extract(unturned, renderer)
        doing("repair")
        mesh, more = self._clean(extracted)
        mesh, colors = self._texture(unturned, mesh, grid)
        doing("comparison with the field")
        comparison = compare(mesh, self._views(unturned, renderer, start=0.5))
        mesh = turn_mesh(mesh, scene.heading)
        paths = write_mesh(mesh, colors, Path(folder), ["glb", *(name for name in self.cfg.formats if name != "glb")])
        report = {**comparison, **facts, **more, "seconds": time.perf_counter() - started}
        _warn(report)
        return Exported(paths, report, mesh)

    def _views(self, scene: Scene, renderer: Renderer, start: float) -> FieldViews:
        """Renders from all sides; other values of `start` give other views."""
        return field_views(renderer, scene, views_around(scene.geometry.radius, self.cfg.views, self.cfg.view_size, start))

    def _extract(self, scene: Scene, renderer: Renderer) -> tuple[Mesh, DensityGrid | None, dict]:
        """The surface as it comes from the geometry, the sampled density if there is one, and facts about the level."""
        geometry = scene.geometry
        if isinstance(geometry, HasDensity):
            grid, level, facts = self._level(scene, renderer)
            mesh = marching_cubes(grid, level)
            if len(mesh.faces) == 0:
                highest = float(grid.log_density.max().exp())
                raise UserError(
                    f"exporter.level is {level:g}, but the highest density is {highest:.3g}: lower it, or leave it out"
                )
            return mesh, grid, facts
        if isinstance(geometry, HasSurface):
            mesh = geometry.mesh()
            if len(mesh.faces) == 0:
                raise UserError("the scene is empty: its surface has no faces, so there is no mesh to write. Train longer")
            return Mesh(mesh.vertices.cpu(), mesh.faces.cpu()), None, {}
        raise UserError(
            f"the geometry {type(geometry).__name__} has neither a density nor a surface, so there is no mesh to export: "
            "choose a volumetric geometry, or set exporter to null"
        )

    def _level(self, scene: Scene, renderer: Renderer) -> tuple[DensityGrid, float, dict]:
        """The sampled density, the level of its surface, and how well that level's silhouettes match."""
        geometry, resolution, device = scene.geometry, self.cfg.resolution, scene.device
        density, radius = _density(geometry, resolution), geometry.radius
        views = self._views(scene, renderer, start=0.0)
        mask, rays = views.mask.flatten().to(device), camera_rays(views.batch.camera).to(device)
        least = least_level(radius)
        if not self.cfg.sparse or resolution <= 16 * COARSE:
            grid = sample_density(density, radius, resolution, device)
        else:
            coarse = sample_density(density, radius, resolution // COARSE + 1, device)
            middle = self.cfg.level or best_level(highest_density(coarse, rays), mask, least)[0]
            grid = refine_density(density, coarse, resolution, middle / BAND, middle * BAND)
        _refuse_empty(grid, views, least)
        level, overlap = best_level(highest_density(grid, rays), mask, least)
        level = self.cfg.level or level
        return grid, level, {"level": level, "search_iou": overlap, "density_evaluations": grid.evaluations}

    def _clean(self, mesh: Mesh) -> tuple[Mesh, dict]:
        """The main components with normals and at most `max_faces` faces, and facts about them."""
        mesh, dropped = main_components(mesh, self.cfg.smallest_part)
        mesh = decimate(smooth(mesh, self.cfg.smoothing), self.cfg.max_faces)
        facts = {
            "vertices": len(mesh.vertices),
            "faces": len(mesh.faces),
            "watertight": is_watertight(mesh),
            "dropped_volume": dropped,
        }
        return replace(mesh, normals=vertex_normals(mesh)), facts

    def _texture(self, scene: Scene, mesh: Mesh, grid: DensityGrid | None) -> tuple[Mesh, torch.Tensor]:
        """The mesh with uv and its baked base colour, and one colour per vertex."""
        color = field_color(scene.geometry, scene.material, _covariance(scene.geometry, self.cfg.resolution))
        doing("texture coordinates")
        mesh = unwrap(mesh, self.cfg.texture_size, self.cfg.unwrap_seconds)
        # a surface has its colours on itself, a density field in a layer below its level
        doing("colours")
        layers = mesh.vertices[None] if grid is None else absorption_layers(grid, mesh, self.cfg.color_samples)
        texture = bake(mesh, layers, color, self.cfg.texture_size, scene.device)
        return replace(mesh, textures={"base_color": texture}), vertex_colors(layers, color, scene.device)


def _warn(report: dict) -> None:
    """Log what in the report needs attention."""
    if report["silhouette_iou"] < 0.8:
        logger.warning(
            "the mesh's silhouette agrees with the rendered views only to %.2f (intersection over union): "
            "the scene may be foggy; raise loss.opaqueness.weight",
            report["silhouette_iou"],
        )
    if report["dropped_volume"] > 0.1:
        logger.warning(
            "%.0f %% of the volume was in small parts apart from the largest one and is not in the mesh; "
            "see exporter.smallest_part",
            100 * report["dropped_volume"],
        )


def _covariance(geometry: Geometry, resolution: int) -> float | None:
    """Variance of a grid cell's footprint, for geometries that blur: unblurred they show frequencies no training view had."""
    blurs = isinstance(geometry, HasDensity) and geometry.needs_covariance
    return (2 * geometry.radius / resolution) ** 2 / 12 if blurs else None


def _density(geometry: HasDensity, resolution: int) -> Density:
    """The density at points, blurred over a grid cell where the geometry can."""
    covariance = _covariance(geometry, resolution)
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
