"""The picture of docs/surfaces.md: the scene at the end of each stage of a run, and the mesh that it exported.

    python -m benchmarks.stage_pictures RUN --out docs/images/stages.png

One row per stage, the exported mesh last; four sides as plain colour, then the same sides as normals.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from math import radians
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.callback.images import write_png
from threefusion.camera.orbit import orbit_views
from threefusion.exporter.preview import load_glb, mesh_images
from threefusion.renderer.views import render_views
from threefusion.run.checkpoint import load_stage
from threefusion.run.folder import open_run, stage_folders
from threefusion.types import ViewBatch

SIZE = 128
MODES = ("albedo", "normal")


def views() -> ViewBatch:
    """Four sides, from slightly above."""
    return orbit_views(4, radians(15), 2.0, radians(45), SIZE, SIZE)


def rows(run: Path) -> Iterator[Float[Tensor, "H W 3"]]:
    """A row per stage, then the mesh."""
    config, previous = open_run(run), None
    for stage, folder in zip(config.parts, stage_folders(run, config), strict=True):
        loaded = load_stage(stage, folder, previous)
        if loaded is None:
            return
        previous, renderer = loaded
        with torch.no_grad():
            yield torch.cat([image for mode in MODES for image in render_views(renderer, previous, views(), mode)], dim=1)
    mesh = load_glb(run / "mesh" / "model.glb")
    yield torch.cat([image for mode in MODES for image in mesh_images(mesh, views(), mode)], dim=1)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/stages.png"))
    arguments = parser.parse_args()
    write_png(arguments.out, torch.cat(list(rows(arguments.run))))
    print(arguments.out)


if __name__ == "__main__":
    main()
