"""The picture of a benchmark: the exported mesh of every variant (rows) and prompt (columns), three-quarter view, unlit.

    python -m benchmarks.bench_pictures configs/bench/objectives.yaml runs/bench/objectives --out docs/images/objectives.png

Rows and columns are in the order of the benchmark's table. A cell without a mesh stays empty.
"""

from __future__ import annotations

import argparse
from math import radians
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.bench.folder import cell_folder
from threefusion.bench.plan import load_plan
from threefusion.callback.images import write_png
from threefusion.camera.orbit import orbit_views
from threefusion.exporter.preview import load_glb, rasterised_views

SIZE, OVERSAMPLING = 112, 3


def picture(mesh: Path) -> Float[Tensor, "H W 3"]:
    """The mesh in its base colour over white, between front and side."""
    if not mesh.exists():
        return torch.ones(SIZE, SIZE, 3)
    cameras = orbit_views(8, radians(15), 2.0, radians(45), SIZE * OVERSAMPLING, SIZE * OVERSAMPLING).camera
    views = rasterised_views(load_glb(mesh), cameras.select(torch.tensor([1])))
    over_white = views.base_color * views.mask + 1 - views.mask
    return over_white[0].reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, 3).mean((1, 3))


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows: dict[str, list[Tensor]] = {}
    for cell in load_plan(arguments.config, []).cells:
        if cell.seed == arguments.seed:
            rows.setdefault(cell.variant, []).append(picture(cell_folder(arguments.folder, cell).run / "mesh" / "model.glb"))
    write_png(arguments.out, torch.cat([torch.cat(row, dim=1) for row in rows.values()], dim=0))
    print(arguments.out, "rows:", ", ".join(rows))


if __name__ == "__main__":
    main()
