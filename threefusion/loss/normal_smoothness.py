"""Smoothness of normals, in the image and in space."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError
from threefusion.loss.loss import LossTerm
from threefusion.types import RenderOutput, ViewBatch, Want

_OPAQUE = 0.5


class NormalSmoothness2d(LossTerm):
    """Squared difference of the normals of neighbouring pixels that are both opaque, averaged over the pairs of a view.

    Formula of threestudio's `lambda_normal_smooth`; pairs across a silhouette are left out, and the two directions share a mean.
    """

    wants: ClassVar[Want] = Want(normals=True)

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views.

        Raises:
            UserError: the renderer gave no normals.
        """
        if render.normal is None:
            raise UserError("loss: 'normal-smoothness-2d' needs a renderer that gives normals, such as 'volume'")
        opaque = render.opacity[..., 0] > _OPAQUE
        total = count = 0
        for dimension in (1, 2):
            square = render.normal.diff(dim=dimension).square().sum(-1)
            size = opaque.shape[dimension] - 1
            pairs = opaque.narrow(dimension, 0, size) & opaque.narrow(dimension, 1, size)
            total = total + (square * pairs).sum((1, 2))
            count = count + pairs.sum((1, 2))
        return (total / count.clamp_min(1)).mean()


class NormalSmoothness3d(LossTerm):
    """Absolute difference of a sample's normal and that of a random point next to it, by weight, averaged over rays.

    Formula of threestudio's `lambda_3d_normal_smooth`, whose mean counts every sample alike. The weights get no gradient.
    """

    wants: ClassVar[Want] = Want(normals=True, samples=True, nearby=True)

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted, averaged over views.

        Raises:
            UserError: the renderer gave no samples with normals.
        """
        samples = render.samples
        if samples is None or samples.normal is None or samples.nearby_normal is None:
            raise UserError("loss: 'normal-smoothness-3d' needs a renderer that gives normals of samples, such as 'volume'")
        difference = (samples.normal - samples.nearby_normal).abs().mean(-1)
        # all views have as many rays, so one sum over the batch is the mean over views of means over rays
        return (samples.weights.detach() * difference).sum() / samples.rays
