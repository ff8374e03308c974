"""The colour of a field on the texels of a mesh."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from threefusion.ops.rasterize import interpolate, rasterize_plane
from threefusion.types import Mesh

CHUNK = 1 << 17
"""Points asked for their colour at once."""

THIN_STEPS = 8
"""Faces between the texels' centres are looked at on a triangular grid of this many steps along each edge."""

SurfaceColor = Callable[[Tensor, Tensor], Tensor]
"""(points [N 3], outward unit normals [N 3]) -> base colour [N 3]."""


class FieldColor:
    """The base colour that a ray sees which meets a surface head-on.

    A density field has no surface: what a picture shows is the mean colour over the depth in which the ray is absorbed.
    `samples` points from `-depth` (outside) to `depth` (inside) along the inward normal are composited as the volume renderer
    does; 1 takes the colour at the surface itself.
    """

    def __init__(self, geometry: nn.Module, material: nn.Module, depth: float, samples: int) -> None:
        self.geometry = geometry
        self.material = material
        self.offsets = torch.linspace(-depth, depth, samples) if samples > 1 else torch.zeros(1)
        self.step = 2 * depth / max(samples - 1, 1)

    @torch.no_grad()
    def __call__(self, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Base colours in [0, 1], sRGB."""
        inward = points[:, None] - normals[:, None] * self.offsets.to(points)[:, None]
        sample = self.geometry(inward.reshape(-1, 3), False)
        color = self.material.textures(sample)["base_color"].view(*inward.shape[:2], 3)
        optical = sample.density.view(inward.shape[:2]) * self.step
        before = optical.cumsum(-1) - optical
        weight = (-before).exp() * -torch.expm1(-optical) + 1e-6
        return ((weight[..., None] * color).sum(1) / weight.sum(1, keepdim=True)).clamp(0, 1)


def vertex_colors(mesh: Mesh, color: SurfaceColor, device: torch.device | str) -> Float[Tensor, "V 3"]:
    """The colour at every vertex; needs normals."""
    return _ask(color, mesh.vertices, mesh.normals, device)


def bake(mesh: Mesh, color: SurfaceColor, texture_size: int, device: torch.device | str) -> Float[Tensor, "T T 3"]:
    """The square texture of a mesh with uv and normals, row 0 on top; texels outside all charts copy the nearest inside."""
    fragments = rasterize_plane(mesh.uv, mesh.faces, texture_size, texture_size)
    covered = fragments.face[0] >= 0
    points = interpolate(mesh.vertices, mesh.faces, fragments)[0]
    normals = interpolate(mesh.normals, mesh.faces, fragments)[0]
    thin = torch.ones(len(mesh.faces), dtype=torch.bool).index_fill(0, fragments.face[0][covered], False)
    row, column, weights, corners = _crossed_texels(mesh, mesh.faces[thin], covered)
    points[row, column] = (weights[..., None] * mesh.vertices[corners]).sum(1)
    normals[row, column] = (weights[..., None] * mesh.normals[corners]).sum(1)
    covered[row, column] = True
    texture = torch.zeros(texture_size, texture_size, 3)
    texture[covered] = _ask(color, points[covered], nn.functional.normalize(normals[covered], dim=-1), device)
    return fill(texture, covered)


def _crossed_texels(mesh: Mesh, faces: Tensor, covered: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows and columns of uncovered texels under faces that hold no texel's centre, with weights and corners of a point in each.

    A chart can be so thin that it has no texel of its own; without these it would show its neighbour's colour.
    """
    size = len(covered)
    steps = torch.combinations(torch.arange(THIN_STEPS + 2), 2)
    grid = torch.stack([steps[:, 0], steps[:, 1] - steps[:, 0] - 1, THIN_STEPS + 1 - steps[:, 1]], -1) / THIN_STEPS
    place = torch.einsum("pk,fkc->fpc", grid, mesh.uv[faces]).reshape(-1, 2)
    column = (place[:, 0] * size).long().clamp(0, size - 1)
    row = ((1 - place[:, 1]) * size).long().clamp(0, size - 1)
    free = ~covered[row, column]
    weights, corners = grid.repeat(len(faces), 1), faces.repeat_interleave(len(grid), 0)
    return row[free], column[free], weights[free], corners[free]


def fill(texture: Float[Tensor, "H W C"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "H W C"]:
    """The texture with every unknown texel set to the nearest known one."""
    rows, columns = distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
    return texture[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


def _ask(color: SurfaceColor, points: Tensor, normals: Tensor, device: torch.device | str) -> Float[Tensor, "N 3"]:
    """Colours chunk by chunk, back on the CPU."""
    pairs = zip(points.split(CHUNK), normals.split(CHUNK), strict=True)
    return torch.cat([color(p.to(device), n.to(device)).float().cpu() for p, n in pairs])
