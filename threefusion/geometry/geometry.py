"""The base classes of geometries."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.errors import UserError
from threefusion.types import FieldSample


class Geometry(Component):
    """Where the scene's matter is."""

    kind: ClassVar[str] = "geometry"

    def turn_round(self) -> None:
        """Turn the scene by half a turn about the vertical axis.

        Raises:
            UserError: this geometry cannot.
        """
        name = getattr(self, "registered_name", type(self).__name__)
        raise UserError(f"facing.steps: the geometry {name!r} cannot be turned round; leave the section away")


class ImplicitGeometry(Geometry):
    """A geometry that can be asked about any point of space. Constructed with `(cfg, feature_width)`."""

    radius: float
    """Radius of the ball round the origin that holds the scene, in scene units."""
    needs_covariance: bool = False
    """Whether `forward` wants the covariance of each sample's Gaussian."""

    @abstractmethod
    def forward(self, points: Float[Tensor, "N 3"], normals: bool, covariance: Float[Tensor, "N 3"] | None = None) -> FieldSample:
        """Density and features at points in scene units, with unit outward normals if asked for."""

    @abstractmethod
    def density(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """Density alone, per scene unit of length; 0 outside the ball."""


class CanvasGeometry(Geometry):
    """A flat scene: one picture. Constructed with `(cfg, feature_width)`; the width is ignored."""

    @abstractmethod
    def canvas(self) -> Float[Tensor, "H W 3"]:
        """The picture, colours in [0, 1], row 0 on top."""
