"""Materials of a glTF file, and its images as tensors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.asset.asset import AssetMaterial, Wrap
from threefusion.asset.container import Container
from threefusion.errors import UserError

if TYPE_CHECKING:
    import PIL.Image

LARGEST = 2**26
"""Most pixels of an image: 8192 x 8192."""
MODES: dict[int, Wrap] = {10497: "repeat", 33071: "clamp", 33648: "mirror"}
"""Wrapping modes of a sampler."""
Coordinates = tuple[str, tuple[float, ...]]
"""An attribute with texture coordinates, and the offset, rotation and scale that are applied to them."""


def slots(material: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The texture entries of a material that can be trained: name as in `Mesh.textures`, owner, key."""
    surface = material.get("pbrMetallicRoughness", {})
    yield "base_color", surface, "baseColorTexture"
    yield "metallic_roughness", surface, "metallicRoughnessTexture"
    yield "normal", material, "normalTexture"


def read_material(container: Container, index: int | None) -> tuple[AssetMaterial, Coordinates, list[str]]:
    """A material of the file, or the default one; the texture coordinates that its textures use; notes.

    Textures with other coordinates than the base colour's (or the first one's) are left as they are.
    """
    entry = {} if index is None else container.entry("materials", index)
    name = str(entry.get("name") or ("default" if index is None else f"material {index}"))
    if "KHR_materials_pbrSpecularGlossiness" in entry.get("extensions", {}):
        container.refuse_extensions(["KHR_materials_pbrSpecularGlossiness"])
    infos = {key: owner[field] for key, owner, field in slots(entry) if field in owner}
    used = {key: _coordinates(container, info) for key, info in infos.items()}
    common = next(iter(used.values()), ("TEXCOORD_0", ()))
    notes = [
        f"material {name}: the texture {key} has texture coordinates of its own and stays as it is"
        for key in used
        if used[key] != common
    ]
    infos = {key: info for key, info in infos.items() if used[key] == common}
    surface = entry.get("pbrMetallicRoughness", {})
    factor = surface.get("baseColorFactor", [1.0, 1.0, 1.0, 1.0])
    textures, alpha = {}, None
    for key, info in infos.items():
        image = read_image(container, container.entry("textures", info.get("index")))
        textures[key] = image[..., :3]
        if key == "base_color" and image.shape[-1] == 4:
            alpha = image[..., 3:]
        if key == "normal":
            textures[key] = _scaled(image[..., :3], float(info.get("scale", 1.0)))
    material = AssetMaterial(
        name,
        textures,
        _four(container, factor),
        float(surface.get("metallicFactor", 1.0)),
        float(surface.get("roughnessFactor", 1.0)),
        _wrap(container, infos),
        alpha,
        {"MASK": "mask", "BLEND": "blend"}.get(entry.get("alphaMode"), "opaque"),
        float(entry.get("alphaCutoff", 0.5)),
        index,
    )
    return material, common, notes


def read_image(container: Container, texture: dict[str, Any]) -> Float[Tensor, "H W C"]:
    """The picture of a texture with values in [0, 1]; four channels if it has alpha.

    Raises:
        UserError: it is of a format that is not decoded, damaged, or too large.
    """
    extensions = texture.get("extensions", {})
    index = extensions.get("EXT_texture_webp", texture).get("source", texture.get("source"))
    if index is None:
        container.refuse_extensions(extensions)
        raise container.error("damaged: a texture has no image")
    return decode(image_bytes(container, index), f"{container.path}: image {index}")


def image_bytes(container: Container, index: Any) -> bytes:
    """The bytes of an image, as its format has them."""
    entry = container.entry("images", index)
    return bytes(container.view(entry["bufferView"])) if "bufferView" in entry else container.uri(entry.get("uri"))


def decode(data: bytes, name: str) -> Float[Tensor, "H W C"]:
    """A PNG, JPEG or WebP with values in [0, 1], with its alpha channel if it has one.

    Raises:
        UserError: it cannot be decoded, or is too large.
    """
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"])
        if picture.width * picture.height > LARGEST:
            raise UserError(f"{name} has {picture.width} x {picture.height} pixels; expected at most {LARGEST}")
        return pixels_of(picture)
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise anything
        raise UserError(f"{name} cannot be read as PNG, JPEG or WebP ({type(error).__name__}: {error})") from None


def pixels_of(picture: PIL.Image.Image) -> Float[Tensor, "H W C"]:
    """Values in [0, 1], three channels, or four with alpha."""
    if picture.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip
        values = np.asarray(picture, np.float32)[..., None].repeat(3, -1) / np.float32(65535)
    else:
        values = np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"), np.float32) / np.float32(255)
    return torch.from_numpy(values)


def encode(picture: Float[Tensor, "H W C"]) -> bytes:
    """A PNG of values in [0, 1]; the same bytes for the same picture."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()).save(file, "PNG")
    return file.getvalue()


def _coordinates(container: Container, info: Any) -> Coordinates:
    """Which texture coordinates a texture uses, and how they are transformed."""
    if not isinstance(info, dict):
        raise container.error("damaged: a texture of a material is no object")
    moved = info.get("extensions", {}).get("KHR_texture_transform", {})
    numbers = (*moved.get("offset", (0, 0)), moved.get("rotation", 0), *moved.get("scale", (1, 1)))
    transform = tuple(map(float, numbers))
    if len(transform) != 5:
        raise container.error("damaged: KHR_texture_transform has not two offsets, a rotation and two scales")
    return f"TEXCOORD_{moved.get('texCoord', info.get('texCoord', 0))}", () if transform == (0, 0, 0, 1, 1) else transform


def _four(container: Container, factor: Any) -> tuple[float, float, float, float]:
    if not isinstance(factor, list) or len(factor) != 4:
        raise container.error("damaged: the factor of a base colour is no list of 4 numbers")
    red, green, blue, alpha = map(float, factor)
    return red, green, blue, alpha


def _wrap(container: Container, infos: dict[str, Any]) -> tuple[Wrap, Wrap]:
    """The wrapping modes of the first texture."""
    for info in infos.values():
        texture = container.entry("textures", info.get("index"))
        sampler = container.entry("samplers", texture["sampler"]) if "sampler" in texture else {}
        return MODES.get(sampler.get("wrapS"), "repeat"), MODES.get(sampler.get("wrapT"), "repeat")
    return "repeat", "repeat"


def _scaled(normal: Float[Tensor, "H W 3"], scale: float) -> Float[Tensor, "H W 3"]:
    """A normal map whose x and y are multiplied by `scale`, as viewers do."""
    if scale == 1:
        return normal
    vectors = (2 * normal - 1) * torch.tensor([scale, scale, 1.0])
    return 0.5 + 0.5 * normalize(vectors, dim=-1)
