"""Small meshes with outward winding, a mesh with two fronts, and an exact classifier of fronts."""

from __future__ import annotations

import torch

from threefusion.evaluate.janus import FrontClassifier, truth_views
from threefusion.toyworld.objects import ToyObject
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


def two_faced(mesh: Mesh) -> Mesh:
    """A mesh whose back is the mirror image of its front (x > 0); closed if the mesh is."""
    front = mesh.vertices.clone()
    front[:, 0] = front[:, 0].clamp_min(0)
    kept = mesh.faces[(front[mesh.faces][..., 0] > 0).any(-1)]
    mirror = front.new_tensor([-1.0, 1.0, 1.0])
    return Mesh(
        vertices=torch.cat([front, front * mirror]),
        faces=torch.cat([kept, kept.flip(-1) + len(front)]),
        normals=None if mesh.normals is None else torch.cat([mesh.normals, mesh.normals * mirror]),
        uv=None if mesh.uv is None else torch.cat([mesh.uv, mesh.uv]),
        textures=mesh.textures,
    )


class TruthFrontClassifier(FrontClassifier):
    """Nearest neighbour among views of the ground truth: front if its azimuth is within 45 degrees."""

    size = 48

    def __call__(self, images: torch.Tensor, target: ToyObject) -> torch.Tensor:
        """1 or 0."""
        cameras, truth = truth_views(target, self.size)
        distance = torch.cdist(images.flatten(1), truth.flatten(1))
        return (cameras.azimuth.abs().rad2deg() < 45)[distance.argmin(-1)].float()
