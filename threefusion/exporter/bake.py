"""The colour of a field on the texels of a mesh."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from threefusion.geometry.geometry import HasDensity, HasSurface
from threefusion.geometry.isosurface import DensityGrid, sample_grid
from threefusion.material.material import Material
from threefusion.ops.rasterize import interpolate, rasterize_plane
from threefusion.types import FieldSample, Mesh

CHUNK = 1 << 17
"""Points evaluated together."""

THIN_STEPS = 8
"""Faces that cover no texel's centre are sampled on a triangular grid of this many steps along each edge."""

STEPS = 128
"""Samples of the density along each inward normal, closer together near the surface."""

PointColor = Callable[[Tensor], Tensor]
"""Points [N 3] -> base colour [N 3]."""


def field_color(geometry: HasDensity | HasSurface, material: Material, covariance: float | None) -> PointColor:
    """The base colour of a scene at points; `covariance` (variance along each axis) is for geometries that need one."""

    def color(points: Tensor) -> Tensor:
        blur = () if covariance is None else (torch.full_like(points, covariance),)
        sample = FieldSample(geometry.features(points, *blur), points=points)
        return material.textures(sample)["base_color"].clamp(0, 1)

    return color


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


def vertex_colors(layers: Float[Tensor, "K V 3"], color: PointColor, device: torch.device | str) -> Float[Tensor, "V 3"]:
    """The mean colour of every vertex's layers."""
    return torch.stack([_evaluate(color, layer, device) for layer in layers]).mean(0)


def bake(
    mesh: Mesh, layers: Float[Tensor, "K V 3"], color: PointColor, texture_size: int, device: torch.device | str
) -> Float[Tensor, "T T 3"]:
    """The square texture of a mesh with uv, row 0 on top: under each texel the mean colour of its points in the `layers`.

    Texels outside all charts copy the nearest inside.
    """
    fragments = rasterize_plane(mesh.uv, mesh.faces, texture_size, texture_size)
    covered = fragments.face[0] >= 0
    thin = torch.ones(len(mesh.faces), dtype=torch.bool).index_fill(0, fragments.face[0][covered], False)
    row, column, weights, corners = _crossed_texels(mesh, mesh.faces[thin], covered)
    known = covered.index_put((row, column), torch.tensor(True))
    texture = torch.zeros(texture_size, texture_size, 3)
    for layer in layers:
        points = interpolate(layer, mesh.faces, fragments)[0]
        points[row, column] = (weights[..., None] * layer[corners]).sum(1)
        texture[known] += _evaluate(color, points[known], device) / len(layers)
    return fill(texture, known)


def _crossed_texels(mesh: Mesh, faces: Tensor, covered: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows and columns of uncovered texels under faces that hold no texel's centre, with weights and corners of a point in each.

    A chart can be so thin that it has no texel of its own; without these it would show its neighbour's colour.
    """
    size = len(covered)
    steps = torch.combinations(torch.arange(THIN_STEPS + 2), 2)
    grid = torch.stack([steps[:, 0], steps[:, 1] - steps[:, 0] - 1, THIN_STEPS + 1 - steps[:, 1]], -1) / THIN_STEPS
    uv = torch.einsum("pk,fkc->fpc", grid, mesh.uv[faces]).reshape(-1, 2)
    column = (uv[:, 0] * size).long().clamp(0, size - 1)
    row = ((1 - uv[:, 1]) * size).long().clamp(0, size - 1)
    free = ~covered[row, column]
    weights, corners = grid.repeat(len(faces), 1), faces.repeat_interleave(len(grid), 0)
    return row[free], column[free], weights[free], corners[free]


def fill(texture: Float[Tensor, "H W C"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "H W C"]:
    """The texture with every unknown texel set to the nearest known one."""
    rows, columns = distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
    return texture[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


@torch.no_grad()
def _evaluate(color: PointColor, points: Tensor, device: torch.device | str) -> Float[Tensor, "N 3"]:
    """Colours chunk by chunk, back on the CPU."""
    return torch.cat([color(part.to(device)).float().cpu() for part in points.split(CHUNK)])
