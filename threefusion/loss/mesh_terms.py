"""Regularisers of a triangle surface and of the distances behind it."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from threefusion.errors import UserError
from threefusion.loss.loss import LossTerm
from threefusion.types import Mesh, RenderOutput, ViewBatch, Want


def mesh_of(render: RenderOutput, name: str) -> Mesh:
    """The mesh behind a render.

    Raises:
        UserError: the renderer gave none.
    """
    if render.mesh is None:
        raise UserError(f"loss: {name!r} needs a renderer that gives the mesh, such as 'rasterizer'")
    return render.mesh


class NormalConsistency(LossTerm):
    """Mean over the inner edges of a mesh of 1 - n . m, n and m being the unit normals of the two faces at an edge.

    The normal consistency term of PyTorch3D (Ravi et al., arXiv 2007.08501): 1 - cos of the angle between neighbouring faces.
    """

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted; the same for every view.

        Raises:
            UserError: the renderer gave no mesh.
        """
        mesh = mesh_of(render, "normal-consistency")
        a, b, c = mesh.vertices[mesh.faces].unbind(1)
        normal = normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-12)
        first, second = neighbours(mesh)
        return (1 - (normal[first] * normal[second]).sum(-1)).sum() / max(len(first), 1)


class Laplacian(LossTerm):
    """Mean over the vertices of the distance to the middle of their neighbours.

    The uniform Laplacian (Nealen et al., GRAPHITE 2006) as PyTorch3D has it; nvdiffrec takes the mean square.
    """

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted; the same for every view.

        Raises:
            UserError: the renderer gave no mesh.
        """
        mesh = mesh_of(render, "laplacian")
        first, second = edges_of(mesh)
        total = torch.zeros_like(mesh.vertices).index_add(0, first, mesh.vertices[second])
        total = total.index_add(0, second, mesh.vertices[first])
        count = torch.bincount(torch.cat([first, second]), minlength=len(mesh.vertices))
        offset = (total / count.clamp_min(1)[:, None] - mesh.vertices)[count > 0]
        # the norm has no derivative at 0, where a vertex is in the middle already
        return (offset.square().sum(-1) + 1e-12).sqrt().sum() / max(len(offset), 1)


class SdfEntropy(LossTerm):
    """Mean over the grid edges that the surface crosses of H(sigma(a), sign b) + H(sigma(b), sign a), H the cross-entropy.

    Equation 2 of nvdiffrec (Munkberg et al., arXiv 2111.12503): it takes away floaters and inner surfaces, which nothing sees.
    """

    wants: ClassVar[Want] = Want(edge_distances=True)

    def forward(self, render: RenderOutput, views: ViewBatch) -> Float[Tensor, ""]:
        """The term, unweighted; the same for every view.

        Raises:
            UserError: the renderer or the geometry gave no distances.
        """
        if render.edge_distances is None:
            raise UserError(
                "loss: 'sdf-entropy' needs the renderer 'rasterizer' and a geometry with distances, such as 'tetrahedra'"
            )
        a, b = render.edge_distances.unbind(-1)
        crossed = (a < 0) != (b < 0)
        a, b = a[crossed], b[crossed]
        total = binary_cross_entropy_with_logits(a, (b > 0).to(a.dtype), reduction="sum")
        total = total + binary_cross_entropy_with_logits(b, (a > 0).to(b.dtype), reduction="sum")
        return total / max(len(a), 1)


@torch.no_grad()
def edges_of(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """The two vertices of every edge, each edge once."""
    keys = torch.unique(_keys(mesh))
    return keys // len(mesh.vertices), keys % len(mesh.vertices)


@torch.no_grad()
def neighbours(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """The two faces at every edge that has two; where more meet, consecutive ones."""
    keys, order = _keys(mesh).sort(stable=True)
    same = (keys[1:] == keys[:-1]).nonzero()[:, 0]
    return order[same] % len(mesh.faces), order[same + 1] % len(mesh.faces)


def _keys(mesh: Mesh) -> Tensor:
    """A number for each side of each face, the same for both directions; sides of a face are `len(faces)` apart."""
    ends = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    return ends.amin(-1) * len(mesh.vertices) + ends.amax(-1)
