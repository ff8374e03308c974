"""Makes surfaces thin along the ray."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError
from threefusion.loss.loss import LossTerm, mean_over_views
from threefusion.types import RenderOutput, ViewBatch, Want

_OPAQUE = 0.5


class ZVariance(LossTerm):
    """Variance of the distance along a ray under its weights, averaged over the pixels of a view whose opacity exceeds 0.5.

    HiFA (arXiv 2305.18766), with threestudio's threshold of opacity. There the weights are not normalised by opacity.
    """

    wants: ClassVar[Want] = Want(samples=True)

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views.

        Raises:
            UserError: the renderer gave no samples.
        """
        samples = render.samples
        if samples is None:
            raise UserError("loss: 'z-variance' needs a renderer that gives samples along rays, such as 'volume'")
        weights, rays = samples.weights, samples.ray_index
        empty = weights.new_zeros(samples.rays)
        total = empty.index_add(0, rays, weights)
        mean = empty.index_add(0, rays, weights * samples.t) / total.clamp_min(1e-6)
        spread = weights * (samples.t - mean.index_select(0, rays)).square()
        variance = empty.index_add(0, rays, spread) / total.clamp_min(1e-6)
        opaque = (total > _OPAQUE).nonzero()[:, 0]
        return mean_over_views(variance[opaque], opaque // (samples.rays // len(views)), len(views))
