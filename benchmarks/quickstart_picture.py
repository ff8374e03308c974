"""The README's picture: meshes that the quickstart exported, seen from four sides, as they are in the files.

    python benchmarks/quickstart_picture.py RUN [RUN …] --out docs/images/quickstart.png

One row per run; each side as base colour and, next to it, lit from above the camera.
"""

from __future__ import annotations

import argparse
from math import radians
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.callback.images import write_png
from threefusion.camera.orbit import orbit_views
from threefusion.exporter.preview import load_glb, rasterised_views

SIZE, OVERSAMPLING = 160, 3


def row(run: Path) -> Float[Tensor, "H W 3"]:
    """Four sides of a run's mesh over white."""
    batch = orbit_views(4, radians(15), 2.0, radians(45), SIZE * OVERSAMPLING, SIZE * OVERSAMPLING)
    views = rasterised_views(load_glb(run / "mesh" / "model.glb"), batch.camera)
    light = normalize(batch.camera.position + torch.tensor([0.0, 0.0, 1.5]), dim=-1)[:, None, None, :]
    brightness = 0.35 + 0.65 * (views.normal * light).sum(-1, keepdim=True).clamp_min(0)
    images = []
    for color in (views.base_color, views.base_color * brightness):
        over_white = color * views.mask + 1 - views.mask
        images.append(over_white.reshape(4, SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, 3).mean((2, 4)))
    return torch.cat([torch.cat([plain, lit], dim=1) for plain, lit in zip(*images, strict=True)], dim=1)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/quickstart.png"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(arguments.out, torch.cat([row(run) for run in arguments.runs], dim=0))
    print(arguments.out)


if __name__ == "__main__":
    main()
