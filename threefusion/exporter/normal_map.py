"""Tangent frames of a mesh with uv, and normals of a finer surface in them, as glTF's normal textures hold them.

glTF: tangent = direction of growing u, bitangent = cross(normal, tangent) w = direction of growing v, which is up in the image.
"""

from __future__ import annotations

import scipy
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.types import Mesh

CHUNK = 1 << 17
"""Points looked up together."""
NEIGHBOURS = 6
"""Vertices of the finer surface whose normals are blended; those that face away from the texel do not count."""
LEAST_SLOPE = 0.05
"""Smallest component along the mesh's own normal; a normal map cannot show a surface from behind."""


def vertex_tangents(mesh: Mesh) -> Float[Tensor, "V 4"]:
    """Unit tangents at right angles to the vertex normals, weighted by the corners' angles as in MikkTSpace, and w = ±1.

    w is -1 where the chart is mirrored. Vertices are assumed to be split where charts meet.
    """
    corners, uv = mesh.vertices[mesh.faces], mesh.uv[mesh.faces]
    along, across = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    (u1, v1), (u2, v2) = (uv[:, 1] - uv[:, 0]).unbind(-1), (uv[:, 2] - uv[:, 0]).unbind(-1)
    area = u1 * v2 - u2 * v1
    sign = torch.where(area < 0, -1.0, 1.0)
    direction = sign[:, None] * (v2[:, None] * along - v1[:, None] * across)
    sides = normalize(corners.roll(-1, 1) - corners, dim=-1)
    angle = torch.acos(-(sides * sides.roll(1, 1)).sum(-1).clamp(-1, 1))
    # each corner's tangent lies in the plane of its own normal before the mean is taken
    normals = mesh.normals[mesh.faces]
    tangent = direction[:, None] - (direction[:, None] * normals).sum(-1, keepdim=True) * normals
    weighted = (angle[..., None] * normalize(tangent, dim=-1)).reshape(-1, 3)
    index = mesh.faces.flatten()
    total = torch.zeros_like(mesh.vertices).index_add_(0, index, weighted)
    total = total - (total * mesh.normals).sum(-1, keepdim=True) * mesh.normals
    mirrored = torch.zeros(len(total)).index_add_(0, index, (angle * area.sign()[:, None]).flatten())
    unit = torch.where(total.norm(dim=-1, keepdim=True) > 1e-6, normalize(total, dim=-1), _any_tangent(mesh.normals))
    return torch.cat([unit, torch.where(mirrored < 0, -1.0, 1.0)[:, None]], -1)


def _any_tangent(normals: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
    """Unit vectors at right angles to the normals."""
    smallest = torch.nn.functional.one_hot(normals.abs().argmin(-1), 3).to(normals)
    return normalize(torch.linalg.cross(normals, smallest), dim=-1)


def frames(normal: Float[Tensor, "N 3"], tangent: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Matrices from tangent space to space, of interpolated normals and tangents, as shaders build them."""
    up, right = normalize(normal, dim=-1), normalize(tangent[:, :3], dim=-1)
    ahead = torch.linalg.cross(up, right) * tangent[:, 3:].sign()
    return torch.stack([right, normalize(ahead, dim=-1), up], -1)


def encode(normal: Float[Tensor, "N 3"], frame: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N 3"]:
    """Unit normals as colours of a normal map: 0.5 + 0.5 n in the frames."""
    local = torch.linalg.solve(frame, normal)
    local[:, 2] = local[:, 2].clamp_min(LEAST_SLOPE)
    return 0.5 + 0.5 * normalize(local, dim=-1)


def decode(color: Float[Tensor, "N 3"], frame: Float[Tensor, "N 3 3"]) -> Float[Tensor, "N 3"]:
    """The unit normals that a renderer reads from a normal map."""
    return normalize((frame @ (2 * color - 1)[..., None])[..., 0], dim=-1)


def surface_normals(surface: Mesh, points: Float[Tensor, "N 3"], facing: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Normals of a finer surface at the points nearest to the given ones, on the side that faces like `facing`.

    Blended from the nearest vertices, nearer ones more. `facing` is returned where all of them face away.
    """
    tree = scipy.spatial.cKDTree(surface.vertices.numpy())
    parts = zip(points.split(CHUNK), facing.split(CHUNK), strict=True)
    return torch.cat([_blended_normals(tree, surface.normals, *part) for part in parts])


def _blended_normals(tree: scipy.spatial.cKDTree, vertex_normals: Tensor, points: Tensor, facing: Tensor) -> Float[Tensor, "N 3"]:
    """Normals of the vertices in `tree`, blended at points."""
    count = min(NEIGHBOURS, tree.n)
    distance, index = (torch.from_numpy(found).view(-1, count) for found in tree.query(points.numpy(), count))
    normals = vertex_normals[index]
    turned = (normals * facing[:, None]).sum(-1).clamp_min(0)
    weight = turned / (distance.square() + 1e-3 * distance.square().mean(-1, keepdim=True) + 1e-20)
    blended = (weight[..., None].float() * normals).sum(1)
    return torch.where(blended.norm(dim=-1, keepdim=True) > 1e-12, normalize(blended, dim=-1), facing)
