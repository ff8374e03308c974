"""Changes of a training picture that leave its caption true: what the judge must not mind."""

from __future__ import annotations

from math import radians

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

ROLL = radians(5)
SHIFT = 0.10
"""In halves of the frame."""
ZOOM = (0.85, 1.2)


def augment(
    images: Float[Tensor, "B 3 h w"], coverage: Float[Tensor, "B 1 h w"], generator: torch.Generator
) -> Float[Tensor, "B 3 h w"]:
    """Pictures in [0, 1], moved, with a pattern behind the object, in other light, faded, blurred and noisy, each a little."""
    images = images + pattern(images, generator) * (1 - coverage)
    images = fade(recolor(moved(images, generator), generator), generator)
    images = torch.where(_chance(images, 0.25, generator), blurred(images), images)
    noise = 0.05 * _uniform(images, 0, 1, generator).square()
    return (images + noise * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def pattern(images: Float[Tensor, "B 3 h w"], generator: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """Soft coloured blotches for a third of the pictures, zero for the others."""
    count, size = len(images), images.shape[-1]
    side = int(torch.randint(3, 9, (), generator=generator))
    blotches = interpolate(torch.randn(count, 3, side, side, generator=generator), size=size, mode="bilinear")
    return torch.where(_chance(images, 0.33, generator), 0.15 * blotches, 0.0)


def moved(images: Float[Tensor, "B 3 h w"], generator: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """Shifted, zoomed and rolled by a few degrees; never mirrored, which would turn a mug's front view into its back view."""
    count = len(images)
    roll, zoom = _uniform(images, -ROLL, ROLL, generator), _uniform(images, *ZOOM, generator)
    sine, cosine = roll.sin() / zoom, roll.cos() / zoom
    shift = SHIFT * (2 * torch.rand(count, 2, generator=generator) - 1)
    rows = [torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)]
    turn = torch.stack([row.view(count, 2) for row in rows], 1)
    grid = affine_grid(torch.cat([turn, shift[..., None]], -1), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def recolor(images: Float[Tensor, "B 3 h w"], generator: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """Light of another strength and tint, colours paler or stronger: distilled ones often are."""
    count = len(images)
    gain = 1 + 0.07 * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * _uniform(images, 0.8, 1.5, generator)
    return (images * gain * _uniform(images, 0.85, 1.1, generator)).clamp(0, 1)


def fade(images: Float[Tensor, "B 3 h w"], generator: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """A quarter of the pictures shine through onto a grey, as objects of low occupancy do."""
    opacity = torch.where(_chance(images, 0.25, generator), _uniform(images, 0.7, 1, generator), 1.0)
    return torch.lerp(_uniform(images, 0, 1, generator).expand_as(images), images, opacity)


def blurred(images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
    """Half the resolution, enlarged again."""
    return interpolate(avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")


def _uniform(images: Tensor, low: float | int, high: float | int, generator: torch.Generator) -> Float[Tensor, "B 1 1 1"]:
    """One number for each picture."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)


def _chance(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """True for a random part of the pictures."""
    return torch.rand(len(images), 1, 1, 1, generator=generator) < probability
