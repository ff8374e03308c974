"""A signed distance field: an encoding, a small network, an initial ellipsoid."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from threefusion.geometry.ellipsoid import ellipsoid_distance
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
        nn.init.zeros_(last.weight.data[:1])
        nn.init.zeros_(last.bias.data[:1])

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
