"""A signed distance field: an encoding, a small network, an initial ellipsoid."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.geometry.geometry import BuildContext, HasDistance
from threefusion.geometry.network_field import NetworkField
from threefusion.geometry.normals import central_gradient, downhill
from threefusion.geometry.settings import SdfFieldConfig
from threefusion.types import FieldSample


class SdfField(NetworkField, HasDistance):
    """Signed distance and features of a point from its encoding: distance = that of an ellipsoid + network.

    The network's share is 0 at the beginning, so that the field starts as the ellipsoid exactly.
    """

    cfg: SdfFieldConfig

    def __init__(self, cfg: SdfFieldConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        self.build_network(cfg, 1 + context.feature_width)
        last = self.network[-1]
        nn.init.zeros_(last.weight.data[:1]), nn.init.zeros_(last.bias.data[:1])

    def forward(self, points: Float[Tensor, "N 3"], normals: bool, covariance: Float[Tensor, "N 3"] | None = None) -> FieldSample:
        """Signed distance and features at points in scene units; with `normals` also the distance's gradient and normals."""
        if normals and self.cfg.normal == "analytic":
            raw, gradient = self._raw_and_gradient(points, covariance)
            gradient = gradient + ellipsoid_distance(points, self.cfg.axes)[1]
        else:
            raw = self._raw(points, covariance)
            gradient = central_gradient(lambda p: self.distance(p)[:, 0], points, self.difference_step()) if normals else None
        return FieldSample(
            features=raw[:, 1:].to(points.dtype),
            normal=None if gradient is None else -downhill(gradient),
            distance=self._level(points, raw),
            gradient=gradient,
            points=points,
        )

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """Signed distance alone, in scene units, negative inside."""
        return self._level(points, self._raw(points, None))

    def difference_step(self) -> float | Float[Tensor, ""]:
        """Distance of the points between which finite differences are taken: a cell of the finest grid that counts."""
        return self.cfg.difference_step or self.encoding.cell() * self.radius

    def _level(self, points: Tensor, raw: Tensor) -> Tensor:
        return raw[:, :1].to(points.dtype) + ellipsoid_distance(points, self.cfg.axes)[0]


def ellipsoid_distance(
    points: Float[Tensor, "N 3"], axes: tuple[float, float, float]
) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N 3"]]:
    """Signed distance of an ellipsoid with these semi-axes, and its gradient: exact for a sphere, else to first order.

    k0 (k0 - 1) / k1 with k0 = |p / a| and k1 = |p / a^2| (Inigo Quilez, "Ellipsoid - distance").

    >>> points = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> ellipsoid_distance(points, (0.5, 0.5, 0.5))[0].flatten().round(decimals=3).tolist()
    [0.5, -0.5]
    """
    a = points.new_tensor(axes)
    # at the origin no direction is the nearest: take one, so that nothing is divided by 0
    near = points.norm(dim=-1, keepdim=True) < 1e-6
    points = torch.where(near, points.new_tensor([1e-6, 0.0, 0.0]), points)
    k0, k1 = (points / a).norm(dim=-1, keepdim=True), (points / a**2).norm(dim=-1, keepdim=True)
    of_k0, of_k1 = points / a**2 / k0, points / a**4 / k1
    gradient = (2 * k0 - 1) / k1 * of_k0 - k0 * (k0 - 1) / k1**2 * of_k1
    return k0 * (k0 - 1) / k1, gradient
