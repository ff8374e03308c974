"""Small meshes with outward winding."""

from __future__ import annotations

import torch

from threefusion.types import Mesh

CORNERS = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
SIDES = torch.tensor(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]
)  # fmt: skip


def box(half: tuple[float, float, float], center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    return Mesh(CORNERS * torch.tensor(half) + torch.tensor(center), SIDES)


def joined(*meshes: Mesh) -> Mesh:
    starts = torch.tensor([0, *(len(mesh.vertices) for mesh in meshes)]).cumsum(0)
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(torch.cat([mesh.vertices for mesh in meshes]), torch.cat(faces))


def flipped(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces.flip(-1))


def textured(mesh: Mesh, color: tuple[float, float, float]) -> Mesh:
    """The mesh in one colour."""
    uv = torch.full((len(mesh.vertices), 2), 0.5)
    return Mesh(mesh.vertices, mesh.faces, None, uv, {"base_color": torch.tensor(color).expand(2, 2, 3).clone()})
