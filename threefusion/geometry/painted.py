"""A mesh file's parts as one mesh, with a table of its texels and what each shows at the start."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from threefusion.errors import UserError, first_line, nearest
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.normals import vertex_normals
from threefusion.geometry.settings import TexturedMeshConfig
from threefusion.geometry.texels import covered_texels, wraps_of
from threefusion.ops.color import decode_srgb, encode_srgb
from threefusion.ops.join import join
from threefusion.types import Mesh

if TYPE_CHECKING:
    from threefusion.asset.asset import Asset, AssetMaterial

GRAY = 0.5
"""Base colour of a retextured mesh at the start."""
SIZE = 1024
"""Width and height of the textures of a material without any."""


Primitive = tuple[int, int]
"""A mesh of a file, and which of its primitives."""


@dataclass(frozen=True)
class MeshFile:
    """A mesh file with texture coordinates everywhere."""

    asset: Asset
    bare: frozenset[Primitive]
    """Primitives that have no texture coordinates in the file."""
    packed: bytes
    """The file and what it refers to, in one piece."""


@dataclass(frozen=True)
class Painted:
    """The tensors of a textured mesh that training does not change."""

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    normals: Float[Tensor, "V 3"]
    uv: Float[Tensor, "V 2"]
    welded: Int[Tensor, "F 3"]
    """Faces, with one vertex for all at one place."""
    material: Int[Tensor, "F"]
    sizes: Int[Tensor, "K 2"]
    """Height and width of each material's textures; 0 where no part has the material."""
    wraps: Int[Tensor, "K 2"]
    index: Int[Tensor, "T"]
    """For the texels of all materials, one texture after the other, row by row, which of the N it shows."""
    open: Bool[Tensor, "T"]
    """Which of them the mask lets change."""
    point: Float[Tensor, "N 3"]
    """A point of the surface under each texel that a face reads."""
    normal: Float[Tensor, "N 3"]
    """Of unit length; 0 for texels that are only next to one under a face."""
    start: Float[Tensor, "N D"]
    """Features at the start."""
    free: Bool[Tensor, "N D"]
    """Features that may change."""
    bare: Int[Tensor, "P 4"]
    """Primitives without texture coordinates in the file: mesh, primitive, and their first face here and how many there are."""
    source: UInt8[Tensor, "B"]
    """The file and what it refers to, as `threefusion.asset.source.pack` makes it."""

    @classmethod
    def names(cls) -> list[str]:
        """The names of the tensors."""
        return [field.name for field in fields(cls)]

    @classmethod
    def empty(cls, width: int) -> Painted:
        """Without faces."""
        real, whole = torch.zeros, lambda *shape: torch.zeros(shape, dtype=torch.int64)
        rows = (real(0, 3), real(0, 3), real(0, width), torch.zeros(0, width, dtype=torch.bool))
        mesh = (real(0, 3), whole(0, 3), real(0, 3), real(0, 2), whole(0, 3), whole(0), whole(0, 2), whole(0, 2), whole(0))
        mesh += (torch.zeros(0, dtype=torch.bool),)
        return cls(*mesh, *rows, whole(0, 4), torch.zeros(0, dtype=torch.uint8))


@dataclass(frozen=True)
class Table:
    """The texels of one material."""

    size: tuple[int, int]
    index: Int[Tensor, "H W"]
    open: Bool[Tensor, "H W"]
    point: Float[Tensor, "N 3"]
    normal: Float[Tensor, "N 3"]
    start: Float[Tensor, "N D"]
    free: Bool[Tensor, "N D"]


def painted(cfg: TexturedMeshConfig, context: BuildContext) -> Painted:
    """The mesh file of a geometry, its texels and what they show at the start.

    Raises:
        UserError: there is no file, or a material or the mask of the settings does not fit it.
    """
    if context.asset is None:
        raise UserError("geometry.mesh: a textured-mesh needs a mesh file: train with --mesh FILE, or set geometry.mesh")
    file = context.asset()
    asset = file.asset
    names = [material.name for material in asset.materials]
    for name in cfg.materials:
        if name not in names:
            raise UserError(f"geometry.materials: {asset.path} has no material {name!r}{nearest(name, names)}")
    mesh, material = joined(asset)
    tables = [_table(cfg, context, one, mesh, (material == number).nonzero()[:, 0]) for number, one in enumerate(asset.materials)]
    before = torch.tensor([0, *(len(table.point) for table in tables)]).cumsum(0).tolist()
    columns = {name: torch.cat([getattr(table, name) for table in tables]) for name in ("point", "normal", "start", "free")}
    if not columns["free"].any():
        raise UserError("geometry: nothing of the mesh may change: its mask, or the materials and channels named, leave no texel")
    return Painted(
        mesh.vertices,
        mesh.faces,
        mesh.normals,
        mesh.uv,
        welded(mesh),
        material,
        sizes=torch.tensor([table.size for table in tables]),
        wraps=torch.stack([wraps_of(one.wrap) for one in asset.materials]),
        open=torch.cat([table.open.flatten() for table in tables]),
        index=torch.cat([table.index.flatten() + shift for table, shift in zip(tables, before, strict=False)]),
        bare=_bare(file),
        source=torch.frombuffer(bytearray(file.packed), dtype=torch.uint8),
        **columns,
    )


def joined(asset: Asset) -> tuple[Mesh, Int[Tensor, "F"]]:
    """All parts as one mesh with normals and colours, white where a part has none, and the material of each face."""
    meshes = [
        replace(
            mesh,
            normals=smooth_normals(mesh) if mesh.normals is None else mesh.normals,
            colors=torch.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors,
        )
        for mesh in (part.mesh for part in asset.parts)
    ]
    mesh = join(meshes, "normals", "uv", "colors")
    return mesh, torch.cat([torch.full((len(part.mesh.faces),), part.material) for part in asset.parts])


def _bare(file: MeshFile) -> Int[Tensor, "P 4"]:
    """`Painted.bare`; of instances the first."""
    rows, first = {}, 0
    for part in file.asset.parts:
        count = len(part.mesh.faces)
        if part.primitive in file.bare:
            rows.setdefault(part.primitive, (*part.primitive, first, count))
        first += count
    return torch.tensor(list(rows.values()), dtype=torch.int64).view(-1, 4)


def welded(mesh: Mesh) -> Int[Tensor, "F 3"]:
    """The faces of a mesh with the first vertex of all at one place."""
    index = torch.unique(mesh.vertices, dim=0, return_inverse=True)[1]
    number = torch.arange(len(index))
    first = torch.full_like(number, len(index)).scatter_reduce(0, index, number, "amin")
    return first[index[mesh.faces]]


def smooth_normals(mesh: Mesh) -> Float[Tensor, "V 3"]:
    """Unit normals at the vertices, those at one place being one."""
    positions, index = torch.unique(mesh.vertices, dim=0, return_inverse=True)
    return vertex_normals(Mesh(positions, index[mesh.faces]))[index]


def _table(cfg: TexturedMeshConfig, context: BuildContext, material: AssetMaterial, mesh: Mesh, faces: Tensor) -> Table:
    """The texels of a material under its faces."""
    width = context.feature_width
    if not len(faces):
        none, flat = torch.zeros(0, 3), torch.zeros(0, 0)
        return Table((0, 0), flat.long(), flat.bool(), none, none, torch.zeros(0, width), torch.zeros(0, width).bool())
    size = _size(cfg, material)
    covered = covered_texels(mesh.uv[mesh.faces[faces]], size, material.wrap)

    def at_texels(attribute: Tensor) -> Tensor:
        return (covered.weights[..., None] * attribute[mesh.faces[faces[covered.face]]]).sum(1)

    given = context.features_of(values_of(material, size, covered.texel, at_texels(mesh.colors)))
    columns = [number for name in cfg.channels for number in range(width)[context.texture_features.get(name, slice(0))]]
    free = torch.zeros(width, dtype=torch.bool).index_fill(0, torch.tensor(columns, dtype=torch.int64), True)
    unlocked = not cfg.materials or material.name in cfg.materials
    mask = _mask(cfg.mask, size)
    free = (mask.flatten()[covered.texel] & unlocked)[:, None] & free
    gray = context.features_of({"base_color": torch.full((len(given), 3), GRAY)})
    start = torch.where(free, gray, given) if cfg.start == "gray" else given
    normal = normalize(at_texels(mesh.normals), dim=-1) * covered.inside[:, None]
    return Table(size, covered.index, mask, at_texels(mesh.vertices), normal, start, free)


def _size(cfg: TexturedMeshConfig, material: AssetMaterial) -> tuple[int, int]:
    """Height and width of the textures of a material: of the settings, or the largest that the file has."""
    if cfg.texture_size is not None:
        return cfg.texture_size, cfg.texture_size
    given = [tuple(texture.shape[:2]) for texture in material.textures.values()]
    return max(given, key=lambda size: size[0] * size[1], default=(SIZE, SIZE))


def values_of(
    material: AssetMaterial, size: tuple[int, int], texel: Int[Tensor, "N"], colors: Float[Tensor, "N 3"]
) -> dict[str, Float[Tensor, "N 3"]]:
    """Base colour, and roughness and metallic, of texels as the file has them, factors and vertex colours included."""

    def texture(name: str) -> Tensor:
        image = material.textures.get(name)
        if image is None:
            return torch.ones(len(texel), 3)
        if tuple(image.shape[:2]) != size:
            resized = interpolate(image.permute(2, 0, 1)[None], size, mode="bilinear", antialias=True)
            image = resized[0].permute(1, 2, 0).clamp(0, 1)
        return image[..., :3].reshape(-1, 3)[texel]

    base, factor = texture("base_color"), torch.tensor(material.base_color[:3])
    if (factor != 1).any() or (colors != 1).any():
        base = encode_srgb(decode_srgb(base) * factor * decode_srgb(colors))
    surface = texture("metallic_roughness") * torch.tensor([1.0, material.roughness, material.metallic])
    return {"base_color": base, "metallic_roughness": surface}


def _mask(name: str, size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Which texels may change: those where the picture is lighter than middle grey; all without one.

    Raises:
        UserError: it cannot be read.
    """
    if not name:
        return torch.ones(size, dtype=torch.bool)
    from PIL import Image

    try:
        with Image.open(Path(name)) as picture:
            grey = picture.convert("L").resize(size[::-1], Image.Resampling.NEAREST)
    except (OSError, ValueError) as error:
        raise UserError(f"geometry.mask: {name} is no picture that can be read ({first_line(error)})") from error
    return torch.from_numpy(np.array(grey)) > 127
