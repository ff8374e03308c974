"""Keeps one view of the scene as a picture shows it."""

from __future__ import annotations

from math import radians
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.projection import look_at, sphere_position
from threefusion.errors import UserError
from threefusion.guidance.prior.reference import in_square, read_picture
from threefusion.loss.loss import LossTerm
from threefusion.loss.settings import ReferenceConfig
from threefusion.types import Cameras, Lights, RenderOutput, Shading, ViewBatch


class Reference(LossTerm):
    """Mean squared errors of colour, where the picture is opaque, and of opacity, in one view more than the batch has.

    As in threestudio's Zero-1-to-3, but in every step, and without its errors of depth.
    """

    cfg: ReferenceConfig

    def __init__(self, cfg: ReferenceConfig) -> None:
        super().__init__(cfg)
        if not cfg.image:
            raise UserError("loss: reference: give image, or use a prior that has one (image-conditioned)")
        self.rgba: Float[Tensor, "H W 4"] = read_picture(Path(cfg.image))

    def own_views(self, views: ViewBatch) -> ViewBatch:
        """The picture's view, square, as high as those of the batch, in albedo."""
        cfg, device = self.cfg, views.camera.c2w.device
        azimuth, elevation, distance, fovy = (
            torch.tensor([value])
            for value in (radians(cfg.azimuth_deg), radians(cfg.elevation_deg), cfg.distance, radians(cfg.fovy_deg))
        )
        position = sphere_position(azimuth, elevation, distance)
        c2w = look_at(position, torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
        side = views.camera.height
        camera = Cameras(c2w, fovy, azimuth, elevation, distance, side, side)
        light = Lights(position, torch.zeros(1, 3), torch.ones(1, 3))
        # index -1: random numbers of its own
        alone = ViewBatch(camera, light, torch.tensor([int(Shading.ALBEDO)]), views.step, torch.tensor([-1]), views.seed)
        return alone.to(device)

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
        picture = in_square(self.rgba, render.image.shape[1]).to(render.image)
        opacity = picture[..., 3:]
        color = (opacity * render.image - picture[..., :3]).square().mean()
        return color + self.cfg.mask_weight * (render.opacity - opacity).square().mean()
