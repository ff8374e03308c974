"""Keeps a signed distance a distance."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError
from threefusion.loss.loss import LossTerm, mean_over_views
from threefusion.types import RenderOutput, ViewBatch, Want


class Eikonal(LossTerm):
    """(|gradient of the signed distance| - 1)^2, averaged over the samples of a view (IGR, arXiv 2002.10099, eq. 2)."""

    wants: ClassVar[Want] = Want(normals=True, samples=True)

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views.

        Raises:
            UserError: the renderer gave no gradients of a signed distance.
        """
        samples = render.samples
        if samples is None or samples.gradient is None:
            raise UserError("loss: 'eikonal' needs gradients of a signed distance: a renderer such as 'neus' or 'volsdf'")
        # 1e-12: the norm of a zero gradient has no derivative
        excess = (samples.gradient.square().sum(-1) + 1e-12).sqrt() - 1
        return mean_over_views(excess.square(), samples.view_index, len(views))
