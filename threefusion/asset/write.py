"""An asset with other textures, as files like those that it was read from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from threefusion.asset.asset import Asset, AssetMaterial
from threefusion.asset.container import open_container, refusing_damage
from threefusion.asset.obj import patch_obj
from threefusion.asset.patch import Primitive, Repainted, patch_gltf
from threefusion.asset.plain import plain_container
from threefusion.asset.textures import encode

Textures = Mapping[int, Mapping[str, Float[Tensor, "H W C"]]]
"""By index of the asset's material and by name, as in `Mesh.textures`; they hold the complete colours, factors included."""


def retextured(asset: Asset, textures: Textures, corners: Mapping[Primitive, Float[Tensor, "F 3 2"]]) -> dict[str, bytes]:
    """The files of an asset with other textures, by name, the mesh file first. Its other materials stay as they are.

    `corners` are texture coordinates, v up, of the face corners of each primitive without any, in the order of its (first)
    part's faces. A glTF file is patched. An OBJ keeps its text and gets another material library, unless it lacks texture
    coordinates: then, like PLY and STL, it becomes a GLB.

    Raises:
        UserError: the file is damaged.
    """
    suffix = asset.path.suffix.lower()
    changes = [_change(asset, index, named, corners) for index, named in textures.items()]
    if suffix == ".obj" and not corners:
        pictures = {change.name: change.pictures["base_color"] for change in changes if "base_color" in change.pictures}
        return patch_obj(asset.path, pictures)
    with refusing_damage(asset.path):
        container = open_container(asset.path) if suffix in (".glb", ".gltf") else plain_container(asset.path)
        return patch_gltf(container, changes)


def _change(asset: Asset, index: int, textures: Mapping[str, Tensor], corners: Mapping[Primitive, Tensor]) -> Repainted:
    """What changes of one material."""
    material = asset.materials[index]
    pictures = {
        name: encode(_with_alpha(picture, material) if name == "base_color" else picture[..., :3])
        for name, picture in textures.items()
    }
    parts = {part.primitive: part for part in reversed(asset.parts) if part.material == index}
    coordinates = {}
    for primitive, part in parts.items():
        if part.mesh.uv is None:
            uv = corners[primitive].flip(1) if part.reversed else corners[primitive]
            coordinates[primitive] = torch.stack([uv[..., 0], 1 - uv[..., 1]], -1).numpy()
    return Repainted(material.name, material.source, pictures, frozenset(parts), coordinates)


def _with_alpha(picture: Float[Tensor, "H W C"], material: AssetMaterial) -> Float[Tensor, "H W C2"]:
    """A base colour with the alpha channel that the file's has, at its own resolution."""
    color = picture[..., :3].detach().cpu()
    if material.alpha is None:
        return color
    alpha = material.alpha.permute(2, 0, 1)[None]
    if alpha.shape[2:] != color.shape[:2]:
        alpha = interpolate(alpha, tuple(color.shape[:2]), mode="bilinear", antialias=True)
    return torch.cat([color, alpha[0].permute(1, 2, 0)], -1)
