"""Contact sheets: grids of small images in one PNG."""

from __future__ import annotations

from math import pi, radians
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.orbit import cameras_around
from threefusion.toyworld.catalogue import CLASSES
from threefusion.toyworld.palette import COLORS
from threefusion.toyworld.render import render_surface
from training.rendering import shade


def tile(images: Float[Tensor, "R C H W 3"], scale: int = 1) -> Float[Tensor, "h w 3"]:
    """A grid of images as one image, nearest-neighbour upsampled."""
    sheet = images.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    return sheet.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def save_png(image: Float[Tensor, "h w 3"], path: Path) -> None:
    """Write an image with values in [0, 1]."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image.clamp(0, 1) * 255).round().byte().numpy()).save(path)


def ground_truth_sheet(size: int = 64, names: list[str] | None = None, supersample: int = 2) -> Float[Tensor, "h w 3"]:
    """Every class from azimuth 0, 45, 90 and 180 degrees and from above, one column a class, colours in turn, lit."""
    azimuth = torch.tensor([0.0, 0.25, 0.5, 1.0, 0.25]) * pi
    elevation = torch.tensor([15.0, 15.0, 15.0, 15.0, 70.0]) * radians(1)
    cameras = cameras_around(azimuth, elevation, 2.0, radians(45), (size * supersample,) * 2)
    light = cameras.position[:, None, None] + torch.tensor([0.0, 0.3, 0.8])
    colors = list(COLORS.values())
    columns = []
    for i, name in enumerate(names or list(CLASSES)):
        surface = render_surface(name, cameras)
        albedo = surface.albedo(colors[i % len(colors)])
        lit = shade(albedo, surface.normal, surface.position, light, torch.tensor([0.45]))
        image = torch.where(surface.mask[..., None], lit, 0.9)
        columns.append(image.view(5, size, supersample, size, supersample, 3).mean((2, 4)))
    return tile(torch.stack(columns, 1))
