"""Light from all around: small procedural panoramas, and their reflections on rough surfaces."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import grid_sample, normalize

from threefusion.material.microfacet import MAX_WIDTH, symmetric_lobe
from threefusion.ops.precision import in_float32
from threefusion.ops.spherical_harmonics import spherical_harmonics

_HEIGHT = 64
"""Rows of the panorama; it has twice as many columns."""

_LEVELS = 16
"""Reflections are stored for this many widths of the lobe from 0 to `MAX_WIDTH`."""

_SIZE = 64
"""Texels along each side of the octahedral maps of reflections."""

Radiance = Float[Tensor, "*N 3"]
Panorama = Callable[[Float[Tensor, "*N 3"]], Radiance]
"""Linear radiance along unit directions."""


class Environment(nn.Module):
    """A panorama as the split sum of Karis (2013) needs it; its mean radiance over all directions is 1.

    Nothing is stored in checkpoints: everything follows from the panorama's name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        reflections, harmonics = _prefiltered(name)
        self.reflections: Float[Tensor, "1 3 L S S"]
        self.harmonics: Float[Tensor, "9 3"]
        self.register_buffer("reflections", reflections, persistent=False)
        self.register_buffer("harmonics", harmonics, persistent=False)

    @in_float32
    def irradiance(self, normal: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """What a white Lambertian surface with this normal shows: the mean radiance, weighted by the cosine.

        Nine spherical harmonics (Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001).
        """
        return (spherical_harmonics(normal, 2) @ self.harmonics.to(normal.dtype)).clamp_min(0)

    def reflection(self, direction: Float[Tensor, "N 3"], width: Float[Tensor, "N 1"]) -> Float[Tensor, "N 3"]:
        """The mean radiance in the symmetric lobe round a direction, differentiable in both arguments."""
        level = width / MAX_WIDTH
        texel = (octahedral(direction) * _SIZE) / (_SIZE + 2)  # there is a border of one texel
        grid = torch.cat([texel, 2 * level - 1 + (1 - 2 * level) / _LEVELS], -1)
        volume = self.reflections.to(grid.dtype)
        return grid_sample(volume, grid[None, None, None], align_corners=False, padding_mode="border")[0, :, 0, 0].mT


def octahedral(direction: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 2"]:
    """Unit directions folded onto the square [-1, 1]^2 (Meyer et al., "On floating-point normal vectors", 2010).

    +z is the centre and -z all four corners; unlike latitude and longitude it has bounded derivatives.
    """
    plane = direction / direction.abs().sum(-1, keepdim=True).clamp_min(1e-6)
    xy = plane[..., :2]
    sign = torch.where(xy >= 0, 1.0, -1.0)
    return torch.where(plane[..., 2:] >= 0, xy, (1 - xy.flip(-1).abs()) * sign)


def _octahedral_directions(size: int) -> Float[Tensor, "S S 3"]:
    """The directions of the texels' centres, v down the rows."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    z = 1 - x.abs() - y.abs()
    fold = (-z).clamp_min(0)
    return normalize(torch.stack([x - fold * x.sign(), y - fold * y.sign(), z], -1), dim=-1)


def panorama_directions(height: int) -> Float[Tensor, "H W 3"]:
    """The directions of a panorama's texels: rows from +z down, columns from +x towards +y."""
    polar = (torch.arange(height) + 0.5) * (pi / height)
    azimuth = (torch.arange(2 * height) + 0.5) * (pi / height)
    sine = polar.sin()[:, None]
    x, y = sine * azimuth.cos(), sine * azimuth.sin()
    return torch.stack([x, y, polar.cos()[:, None].expand_as(x)], -1)


@cache
def panorama(name: str) -> Float[Tensor, "H W 3"]:
    """The panorama as an image in linear light, mean radiance 1."""
    directions = panorama_directions(_HEIGHT)
    image = PANORAMAS[name](directions)
    area = directions[:, :1, :2].norm(dim=-1, keepdim=True)
    return image * (area.mean() / (image * area).mean())


@cache
def _prefiltered(name: str) -> tuple[Float[Tensor, "1 3 L S S"], Float[Tensor, "9 3"]]:
    """Reflections by the lobe's width as octahedral maps with a border of one texel, and the harmonics of the irradiance."""
    image = panorama(name)
    levels = [image, *(_convolved(image, level * MAX_WIDTH / (_LEVELS - 1)) for level in range(1, _LEVELS))]
    folded = _resampled(torch.stack(levels).permute(0, 3, 1, 2), _octahedral_directions(_SIZE))
    directions = panorama_directions(_HEIGHT)
    area = directions[:, :1, :2].norm(dim=-1) * (pi / _HEIGHT) ** 2
    basis = spherical_harmonics(directions, 2)
    coefficients = torch.einsum("hw,hwk,hwc->kc", area.expand(image.shape[:2]), basis, image)
    cosine_lobe = torch.tensor([1.0, *[2 / 3] * 3, *[1 / 4] * 5])  # of degrees 0, 1 and 2, over pi
    return _bordered(folded).permute(1, 0, 2, 3)[None].contiguous(), coefficients * cosine_lobe[:, None]


def _convolved(image: Float[Tensor, "H W 3"], width: float) -> Float[Tensor, "H W 3"]:
    """The mean of the panorama round every direction, weighted by the symmetric lobe.

    The lobe depends on the angle between directions alone, so along the azimuth it is a circular convolution, done by FFT.
    """
    height, columns = image.shape[:2]
    polar = (torch.arange(height, dtype=torch.float64) + 0.5) * (pi / height)
    turn = torch.arange(columns) * (2 * pi / columns)
    across = polar.sin()[:, None, None] * polar.sin()[None, :, None] * turn.cos()
    cosine = (across + polar.cos()[:, None, None] * polar.cos()[None, :, None]).clamp(-1, 1)
    lobe = symmetric_lobe(cosine, cosine.new_tensor(width)) * polar.sin()[None, :, None]
    # [row out, row in, frequency] times [row in, frequency, colour]
    mixed = torch.einsum("oif,ifc->ofc", torch.fft.rfft(lobe, dim=2), torch.fft.rfft(image.double(), dim=1))
    return (torch.fft.irfft(mixed, n=columns, dim=1) / lobe.sum((1, 2))[:, None, None]).float()


def _resampled(images: Float[Tensor, "L 3 H W"], directions: Float[Tensor, "S S 3"]) -> Float[Tensor, "L 3 S S"]:
    """Panoramas at directions, linear between texels."""
    height = images.shape[2]
    wrapped = torch.cat([images[..., -1:], images, images[..., :1]], -1)
    column = torch.atan2(directions[..., 1], directions[..., 0]) % (2 * pi) * (height / pi) + 1
    row = directions[..., 2].clamp(-1, 1).acos() * (height / pi)
    grid = torch.stack([column / (height + 1) - 1, 2 * row / height - 1], -1)
    return grid_sample(wrapped, grid.expand(len(images), -1, -1, -1), align_corners=False, padding_mode="border")


def _bordered(maps: Float[Tensor, "L 3 S S"]) -> Float[Tensor, "L 3 S2 S2"]:
    """Octahedral maps with the texels around: beyond an edge the square continues on the same edge, mirrored."""
    maps = torch.cat([maps[..., :1].flip(-2), maps, maps[..., -1:].flip(-2)], -1)
    return torch.cat([maps[..., :1, :].flip(-1), maps, maps[..., -1:, :].flip(-1)], -2)


def _constant(directions: Float[Tensor, "*N 3"]) -> Radiance:
    """The same light from everywhere: a white furnace."""
    return torch.ones_like(directions)


def _studio(directions: Float[Tensor, "*N 3"]) -> Radiance:
    """A grey room with a large warm key light, a cool fill light, a narrow light behind, and light from above."""
    up = directions[..., 2:]
    room = torch.lerp(torch.tensor([0.20, 0.19, 0.18]), torch.tensor([0.45, 0.46, 0.48]), 0.5 + 0.5 * up)
    key = _window(directions, (40.0, 35.0), (32.0, 25.0)) * torch.tensor([5.0, 4.7, 4.3])
    fill = _window(directions, (-60.0, 10.0), (30.0, 30.0)) * torch.tensor([1.2, 1.4, 1.7])
    behind = _window(directions, (165.0, 25.0), (12.0, 35.0)) * torch.tensor([4.0, 4.0, 4.2])
    above = torch.sigmoid((up - 0.9) / 0.03) * 2.0
    return room + key + fill + behind + above


def _sky(directions: Float[Tensor, "*N 3"]) -> Radiance:
    """A blue sky, paler towards the horizon, with a sun, over brown ground."""
    up = directions[..., 2:]
    sky = torch.lerp(torch.tensor([1.1, 1.2, 1.3]), torch.tensor([0.25, 0.5, 1.1]), up.clamp_min(0).sqrt())
    land = torch.tensor([0.30, 0.25, 0.20]).expand_as(directions)
    sun = _window(directions, (50.0, 40.0), (20.0, 15.0)) * torch.tensor([8.0, 7.2, 6.0])
    return torch.lerp(land, sky, torch.sigmoid(up / 0.03)) + sun


def _window(directions: Float[Tensor, "*N 3"], middle: tuple[float, float], half: tuple[float, float]) -> Float[Tensor, "*N 1"]:
    """1 in a rectangle of azimuth and elevation in degrees, 0 outside, with edges of a few degrees."""
    x, y, z = directions.unbind(-1)
    azimuth = (torch.atan2(y, x).rad2deg() - middle[0] + 180) % 360 - 180
    elevation = z.asin().rad2deg() - middle[1]
    softness = 2.0
    return (torch.sigmoid((half[0] - azimuth.abs()) / softness) * torch.sigmoid((half[1] - elevation.abs()) / softness))[
        ..., None
    ]


PANORAMAS: dict[str, Panorama] = {"studio": _studio, "sky": _sky, "constant": _constant}
"""By name."""
