"""Reference meshes: ground truth of toy objects, and a mesh with two fronts."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.toyworld.objects import ToyObject, class_mesh, class_normal
from threefusion.types import Mesh

RESOLUTION = 96


@lru_cache(maxsize=16)
def truth_mesh(target: ToyObject, resolution: int = RESOLUTION) -> Mesh:
    """Textured mesh of a toy object; vertices are split at colour boundaries, so that colours stay sharp."""
    vertices, faces = class_mesh(target.name, resolution)
    return paint(vertices, faces, class_normal(target.name, vertices), target)


def paint(vertices: Float[Tensor, "V 3"], faces: Tensor, normals: Float[Tensor, "V 3"], target: ToyObject) -> Mesh:
    """Mesh whose faces have the object's colour at their centroids; the texture is a row of all colours."""
    palette, index = torch.unique(target.albedo(vertices[faces].mean(1)), dim=0, return_inverse=True)
    # one vertex per position and colour
    pair, split = torch.unique(faces * len(palette) + index[:, None], return_inverse=True)
    origin, color = pair // len(palette), pair % len(palette)
    uv = torch.stack([(color + 0.5) / len(palette), torch.full_like(color, 0.5, dtype=torch.float32)], -1)
    return Mesh(vertices[origin], split, normals[origin], uv, {"base_color": palette[None]})


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
