"""Augmentations of training images that preserve their captions."""

from __future__ import annotations

from dataclasses import replace
from math import radians

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

from training.pictures import Pictures

ROLL = radians(5)
SHIFT = 0.10
"""In halves of the frame."""
ZOOM = (0.85, 1.2)


def augment(seen: Pictures, generator: torch.Generator, rate: float = 0.5) -> Pictures:
    """Random motion, patterns on object and background, lighting, fading, blur and noise, each on some images."""
    images = seen.images + pattern(seen.images, generator) * (1 - seen.coverage)
    # distilled surfaces are lumpy
    images = images * (1 + pattern(images, generator).mean(1, keepdim=True) * seen.coverage)
    motion = random_motion(len(images), generator)
    images = fade(recolor(moved(images, motion), generator), generator)
    images = torch.where(_chance(images, 0.25, generator), blurred(images), images)
    noise = 0.05 * _uniform(images, 0, 1, generator).square()
    images = (images + noise * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    changed = _chance(images, rate, generator)
    fields = {"images": images} | {name: moved(getattr(seen, name), motion) for name in ("coverage", "geometry")}
    return replace(seen, **{name: torch.where(changed, new, getattr(seen, name)) for name, new in fields.items()})


def pattern(images: Float[Tensor, "B 3 h w"], generator: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """Smooth coloured noise for a third of the images, zero for the others."""
    count, size = len(images), images.shape[-1]
    side = int(torch.randint(3, 9, (), generator=generator))
    blotches = interpolate(torch.randn(count, 3, side, side, generator=generator), size=size, mode="bilinear")
    return torch.where(_chance(images, 0.33, generator), 0.15 * blotches, 0.0)


def random_motion(count: int, generator: torch.Generator) -> Float[Tensor, "B 2 3"]:
    """A shift, a zoom and a roll by a few degrees; no mirroring, which would turn a mug's front view into its back view."""
    low, high = ZOOM
    roll = ROLL * (2 * torch.rand(count, generator=generator) - 1)
    zoom = low + (high - low) * torch.rand(count, generator=generator)
    shift = SHIFT * (2 * torch.rand(count, 2, generator=generator) - 1)
    sine, cosine = roll.sin() / zoom, roll.cos() / zoom
    return torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], -1).view(count, 2, 3)


def moved(images: Float[Tensor, "B C h w"], motion: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B C h w"]:
    """Transformed images with border padding."""
    grid = affine_grid(motion, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def recolor(images: Float[Tensor, "B 3 h w"], generator: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """Random brightness, tint and saturation, as distilled colours vary."""
    count = len(images)
    gain = 1 + 0.07 * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * _uniform(images, 0.8, 1.5, generator)
    return (images * gain * _uniform(images, 0.85, 1.1, generator)).clamp(0, 1)


def fade(images: Float[Tensor, "B 3 h w"], generator: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """A quarter of the images blended with grey, like objects of low opacity."""
    opacity = torch.where(_chance(images, 0.25, generator), _uniform(images, 0.7, 1, generator), 1.0)
    return torch.lerp(_uniform(images, 0, 1, generator).expand_as(images), images, opacity)


def blurred(images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
    """Downsampled by two and upsampled again."""
    return interpolate(avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")


def _uniform(images: Tensor, low: float | int, high: float | int, generator: torch.Generator) -> Float[Tensor, "B 1 1 1"]:
    """One random number per image."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)


def _chance(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Random mask over images."""
    return torch.rand(len(images), 1, 1, 1, generator=generator) < probability
