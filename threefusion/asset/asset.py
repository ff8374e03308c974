"""A user's mesh file: its parts, materials, and where the scene has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.types import Mesh

FITTED = 0.75
"""How far a mesh reaches from the origin after it was centred and scaled, in radii of the scene."""
Axes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""For each of the scene's x, y and z: the axis of the file, and 1 or -1 for its direction."""
Y_UP: Axes = ((2, 1), (0, 1), (1, 1))
"""Of glTF and OBJ: +y up, front at +z."""
FRONT_MINUS_Y: Axes = ((1, -1), (0, 1), (2, 1))
"""Of PLY and STL: +z up, front at -y, as Blender and slicers show it."""
Z_UP: Axes = ((0, 1), (1, 1), (2, 1))
"""Of the scene itself."""
Wrap = Literal["repeat", "clamp", "mirror"]
AlphaMode = Literal["opaque", "mask", "blend"]


@dataclass(frozen=True)
class Placement:
    """The similarity from a file's coordinates to the scene's, both in double precision.

    A point that went to the scene and back differs by at most 2⁻⁵¹ (|point| + |center|) per coordinate: none that is given in
    single precision changes, unless it is billions of times nearer to zero than the center is.
    """

    center: Float[Tensor, "3"]
    """Point of the file that becomes the scene's origin."""
    scale: float = 1.0
    """Scene units per unit of the file."""
    axes: Axes = Z_UP
    """A rotation, so that nothing is mirrored."""

    @classmethod
    def fit(cls, points: Float[Tensor, "N 3"], radius: float, axes: Axes) -> Placement:
        """The middle of the box round the points at the origin, and the outermost point at `FITTED` times the radius."""
        points = points.double()
        center = (points.amin(0) + points.amax(0)) / 2
        reach = float((points - center).norm(dim=-1).max().clamp_min(1e-300))
        return cls(center, FITTED * radius / reach, axes)

    def to_scene(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Points of the file in scene units, in double precision."""
        return self.turn(points.double() - self.center) * self.scale

    def to_file(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """The inverse of `to_scene`."""
        back = torch.empty_like(points, dtype=torch.float64)
        for column, (axis, sign) in enumerate(self.axes):
            back[:, axis] = sign * points[:, column].double()
        return back / self.scale + self.center

    def turn(self, vectors: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Directions of the file in the scene's axes."""
        return torch.stack([sign * vectors[:, axis] for axis, sign in self.axes], -1)


@dataclass(frozen=True)
class AssetMaterial:
    """A material of the file. Parts with texture coordinates and parts without never share one."""

    name: str
    textures: dict[str, Float[Tensor, "H W C"]]
    """The textures that there are, as in `Mesh.textures`: `base_color` (sRGB), `metallic_roughness` (linear), `normal`."""
    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Linear factor of the base colour, and of alpha."""
    metallic: float = 1.0
    """Factor of the metallic channel."""
    roughness: float = 1.0
    """Factor of the roughness channel."""
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    """What texture coordinates outside [0, 1] mean, along u and v."""
    alpha: Float[Tensor, "H W 1"] | None = None
    """Alpha channel of the base colour if it has one, which is kept."""
    alpha_mode: AlphaMode = "opaque"
    """Whether alpha does not matter, hides texels below `cutoff`, or blends."""
    cutoff: float = 0.5
    source: int | None = None
    """Index of the material in the file; None for parts that have none there."""


@dataclass(frozen=True)
class AssetPart:
    """Triangles of one material at one node of the file."""

    name: str
    mesh: Mesh
    """In scene axes and units, in the file's own vertex order; without textures, which are the material's."""
    material: int
    """Index into `Asset.materials`."""
    primitive: tuple[int, int] = (0, 0)
    """Mesh of the file, and which of its primitives this is. Parts that are instances of one primitive share it."""
    reversed: bool = False
    """Whether the corners of each face are in the opposite order of the file's: it is mirrored there, or inside out."""


@dataclass(frozen=True)
class Asset:
    """A user's mesh file."""

    path: Path
    parts: list[AssetPart]
    materials: list[AssetMaterial]
    placement: Placement
    notes: list[str] = field(default_factory=list)
    """One line for each peculiarity of the file that does not keep it from being used."""


def facing_out(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Shape:
    """What the faces of a part enclose; vertices at equal positions count as one."""
    index = torch.unique(vertices, dim=0, return_inverse=True)[1]
    corners = index[faces]
    edges = torch.stack([corners, corners.roll(-1, 1)], -1).reshape(-1, 2)
    edges = edges[edges[:, 0] != edges[:, 1]]
    _, group, count = torch.unique(edges.sort(1).values, dim=0, return_inverse=True, return_counts=True)
    forward = torch.zeros_like(count).index_add_(0, group, (edges[:, 0] < edges[:, 1]).long())
    paired = _all(count == 2)
    a, b, c = vertices.double()[faces].unbind(1)
    volume = float((a * torch.linalg.cross(b, c)).sum())
    inside_out = paired and _all(forward == 1) and volume < 0
    return Shape(bool((count == 1).any()), bool((count > 2).any()), paired and not _all(forward == 1), inside_out)


def _all(condition: Bool[Tensor, "N"]) -> bool:
    return bool(condition.all())


@dataclass(frozen=True)
class Shape:
    """Properties of a part that its user should know."""

    open: bool
    non_manifold: bool
    """More than two faces meet at an edge."""
    unevenly_wound: bool
    inside_out: bool
    """It is closed, and its faces look inward."""
