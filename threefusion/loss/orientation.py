"""Penalises visible surfaces that face away from the camera."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError
from threefusion.loss.loss import LossTerm
from threefusion.types import RenderOutput, ViewBatch, Want


class Orientation(LossTerm):
    """Sum over a ray of sg(w) max(0, n . d)^2, averaged over the rays of a view (Ref-NeRF, arXiv 2112.03907).

    n is the normal, d the direction in which the ray travels. The weights get no gradient, so the term turns normals and does
    not remove density.
    """

    wants: ClassVar[Want] = Want(normals=True, samples=True)

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views.

        Raises:
            UserError: the renderer gave no samples with normals.
        """
        if render.samples is None or render.samples.normal is None:
            raise UserError("loss: 'orientation' needs a renderer that gives normals of samples, such as 'volume'")
        samples = render.samples
        away = (samples.normal * samples.direction).sum(-1).clamp_min(0).square()
        # all views have as many rays, so one sum over the batch is the mean over views of means over rays
        return (samples.weights.detach() * away).sum() / samples.rays
