"""Noise painted on the surface of the scene: consistent flow distillation (arXiv 2501.05445)."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.camera.projection import camera_rays
from threefusion.guidance.noise.noise import Noise
from threefusion.guidance.noise.settings import SurfaceConfig
from threefusion.guidance.prior.image import resize
from threefusion.machine.tensors import send
from threefusion.types import RenderOutput, ViewBatch, view_generator

SAMPLES = 4
"""Points per pixel and texel along each side of a pixel: enough to meet most of the texels that a pixel covers."""
OPAQUE = 0.1
"""Opacity above which there is a surface, the paper's."""


class Surface(Noise):
    """Noise on the directions from the origin; a pixel adds up the texels that its part of the surface covers, over √count.

    Every texel belongs to one pixel of a view, so that the noise of a view is white whatever the shape. Where there is no
    surface, or only texels of the surface further out, a pixel has a texel of its own, the same in all views.
    """

    cfg: SurfaceConfig

    def __init__(self, cfg: SurfaceConfig) -> None:
        super().__init__(cfg)
        self._drawn: dict[tuple, Float[Tensor, "T C"]] = {}

    def forward(self, shape: tuple[int, int, int], views: ViewBatch, render: RenderOutput) -> Float[Tensor, "B C h w"]:
        """The noise of the surface, mixed with new noise where `painted` is below 1."""
        channels, height, width = shape
        resolution = max(1, round(self.cfg.resolution * height))
        texels, pixels, count = 6 * resolution**2, height * width, len(views)
        values = self.texels(texels + pixels, channels, views)
        with torch.no_grad():
            points, opaque = surface_points(views, render, max(1, round(SAMPLES * self.cfg.resolution)) * height)
            owner = owners(points, opaque, resolution, height)
            texel = (owner >= 0).nonzero()[:, 0]
            pixel = owner[texel]
            total = values.new_zeros(count * pixels, channels).index_add_(0, pixel, values[texel % texels])
            covered = torch.bincount(pixel, minlength=count * pixels)[:, None]
            noise = torch.where(covered > 0, total / covered.clamp(min=1).sqrt(), values[texels:].repeat(count, 1))
            noise = noise.view(count, height, width, channels).permute(0, 3, 1, 2)
            painted = self.cfg.painted(views.step)
            return noise if painted == 1 else painted**0.5 * noise + (1 - painted) ** 0.5 * views.randn("noise", *shape)

    def texels(self, count: int, channels: int, views: ViewBatch) -> Float[Tensor, "T C"]:
        """The texels at this step: a function of seed and step. Each is drawn anew once per `lifetime`, at a time of its own."""
        age, past = divmod(views.step / self.cfg.lifetime, 1)
        device = views.camera.c2w.device
        old, new, phase = (
            self.drawn(views.seed, step, count, width, device)
            for step, width in ((int(age), channels), (int(age) + 1, channels), (-1, 1))
        )
        renewed = phase < 2**0.5 * torch.erfinv(torch.tensor(2 * past - 1, dtype=torch.float64)).item()
        return torch.where(renewed, new, old)

    def drawn(self, seed: int, age: int, count: int, channels: int, device: torch.device) -> Float[Tensor, "T C"]:
        """Normal numbers that depend on (seed, age) alone, kept for the next steps."""
        key = (seed, age, count, channels, device)
        if key not in self._drawn:
            if len(self._drawn) >= 3:
                self._drawn.clear()
            drawn = torch.randn(count, channels, generator=view_generator(seed, age, 0, "surface"))
            self._drawn[key] = send(drawn, device)
        return self._drawn[key]


def surface_points(
    views: ViewBatch, render: RenderOutput, size: int
) -> tuple[Float[Tensor, "B size size 3"], Float[Tensor, "B size size 1"]]:
    """World positions of the surface on a grid of `size` by `size` per view, and the opacity there, 0 without a surface."""
    # a picture has a size of its own
    height, width = render.depth.shape[1:3]
    rays = camera_rays(replace(views.camera, height=height, width=width))
    seen = render.opacity.detach().float() * (render.depth > 0)
    depth = render.depth.detach().float() / seen.clamp(min=1e-6)
    shape = (*depth.shape[:3], 3)
    points = rays.origins.view(shape) + depth * rays.directions.view(shape)
    # weighted by opacity: what has no surface has no position
    blended = resize(torch.cat([seen * points, seen], -1), size)
    return blended[..., :3] / blended[..., 3:].clamp(min=1e-6), blended[..., 3:]


def owners(points: Float[Tensor, "B n n 3"], opacity: Float[Tensor, "B n n 1"], resolution: int, size: int) -> Int[Tensor, "K"]:
    """The pixel that each texel of each view belongs to, counted through the batch, or -1; where several cover it, the one with
    the point furthest from the origin."""
    count, samples = points.shape[:2]
    view, row, column = (opacity[..., 0] > OPAQUE).nonzero(as_tuple=True)
    position = points[view, row, column]
    pixel = (view * size + row * size // samples) * size + column * size // samples
    # positive floats are ordered as their bits are
    word = (position.norm(dim=-1).view(torch.int32).long() << 32) | pixel
    texel = view * 6 * resolution**2 + texel_of(position, resolution)
    first = word.new_full((count * 6 * resolution**2,), -1).scatter_reduce_(0, texel, word, "amax")
    return torch.where(first < 0, first, first & 0xFFFFFFFF)


def texel_of(points: Float[Tensor, "N 3"], resolution: int) -> Int[Tensor, "N"]:
    """The texel that each point's direction from the origin falls into: on a cube, texels of equal angles."""
    axis = points.abs().argmax(-1, keepdim=True)
    height = points.gather(1, axis)
    across = points.gather(1, torch.cat([(axis + 1) % 3, (axis + 2) % 3], 1)) / height.abs().clamp(min=1e-12)
    row, column = ((across.atan() * (2 / pi) + 0.5) * resolution).long().clamp(0, resolution - 1).unbind(1)
    return ((2 * axis + (height < 0))[:, 0] * resolution + row) * resolution + column
