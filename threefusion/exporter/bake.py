"""The textures of a field on the texels of a mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.geometry.geometry import HasDensity, HasDistance, HasSurface
from threefusion.geometry.isosurface import DensityGrid, sample_grid
from threefusion.material.material import Material
from threefusion.ops.rasterize import rasterize_plane
from threefusion.types import FieldSample, Mesh

CHUNK = 1 << 17
"""Points evaluated together."""

THIN_STEPS = 8
"""Faces that cover no texel's centre are sampled on a triangular grid of this many steps along each edge."""

STEPS = 128
"""Samples of the density along each inward normal, closer together near the surface."""

PointTextures = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""Points [N 3], normals there [N 3] -> values of the material's textures [N C], by glTF name."""


@dataclass(frozen=True)
class Texels:
    """The texels of a square texture under a mesh, and the point of the mesh that each of them shows."""

    known: Bool[Tensor, "T T"]
    """Texels under a face; the N values below are theirs, row by row."""
    corners: Int[Tensor, "N 3"]
    weights: Float[Tensor, "N 3"]
    """Barycentric coordinates in the face with those corners."""

    def interpolate(self, attribute: Float[Tensor, "V C"]) -> Float[Tensor, "N C"]:
        """A vertex attribute at the texels."""
        return (self.weights[..., None] * attribute[self.corners]).sum(1)

    def image(self, values: Float[Tensor, "N C"]) -> Float[Tensor, "T T C"]:
        """The texture, row 0 on top; texels outside all charts copy the nearest inside."""
        texture = values.new_zeros(*self.known.shape, values.shape[-1])
        texture[self.known] = values
        return fill(texture, self.known)


def field_textures(
    geometry: HasDensity | HasDistance | HasSurface, material: Material, covariance: float | None
) -> PointTextures:
    """The textures of a scene at points; `covariance` (variance along each axis) is for geometries that need one."""

    def textures(points: Tensor, normals: Tensor) -> dict[str, Tensor]:
        blur = () if covariance is None else (torch.full_like(points, covariance),)
        sample = FieldSample(geometry.features(points, *blur), points=points, normal=normals)
        made = material.textures(sample)
        return {name: values if name == "normal" else values.clamp(0, 1) for name, values in made.items()}

    return textures


@torch.no_grad()
def absorption_layers(grid: DensityGrid, mesh: Mesh, count: int) -> Float[Tensor, "K V 3"]:
    """Under every vertex, `count` points at which a ray that enters head-on has lost equal shares of what it loses.

    A density field has no surface: a picture shows the mean colour over the depth in which rays are absorbed, a hair in a
    sharp field and much of the object in a foggy one. The mean colour of the layers is that mean, in equal parts.
    """
    parts = zip(mesh.vertices.split(CHUNK // STEPS), mesh.normals.split(CHUNK // STEPS), strict=True)
    return torch.cat([_layers(grid, vertices, normals, count) for vertices, normals in parts], 1)


def _layers(grid: DensityGrid, vertices: Tensor, normals: Tensor, count: int) -> Float[Tensor, "K V 3"]:
    """The layers under some vertices."""
    device = grid.log_density.device
    vertices, normals = vertices.to(device), normals.to(device)
    depth = torch.linspace(0, 1, STEPS + 1, device=device).square() * (grid.radius + grid.cell) - grid.cell
    points = vertices[:, None] - 0.5 * (depth[1:] + depth[:-1])[:, None] * normals[:, None]
    lost = -torch.expm1(-(sample_grid(grid, points).exp() * depth.diff()).cumsum(-1))
    lost = torch.cat([torch.zeros_like(lost[:, :1]), lost], -1)
    share = (torch.arange(count, device=device) + 0.5) / count * lost[:, -1:]
    after = torch.searchsorted(lost, share, right=True).clamp(1, STEPS)
    low, high = lost.gather(1, after - 1), lost.gather(1, after)
    part = ((share - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    reached = torch.lerp(depth[after - 1], depth[after], part)
    return (vertices[:, None] - reached[..., None] * normals[:, None]).transpose(0, 1).cpu()


def mean_textures(
    layers: Float[Tensor, "K N 3"], normals: Float[Tensor, "N 3"], textures: PointTextures, device: torch.device | str
) -> dict[str, Float[Tensor, "N C"]]:
    """The mean over the layers of every texture."""
    total: dict[str, Tensor] = {}
    for layer in layers:
        for name, values in _evaluate(textures, layer, normals, device).items():
            total[name] = total.get(name, 0) + values / len(layers)
    return total


def texels_of(mesh: Mesh, texture_size: int) -> Texels:
    """The texels under a mesh with uv."""
    fragments = rasterize_plane(mesh.uv, mesh.faces, texture_size, texture_size)
    face, weights = fragments.face[0], fragments.barycentric[0]
    covered = face >= 0
    thin = torch.ones(len(mesh.faces), dtype=torch.bool).index_fill(0, face[covered], False)
    texel, thin_weights, thin_corners = _crossed_texels(mesh, mesh.faces[thin], covered)
    known = covered.flatten().index_fill(0, texel, True).view_as(covered)
    corners = mesh.faces[face.clamp_min(0)]
    corners.view(-1, 3)[texel], weights.view(-1, 3)[texel] = thin_corners, thin_weights
    return Texels(known, corners[known], weights[known])


def _crossed_texels(mesh: Mesh, faces: Tensor, covered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Uncovered texels under faces that hold no texel's centre, each once, with weights and corners of a point in each.

    A chart can be so thin that it has no texel of its own; without these it would show its neighbour's colour. The first of
    several faces has the texel: which assignment to one place comes last differs between runs with several threads.
    """
    size = len(covered)
    steps = torch.combinations(torch.arange(THIN_STEPS + 2), 2)
    grid = torch.stack([steps[:, 0], steps[:, 1] - steps[:, 0] - 1, THIN_STEPS + 1 - steps[:, 1]], -1) / THIN_STEPS
    uv = (grid[None, :, :, None] * mesh.uv[faces][:, None]).sum(2).reshape(-1, 2)
    column = (uv[:, 0] * size).long().clamp(0, size - 1)
    row = ((1 - uv[:, 1]) * size).long().clamp(0, size - 1)
    texel, first = np.unique((row * size + column).numpy(), return_index=True)
    texel, first = torch.from_numpy(texel), torch.from_numpy(first)
    free = ~covered.flatten()[texel]
    texel, first = texel[free], first[free]
    return texel, grid[first % len(grid)], faces[first // len(grid)]


def fill(texture: Float[Tensor, "H W C"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "H W C"]:
    """The texture with every unknown texel set to the nearest known one."""
    rows, columns = scipy.ndimage.distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
    return texture[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


@torch.no_grad()
def _evaluate(
    textures: PointTextures, points: Tensor, normals: Tensor, device: torch.device | str
) -> dict[str, Float[Tensor, "N C"]]:
    """Textures chunk by chunk, back on the CPU."""
    pairs = zip(points.split(CHUNK), normals.split(CHUNK), strict=True)
    parts = [textures(part.to(device), facing.to(device)) for part, facing in pairs]
    return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}
