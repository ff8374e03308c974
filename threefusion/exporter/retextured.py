"""The exporter of retextured mesh files: the user's own file with other textures."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from threefusion.asset.read import read_asset
from threefusion.asset.source import is_changed, unpacked
from threefusion.asset.write import retextured
from threefusion.exporter.exporter import Exported, Exporter
from threefusion.exporter.preview import load_exported
from threefusion.exporter.settings import RetexturedExporterConfig
from threefusion.exporter.writers import write_files
from threefusion.messages import Noted, send
from threefusion.renderer.heading import turn_mesh
from threefusion.renderer.renderer import Renderer
from threefusion.types import Scene


class RetexturedExporter(Exporter):
    """The mesh file that a run started from, with the textures that were trained; everything else in it stays."""

    cfg: RetexturedExporterConfig

    @torch.no_grad()
    def export(self, scene: Scene, renderer: Renderer, folder: Path) -> Exported:
        """The file under its own name, and those that it refers to; a PLY, an STL and an OBJ without `vt` as GLB.

        Raises:
            UserError: the copy of the file in the checkpoint is damaged.
        """
        started = time.perf_counter()
        geometry = scene.geometry
        packed, original = geometry.source.cpu().numpy().tobytes(), Path(geometry.cfg.mesh)
        if is_changed(packed, original):
            send(Noted(f"{original} has changed since the run began; the run's own copy is used"))
        textures, corners = geometry.textures(scene.material), geometry.coordinates()
        with unpacked(packed) as path:
            asset = read_asset(path, geometry.radius)
            files = retextured(asset, textures, corners)
        paths = write_files({folder / name: data for name, data in files.items()})
        mesh = turn_mesh(load_exported(paths[0], geometry.cfg), scene.heading)
        facts = {"faces": len(mesh.faces), "materials": sorted(asset.materials[i].name for i in textures), "notes": asset.notes}
        return Exported(paths, facts | {"seconds": time.perf_counter() - started}, mesh)
