"""An asset as one mesh with one base-colour texture or with vertex colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from threefusion.asset.asset import Z_UP, Asset, AssetMaterial, AssetPart, Placement
from threefusion.asset.read import read_asset
from threefusion.messages import Noted, send
from threefusion.ops.color import decode_srgb, encode_srgb
from threefusion.ops.join import join
from threefusion.types import Mesh

KEPT = (0.25, 0.9)
"""A mesh that reaches this far from the origin, in radii of the scene, keeps its place and size, such as an exported one."""
TILES = 4
"""Copies of a repeated texture along each axis that a face can reach over."""


def read_mesh(path: Path) -> Mesh:
    """The triangles of a file with a base-colour texture or vertex colours, of the size that they have there.

    Closed parts that are inside out are turned outward. What is peculiar is logged.

    Raises:
        UserError: as `read_asset`.
    """
    asset = read_asset(path, None)
    for note in asset.notes:
        send(Noted(f"{path.name}: {note}"))
    return single_mesh(asset)


def fitted(mesh: Mesh, radius: float) -> tuple[Mesh, float | None]:
    """A mesh inside the ball of `radius`: as it is if it suits it, otherwise centred and scaled by the second value."""
    reach = float(mesh.vertices.norm(dim=-1).max()) / radius
    if KEPT[0] <= reach <= KEPT[1]:
        return mesh, None
    placement = Placement.fit(mesh.vertices, radius, Z_UP)
    return replace(mesh, vertices=placement.to_scene(mesh.vertices).float()), placement.scale


def single_mesh(asset: Asset) -> Mesh:
    """All parts as one mesh, without normals; factors and vertex colours are part of its colours.

    Textures of several materials become one. Where vertex colours multiply textures, colours are those at the vertices.
    """
    materials = asset.materials
    if not any("base_color" in materials[part.material].textures for part in asset.parts):
        return join(
            [replace(part.mesh, uv=None, colors=_plain(part, materials[part.material])) for part in asset.parts], "colors"
        )
    if any(part.mesh.colors is not None for part in asset.parts):
        return join(
            [replace(part.mesh, uv=None, colors=_sampled(part, materials[part.material])) for part in asset.parts], "colors"
        )
    tiles = {index: _tile(asset, index) for index in sorted({part.material for part in asset.parts})}
    if len(tiles) == 1:
        (tile,) = tiles.values()
        return replace(
            join([tile.mapped(part.mesh) for part in asset.parts], "uv", "colors"), textures={"base_color": tile.image}
        )
    atlas, corners = _stacked([tile.image for tile in tiles.values()])
    size = torch.tensor(atlas.shape[1::-1])
    meshes = []
    for part in asset.parts:
        position = list(tiles).index(part.material)
        mesh, image = tiles[part.material].mapped(part.mesh), tiles[part.material].image
        pixel = torch.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1) * torch.tensor(image.shape[1::-1]) + corners[position]
        meshes.append(replace(mesh, uv=torch.stack([pixel[:, 0] / size[0], 1 - pixel[:, 1] / size[1]], 1)))
    return replace(join(meshes, "uv", "colors"), textures={"base_color": atlas})


@dataclass(frozen=True)
class Tile:
    """A picture, and which part of the plane of texture coordinates it shows."""

    image: Float[Tensor, "H W 3"]
    period: Float[Tensor, "2"]
    """Distance, along u and v, after which the material's texture repeats; infinite where it does not."""
    extent: Float[Tensor, "2"]
    """How far the picture reaches from 0."""

    def mapped(self, mesh: Mesh) -> Mesh:
        """A mesh whose texture coordinates are those in the picture; vertices are split where the texture repeats."""
        if mesh.uv is None:
            return replace(mesh, uv=torch.full((len(mesh.vertices), 2), 0.5), normals=None)
        shift = _shift(mesh, self.period)
        rows = torch.cat([mesh.faces.reshape(-1, 1).double(), shift.repeat_interleave(3, 0).double()], 1)
        pairs, index = torch.unique(rows, dim=0, return_inverse=True)
        vertex = pairs[:, 0].long()
        uv = (mesh.uv[vertex] - pairs[:, 1:].float()) / self.extent
        uv = torch.where(self.period.isinf(), uv.clamp(0, 1), uv)
        return Mesh(mesh.vertices[vertex], index.view(-1, 3), uv=uv)


def _shift(mesh: Mesh, period: Float[Tensor, "2"]) -> Float[Tensor, "F 2"]:
    """What to subtract from the texture coordinates of each face, so that it begins in the first period."""
    lowest = mesh.uv[mesh.faces].amin(1)
    return torch.where(period.isinf(), 0.0, torch.where(period.isinf(), 1.0, period) * (lowest / period).floor())


def _tile(asset: Asset, index: int) -> Tile:
    """The picture of a material, with its factor, as often as its faces need it."""
    material = asset.materials[index]
    image = _factored(material.textures.get("base_color", torch.ones(2, 2, 3)), material)
    period = torch.ones(2)
    for axis, mode in enumerate(material.wrap):
        if mode == "mirror":
            image = torch.cat([image, image.flip(1)], 1) if axis == 0 else torch.cat([image.flip(0), image], 0)
            period[axis] = 2.0
        elif mode == "clamp":
            period[axis] = torch.inf
    parts = [part.mesh for part in asset.parts if part.material == index and part.mesh.uv is not None]
    reach = [(mesh.uv[mesh.faces] - _shift(mesh, period)[:, None]).amax((0, 1)) for mesh in parts]
    finite = torch.where(period.isinf(), 1.0, period)
    copies = (torch.stack(reach).amax(0) / period - 1e-6).ceil().clamp(1, TILES) if reach else torch.ones(2)
    return Tile(image.tile(int(copies[1]), int(copies[0]), 1), period, finite * copies)


def _stacked(images: Sequence[Float[Tensor, "..."]]) -> tuple[Float[Tensor, "H W 3"], Int[Tensor, "K 2"]]:
    """Pictures one below the other, and the column and row at which each begins; their borders are repeated once round them."""
    width = max(image.shape[1] for image in images) + 2
    rows, corners = [], []
    for image in images:
        corners.append((1, 1 + sum(row.shape[0] for row in rows)))
        framed = pad(image.permute(2, 0, 1)[None], (1, width - image.shape[1] - 1, 1, 1), mode="replicate")
        rows.append(framed[0].permute(1, 2, 0))
    return torch.cat(rows), torch.tensor(corners)


def _factored(color: Float[Tensor, "*S 3"], material: AssetMaterial) -> Float[Tensor, "*S 3"]:
    """sRGB colours times the linear factor of a material."""
    factor = torch.tensor(material.base_color[:3])
    return color if (factor == 1).all() else encode_srgb(decode_srgb(color) * factor)


def _plain(part: AssetPart, material: AssetMaterial) -> Float[Tensor, "V 3"]:
    """Colours of vertices without a texture."""
    return _factored(torch.ones_like(part.mesh.vertices) if part.mesh.colors is None else part.mesh.colors, material)


def _sampled(part: AssetPart, material: AssetMaterial) -> Float[Tensor, "V 3"]:
    """Colours at the vertices, of the texture too."""
    colors = _plain(part, material)
    if "base_color" not in material.textures:
        return colors
    uv = part.mesh.uv.remainder(1)
    where = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)[None, None]
    image = material.textures["base_color"].permute(2, 0, 1)[None]
    texels = grid_sample(image, where, align_corners=False, padding_mode="border")[0, :, 0].T
    return encode_srgb(decode_srgb(texels) * decode_srgb(colors))
