"""The mesh exporter: surface, repair, texture coordinates, textures, files, comparison with the scene."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.camera.orbit import views_around
from threefusion.exporter.bake import (
    PointTextures,
    absorption_layers,
    field_textures,
    mean_textures,
    texels_of,
)
from threefusion.exporter.color_fit import ELEVATIONS, color_offsets
from threefusion.exporter.exporter import Exported, Exporter
from threefusion.exporter.fidelity import base_color_views, compare, without_background
from threefusion.exporter.formats.glb import web_requires
from threefusion.exporter.length import parse_length
from threefusion.exporter.model import FileOptions
from threefusion.exporter.normal_map import encode, frames, surface_normals, vertex_tangents
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.surface import Surface, cell_covariance, extract, views_of
from threefusion.exporter.topology import area_beyond, decimate, is_watertight, main_components, smooth
from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import check_packages, write_mesh
from threefusion.geometry.geometry import HasSurface
from threefusion.geometry.normals import vertex_normals
from threefusion.machine.progress import doing
from threefusion.messages import Noted, send
from threefusion.renderer.heading import turn_mesh
from threefusion.renderer.renderer import Renderer
from threefusion.types import Mesh, Scene


class MeshExporter(Exporter):
    """Triangle mesh with the material's textures or vertex colours, as GLB and, if requested, in other formats."""

    cfg: MeshExporterConfig

    def __init__(self, cfg: MeshExporterConfig) -> None:
        super().__init__(cfg)
        check_packages(cfg.formats)

    @torch.no_grad()
    def export(self, scene: Scene, renderer: Renderer, folder: Path) -> Exported:
        """`model.glb` first, then the other formats; the report compares the mesh with the scene.

        Raises:
            UserError: the scene has no surface, is empty, or has diverged. Nothing is written then.
        """
        started = time.perf_counter()
        unturned = without_background(scene, torch.zeros_like(scene.heading))
        doing("surface")
        surface = extract(unturned, renderer, self.cfg)
        doing("repair")
        fine, mesh, more = self._repair(surface, getattr(scene.geometry, "keeps_mesh", False))
        mesh = self._color(unturned, fine, mesh, surface)
        if self.cfg.color_views and not isinstance(scene.geometry, HasSurface):
            doing("colours as in renders")
            mesh = self._fit_colors(unturned, renderer, mesh)
        doing("comparison with the scene")
        comparison = compare(mesh, views_of(unturned, renderer, self.cfg, start=0.5))
        mesh = turn_mesh(mesh, scene.heading)
        paths = write_mesh(mesh, Path(folder), ["glb", *(name for name in self.cfg.formats if name != "glb")], self._options())
        report = {**comparison, **surface.facts, **more, "seconds": time.perf_counter() - started}
        report |= {"web_requires": web_requires(mesh)} if self.cfg.web else {}
        _warn(report)
        return Exported(paths, report, mesh)

    def _options(self) -> FileOptions:
        cfg = self.cfg
        height = None if cfg.height is None else parse_length(cfg.height)
        return FileOptions(height, cfg.on_floor, cfg.normal == "directx", cfg.web, self.about)

    def _repair(self, surface: Surface, keep: bool) -> tuple[Mesh, Mesh, dict]:
        """The surface before and after decimation, both with normals, and facts; a mesh to `keep` gets normals only."""
        mesh, dropped = surface.mesh, 0.0
        if not keep and is_watertight(mesh):  # the parts of an open surface enclose nothing by which to judge them
            mesh, dropped = main_components(mesh, self.cfg.smallest_part)
        fine = mesh if keep else smooth(mesh, self.cfg.smoothing)
        mesh = fine if keep else decimate(fine, self.cfg.max_faces)
        facts = {
            "vertices": len(mesh.vertices),
            "faces": len(mesh.faces),
            "watertight": is_watertight(mesh),
            "dropped_volume": dropped,
            "cut": 0.0 if surface.rim is None else area_beyond(fine, surface.rim),
        }
        return *(replace(part, normals=vertex_normals(part)) for part in (fine, mesh)), facts

    def _color(self, scene: Scene, fine: Mesh, mesh: Mesh, surface: Surface) -> Mesh:
        """The mesh with one colour per vertex and, unless those are all that was requested, uv and textures."""
        textures = field_textures(scene.geometry, scene.material, cell_covariance(scene.geometry, self.cfg.resolution))
        if self.cfg.texture == "image":
            doing("texture coordinates")
            mesh = unwrap(mesh, self.cfg.texture_size, self.cfg.unwrap_seconds)
        # a surface has its colours on itself, a density field in a layer below its level
        doing("colours")
        grid = surface.grid
        layers = mesh.vertices[None] if grid is None else absorption_layers(grid, mesh, self.cfg.color_samples)
        at_vertices = mean_textures(layers, mesh.normals, textures, scene.device)
        mesh = replace(mesh, colors=at_vertices["base_color"])
        if self.cfg.texture == "image":
            return replace(mesh, textures=self._bake(mesh, layers, fine, textures, scene.device))
        means = {name: values.mean(0)[None, None] for name, values in at_vertices.items() if name == "metallic_roughness"}
        return replace(mesh, textures=means or None)

    def _fit_colors(self, scene: Scene, renderer: Renderer, mesh: Mesh) -> Mesh:
        """The mesh with base colours as in renders of the scene."""
        views = views_around(scene.geometry.radius, self.cfg.color_views, self.cfg.view_size, elevations=ELEVATIONS)
        offsets = color_offsets(mesh, base_color_views(renderer, scene, views))
        mesh = replace(mesh, colors=(mesh.colors + offsets).clamp(0, 1))
        if mesh.uv is None:
            return mesh
        texels = texels_of(mesh, self.cfg.texture_size)
        base_color = mesh.textures["base_color"] + texels.image(texels.interpolate(offsets))
        return replace(mesh, textures=mesh.textures | {"base_color": base_color.clamp(0, 1)})

    def _bake(self, mesh: Mesh, layers: Tensor, fine: Mesh, textures: PointTextures, device: torch.device) -> dict[str, Tensor]:
        """The textures of a mesh with uv, by glTF name."""
        texels = texels_of(mesh, self.cfg.texture_size)
        normals = normalize(texels.interpolate(mesh.normals), dim=-1)
        gives_normal = "normal" in textures(layers[0, :1].to(device), normals[:1].to(device))
        mapped = gives_normal or self.cfg.normal == "directx" if self.cfg.normal_map is None else self.cfg.normal_map
        if mapped:
            normals = surface_normals(fine, texels.interpolate(mesh.vertices), normals)
        points = torch.stack([texels.interpolate(layer) for layer in layers])
        made = mean_textures(points, normals, textures, device)
        shading = made.pop("normal", normals)
        if mapped:
            frame = frames(texels.interpolate(mesh.normals), texels.interpolate(vertex_tangents(mesh)))
            made["normal"] = encode(normalize(shading, dim=-1), frame)
        return {name: texels.image(values) for name, values in made.items()}


def _warn(report: dict) -> None:
    """Log what in the report needs attention."""
    if report["silhouette_iou"] < 0.8:
        agrees = f"agrees with the rendered views only to {report['silhouette_iou']:.2f} (intersection over union)"
        send(Noted(f"the mesh's silhouette {agrees}: the scene may be foggy; raise loss.opaqueness.weight"))
    if "web_requires" in report:
        send(Noted(f"model.web.glb is for viewers that support {' and '.join(report['web_requires'])}"))
    if report["cut"] > 0.005:
        where = f"{100 * report['cut']:.1f} % of the surface is where the ball that holds the scene has cut it"
        remedy = "raise geometry.radius, or raise loss.sparsity.weight to keep the object small, and train again"
        send(Noted(f"{where}: {remedy}"))
    if report["dropped_volume"] > 0.1:
        lost = f"{100 * report['dropped_volume']:.0f} % of the volume was in small parts apart from the largest one"
        send(Noted(f"{lost} and is not in the mesh; see exporter.smallest_part"))
