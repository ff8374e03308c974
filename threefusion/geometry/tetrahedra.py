"""Deep marching tetrahedra: a surface from signed distances and displaced vertices of a tetrahedral grid."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.geometry.appearance import Appearance
from threefusion.geometry.conversion import distance_before
from threefusion.geometry.ellipsoid import ellipsoid_distance
from threefusion.geometry.geometry import BuildContext, Geometry, HasSurface
from threefusion.geometry.settings import TetrahedraConfig
from threefusion.geometry.tetrahedral_grid import bcc_grid, cells_of
from threefusion.ops.marching_tetrahedra import crossed_edges, crossings
from threefusion.types import Mesh

DISPLACEMENT = 0.25 / sqrt(3)
"""Largest displacement along an axis, in cells: moving by less than a quarter of a cell turns no tetrahedron over."""
BORDER = 1.25
"""Cells between the ball's border and the outermost vertex that can be inside, so that the surface stays in the ball."""


class Tetrahedra(HasSurface):
    """DMTet (Shen et al., NeurIPS 2021, arXiv 2111.04276): distances and displacements of the vertices are trained."""

    takes_shape: ClassVar[str] = "built"

    def __init__(self, cfg: TetrahedraConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        self.radius = cfg.radius
        cells = cells_of(cfg.resolution)
        rest, tets = bcc_grid(cells)
        self.cell = 2 * cfg.radius / cells
        for name, value in (("rest", rest * cfg.radius), ("tets", tets.int())):
            self.register_buffer(name, value, persistent=False)
        self.rim = cfg.radius - (BORDER + 0.5) * self.cell
        self.register_buffer("border", self.rest.norm(dim=-1) - (cfg.radius - BORDER * self.cell), persistent=False)
        distance, displacement = self._initial(context)
        self.distance = nn.Parameter(distance, requires_grad=cfg.train_shape)
        self.displacement = nn.Parameter(displacement, requires_grad=cfg.train_shape)
        self.appearance = Appearance(cfg.encoding, cfg.hidden_width, cfg.hidden_layers, context.feature_width, cfg.radius)

    def _initial(self, context: BuildContext) -> tuple[Float[Tensor, "V"], Float[Tensor, "V 3"]]:
        """Signed distances and displacements: those of the scene before on the same grid, or those to its surface, or to the
        ellipsoid of the settings."""
        before = None if context.previous is None else context.previous.geometry
        if isinstance(before, Tetrahedra) and torch.equal(before.rest.cpu(), self.rest):
            return before.distance.detach().cpu().clone(), before.displacement.detach().cpu().clone()
        distance = None if context.restoring else distance_before(context, self.rest)
        if distance is None:
            distance, _ = ellipsoid_distance(self.rest, [self.radius * axis for axis in self.cfg.shape])
        return distance[:, 0], torch.zeros_like(self.rest)

    def mesh(self) -> Mesh:
        """The closed surface, differentiable in distances and displacements."""
        distance = self._bounded()
        edges, faces = crossed_edges(distance, self.tets)
        edge = edges.flatten()
        # index_select: several times as fast as an index in brackets
        moved = DISPLACEMENT * self.cell * self.displacement.index_select(0, edge).tanh()
        ends = (self.rest.index_select(0, edge) + moved).view(-1, 2, 3)
        return Mesh(crossings(ends, distance.index_select(0, edge).view(-1, 2)), faces)

    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
        """Features at points."""
        return self.appearance(points)

    def copy_features(self, before: Geometry) -> bool:
        """Take over encoding and network if they fit."""
        return self.appearance.copy_from(before)

    def edge_distances(self) -> Float[Tensor, "E 2"]:
        """Signed distances at the ends of the edges that the surface crosses."""
        distance = self._bounded()
        return distance[crossed_edges(distance, self.tets)[0]]

    def _bounded(self) -> Float[Tensor, "V"]:
        """The distances of the part inside the ball: the larger of two distances belongs to the intersection."""
        # past the maximum the derivative is kept, so that a surface at the border can shrink
        return self.distance + (self.border - self.distance).relu().detach()
