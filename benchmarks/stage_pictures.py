"""The picture of docs/surfaces.md: the scene at the end of each stage of a run, and the mesh that it exported.

    python -m benchmarks.stage_pictures RUN [RUN ...] --out docs/images/stages.png

Runs side by side; one row per stage, the exported mesh last; front and side as plain colour, then as normals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
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

SIZE = 96
MODES = ("albedo", "normal")


def views() -> ViewBatch:
    """Four sides, from slightly above; the first two are shown."""
    return orbit_views(4, radians(15), 2.0, radians(45), SIZE, SIZE)


def row(images: Callable[[str], Iterable[Float[Tensor, "H W 3"]]]) -> Float[Tensor, "H W 3"]:
    """The first two views in each mode, side by side."""
    return torch.cat([image for mode in MODES for image in islice(images(mode), 2)], dim=1)


def rows(run: Path) -> Iterator[Float[Tensor, "H W 3"]]:
    """A row per stage, then the mesh."""
    config, previous = open_run(run), None
    for stage, folder in zip(config.parts, stage_folders(run, config), strict=True):
        loaded = load_stage(stage, folder, previous)
        if loaded is None:
            return
        previous, renderer = loaded
        with torch.no_grad():
            yield row(partial(render_views, renderer, previous, views()))
    yield row(partial(mesh_images, load_glb(run / "mesh" / "model.glb"), views()))


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("docs/images/stages.png"))
    arguments = parser.parse_args()
    columns = [torch.cat(list(rows(run))) for run in arguments.runs]
    sheet = torch.ones(max(map(len, columns)), sum(column.shape[1] for column in columns), 3)
    left = 0
    for column in columns:
        sheet[: len(column), left : left + column.shape[1]] = column
        left += column.shape[1]
    write_png(arguments.out, sheet)
    print(arguments.out)


if __name__ == "__main__":
    main()
