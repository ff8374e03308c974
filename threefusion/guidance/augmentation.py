"""Random crops and backgrounds of rendered views (Dream Fields, arXiv 2112.01455, section 3.4).

A scene has to resemble its text from close by, and before anything.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from threefusion.guidance.prior.image import resize
from threefusion.types import ViewBatch

SQUARES = 8
"""Squares of a checkerboard along each side."""
BLUR = 10.0
"""Largest standard deviation of the blur of a background, in pixels of 224."""


def crops(images: Float[Tensor, "B H W C"], views: ViewBatch, count: int, share: float, size: int) -> Float[Tensor, "N S S C"]:
    """`count` random squares of every view, one view after the other, resized to `size` pixels with antialiasing."""
    height, width = images.shape[1:3]
    side = max(1, round(share * min(height, width)))
    corners = (views.rand("crop", count, 2).cpu() * torch.tensor([height - side + 1, width - side + 1])).long()
    cut = [image[y : y + side, x : x + side] for image, own in zip(images, corners, strict=True) for y, x in own.tolist()]
    return resize(torch.stack(cut), size)


def backgrounds(views: ViewBatch, count: int, size: int) -> Float[Tensor, "N size size 3"]:
    """`count` pictures per view: noise, a checkerboard or a smooth texture, each blurred by a random amount."""
    noise = views.rand("background noise", count, size, size, 3).flatten(0, 1)
    colors = views.rand("background colors", count, 2, 3).flatten(0, 1)
    smooth = smooth_textures(views.randn("background texture", count, size, size, 3).flatten(0, 1))
    kinds = torch.stack([noise, checkerboards(colors, size), smooth], dim=1)
    chosen = (3 * views.rand("background kind", count).flatten()).long()
    picture = kinds[torch.arange(len(kinds), device=kinds.device), chosen]
    return blurred(picture, BLUR * size / 224 * views.rand("background blur", count).flatten())


def checkerboards(colors: Float[Tensor, "N 2 3"], size: int) -> Float[Tensor, "N size size 3"]:
    """Two colours in turn.

    >>> checkerboards(torch.tensor([[[0.0, 0, 0], [1, 1, 1]]]), 16)[0, ::2, 0, 0].tolist()
    [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    """
    square = torch.arange(size, device=colors.device) * SQUARES // size
    return colors[:, (square[:, None] + square) % 2]


def smooth_textures(noise: Float[Tensor, "N S S 3"]) -> Float[Tensor, "N S S 3"]:
    """Noise whose spectrum falls with the 1.5th power of the frequency, between 0 and 1."""
    size = noise.shape[1]
    rows, columns = torch.fft.fftfreq(size, device=noise.device), torch.fft.rfftfreq(size, device=noise.device)
    frequency = (rows[:, None] ** 2 + columns**2).sqrt().clamp(min=1 / size)
    spectrum = torch.fft.rfft2(noise, dim=(1, 2)) / frequency[..., None] ** 1.5
    texture = torch.fft.irfft2(spectrum, s=(size, size), dim=(1, 2))
    return torch.sigmoid(texture / texture.std(dim=(1, 2, 3), keepdim=True))


def blurred(pictures: Float[Tensor, "N S S 3"], deviation: Float[Tensor, "N"]) -> Float[Tensor, "N S S 3"]:
    """The pictures after a Gaussian blur, of each its own standard deviation in pixels, cut off after 7 pixels."""
    count, size = pictures.shape[:2]
    offset = torch.arange(-7, 8, device=pictures.device)
    kernel = torch.exp(-0.5 * (offset / deviation.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    planes = pad(pictures.permute(0, 3, 1, 2).reshape(1, 3 * count, size, size), (7, 7, 7, 7), mode="replicate")
    planes = conv2d(planes, kernel[..., None], groups=3 * count)
    planes = conv2d(planes, kernel[:, :, None], groups=3 * count)
    return planes.view(count, 3, size, size).permute(0, 2, 3, 1)
