"""Rewards empty pixels up to a share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.loss.loss import LossTerm
from threefusion.loss.settings import TransmittanceConfig
from threefusion.types import RenderOutput, ViewBatch


class Transmittance(LossTerm):
    """-min(τ, mean transmittance) of each view (Dream Fields, arXiv 2112.01455, section 3.3), τ = 1 - target opacity.

    More emptiness than τ is not rewarded. The target grows with the area that the scene has in the image; it is not scaled at a
    distance of 4 and a focal length of √1.2 `focal`.
    """

    cfg: TransmittanceConfig

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views."""
        focal = 0.5 / torch.tan(views.camera.fovy / 2)
        area = (focal / self.cfg.focal) ** 2 * (4 / views.camera.distance) ** 2 / 1.2
        largest = 1 - (area * self.cfg.opacity(views.step)).clamp(max=1)
        transmittance = (1 - render.opacity).mean((1, 2, 3))
        return -torch.minimum(transmittance, largest.to(transmittance.dtype)).mean()
