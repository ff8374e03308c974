"""The base classes of geometries, one per capability that renderers and exporters can require."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.component import Component
from threefusion.types import FieldSample, Mesh, RenderOutput, Scene

if TYPE_CHECKING:
    from threefusion.geometry.painted import MeshFile


@dataclass(frozen=True)
class BuildContext:
    """What a geometry may need to know when it is built."""

    feature_width: int
    """Features per point that the material reads."""
    previous: Scene | None = None
    """The scene to start from: that of the stage before, or the one that `init_from` names; None if there is none."""
    generator: torch.Generator = field(default_factory=torch.Generator)
    """Source of random numbers that depends on the run's seed alone."""
    surface: Callable[[], Mesh] | None = None
    """Extracts the surface of `previous`, on the CPU, in the geometry's own frame; None if there is nothing to convert, such as
    after a picture."""
    asset: Callable[[], MeshFile] | None = None
    """Reads the mesh file that the geometry names, every part with texture coordinates; None if it names none."""
    texture_features: Mapping[str, slice] = field(default_factory=dict)
    """The features of each texture of the material."""
    features_of: Callable[[dict[str, Float[Tensor, "N C"]]], Float[Tensor, "N D"]] | None = None
    """The features by which the material shows textures."""
    restoring: bool = False
    """Whether parameters and buffers are about to be loaded from a checkpoint, so that initial values do not matter."""


@dataclass(frozen=True)
class Rewrite:
    """A new set of rows for parameters that hold one row per primitive: some rows are kept, new ones are appended.

    The optimiser keeps its state of the kept rows and starts the new ones from zero.
    """

    keep: Int[Tensor, "K"]
    """Rows that stay, in their new order."""
    new: dict[str, Float[Tensor, "M *shape"]]
    """Rows to append, by the parameter's name in the geometry; all parameters listed keep the same rows."""


class Geometry(Component):
    """The shape of the scene. Constructed with `(cfg, context: BuildContext)`.

    What renderers and exporters can do with it is said by the capabilities below, of which it derives from one or more.
    """

    kind: ClassVar[str] = "geometry"
    takes_shape: ClassVar[Literal["never", "built", "fitted"]] = "never"
    """Whether one whose parameters cannot be copied takes the shape of `context.previous`: not at all, in its constructor, or
    by a fit of its parameters afterwards."""

    @property
    def changes_rows(self) -> bool:
        """Whether `after_step` may change the number of rows; override it where it only takes note of something."""
        return type(self).after_step is not Geometry.after_step

    def copy_features(self, before: Geometry) -> bool:
        """Take over the features of a geometry whose material reads them alike, without a fit; false if that cannot be done."""
        return False

    def prepare_load(self, state: Mapping[str, Tensor]) -> None:
        """Called before `state`, the geometry's part of a checkpoint, is loaded: give parameters the sizes that they have there.

        Override it if the number of rows changes during training.
        """

    def after_step(self, render: RenderOutput, step: int) -> Rewrite | None:
        """Called after every optimiser step with the last render; returns which rows to drop and to add, None for no change.

        Not called after a step that was skipped because it was not finite. Gradients are still available, those of
        `render.primitives` included.
        """
        return None


class HasDensity(Geometry):
    """Can be evaluated at any point of space: capability `density`."""

    radius: float
    """Radius of the ball round the origin that holds the scene, in scene units."""
    needs_covariance: bool = False
    """Whether points should come with the covariance of the Gaussian that stands for their part of a pixel's cone."""

    @abstractmethod
    def forward(self, points: Float[Tensor, "N 3"], normals: bool, covariance: Float[Tensor, "N 3"] | None = None) -> FieldSample:
        """Density and features at points in scene units, with unit outward normals if requested."""

    @abstractmethod
    def density(self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None) -> Float[Tensor, "N 1"]:
        """Density alone, per scene unit of length; 0 outside the ball."""

    @abstractmethod
    def features(self, points: Float[Tensor, "N 3"], covariance: Float[Tensor, "N 3"] | None = None) -> Float[Tensor, "N D"]:
        """Features alone."""


class HasDistance(Geometry):
    """Has a signed distance to its surface at any point of space: capability `distance`."""

    radius: float
    """Radius of the ball round the origin that holds the scene, in scene units."""
    needs_covariance: bool = False
    """Whether `forward` should get the covariance of the Gaussian that stands for each point's part of a pixel's cone."""

    @abstractmethod
    def forward(self, points: Float[Tensor, "N 3"], normals: bool, covariance: Float[Tensor, "N 3"] | None = None) -> FieldSample:
        """Distance and features at points in scene units; with `normals` also the distance's gradient and outward normals."""

    @abstractmethod
    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """Signed distance from the surface in scene units, negative inside."""

    @abstractmethod
    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
        """Features alone."""


class HasSurface(Geometry):
    """Has a triangle surface: capability `surface`."""

    radius: float
    """Radius of the ball round the origin that holds the scene, in scene units."""
    keeps_mesh: bool = False
    """Whether the mesh is the user's own, which an exporter neither repairs, smooths nor decimates."""
    rim: float | None = None
    """Distance from the origin beyond which the surface lies where the ball has cut it; None: nothing cuts it."""

    @abstractmethod
    def mesh(self) -> Mesh:
        """The surface, differentiable in the vertices; outward winding."""

    def edge_distances(self) -> Float[Tensor, "E 2"] | None:
        """Signed distances at the ends of the grid edges that the surface crosses; None without such a grid."""
        return None

    @abstractmethod
    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
        """Features at points of the surface."""

    def surface_features(
        self, points: Float[Tensor, "N 3"], face: Int[Tensor, "N"], weights: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N D"]:
        """Features at points whose faces and barycentric coordinates are known; override it if they are found by those."""
        return self.features(points)

    def original(self) -> HasSurface | None:
        """The geometry as it was before the training, for objectives and losses that compare with it; None if it is not kept."""
        return None


class HasCanvas(Geometry):
    """Is one or several flat pictures instead of a scene: capability `canvas`."""

    @abstractmethod
    def canvas(self) -> Float[Tensor, "N H W 3"]:
        """The pictures, colours in [0, 1], row 0 on top."""
