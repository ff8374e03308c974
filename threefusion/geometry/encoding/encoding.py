"""The base class of encodings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component

Pullback = Callable[[Tensor], Tensor]
"""Cotangents of the encoding `[N C]` to gradients in the points `[N 3]`."""


class Encoding(Component):
    """Turns points of the cube [-1, 1]^3 into features."""

    kind: ClassVar[str] = "encoding"
    needs_covariance: ClassVar[bool] = False
    """Whether the encoding reads the covariance of each sample's Gaussian."""
    width: int
    """Number of features."""

    @abstractmethod
    def forward(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> Float[Tensor, "N {self.width}"]:
        """Features of points in [-1, 1]^3; `covariance` is the diagonal of each point's Gaussian, in the same units."""

    def with_pullback(
        self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None
    ) -> tuple[Float[Tensor, "N {self.width}"], Pullback]:
        """Features, and the function that pulls a cotangent of them back to the points.

        What the pullback returns is differentiable in the cotangent and in the parameters whenever gradients are recorded, which
        is what losses on normals need. Override it where there is a faster way than differentiating twice.
        """
        create_graph = torch.is_grad_enabled()
        # validation runs in inference mode, whose tensors cannot be differentiated: copy them into ordinary ones
        with torch.inference_mode(False), torch.enable_grad():
            points = points.detach().clone().requires_grad_()
            encoded = self(points, None if covariance is None else covariance.clone())

        def pullback(cotangent: Tensor) -> Tensor:
            with torch.inference_mode(False), torch.enable_grad():
                (gradient,) = torch.autograd.grad(encoded, points, cotangent, create_graph=create_graph, retain_graph=True)
            return gradient

        return encoded, pullback
