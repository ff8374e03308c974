"""GLB: one self-contained file with every texture or with vertex colours, and a compressed one for web pages."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from threefusion.exporter.axes import to_y_up
from threefusion.exporter.formats.gltf import TEXTURES, Buffer
from threefusion.exporter.images import as_image, png
from threefusion.exporter.model import GENERATOR, Model
from threefusion.exporter.normal_map import vertex_tangents
from threefusion.ops.color import decode_srgb
from threefusion.types import Mesh

CLAMP_TO_EDGE, LINEAR, LINEAR_MIPMAP_LINEAR = 33071, 9729, 9987
WEB_QUALITY = 85
"""Of colours in WebP; other textures are lossless, because lossy ones shift normals."""


def encode_glb(model: Model, path: Path) -> dict[Path, bytes]:
    """Floats and PNG, which every program reads.

    Without a `metallic_roughness` texture the material is rough and not metallic. A normal map comes with tangents.
    """
    mesh, buffer = model.metres, Buffer()
    attributes = _attributes(mesh)
    attributes["POSITION"] = to_y_up(mesh.vertices)
    primitive = {
        "attributes": {name: buffer.attribute(values.numpy(), name == "POSITION") for name, values in attributes.items()},
        "indices": buffer.indices(mesh.faces.numpy(), len(mesh.vertices)),
        "material": 0,
    }
    tree = _tree(model, path, primitive, {}) | _appearance(mesh, buffer, "image/png", lambda _, texture: png(texture))
    return {path: buffer.glb(tree)}


def encode_web(model: Model, path: Path) -> dict[Path, bytes]:
    """Positions of 16 bits, normals of 8 and WebP: a fraction of the size, for viewers that know the extensions."""
    mesh, buffer = model.metres, Buffer()
    position = to_y_up(mesh.vertices)
    low, high = position.amin(0), position.amax(0)
    extent = float((high - low).max().clamp_min(1e-12))
    attributes = {name: _fractions(values, *_web_type(name)) for name, values in _attributes(mesh).items()}
    attributes["POSITION"] = _fractions((position - low) / extent, "<u2", 0)
    primitive = {
        "attributes": {name: buffer.attribute(values, name == "POSITION") for name, values in attributes.items()},
        "indices": buffer.indices(mesh.faces.numpy(), len(mesh.vertices)),
        "material": 0,
    }
    # one factor for all axes, so that normals stay as they are
    tree = _tree(model, path, primitive, {"translation": low.tolist(), "scale": [extent] * 3})
    tree |= _appearance(mesh, buffer, "image/webp", _webp)
    for texture in tree.get("textures", []):
        texture["extensions"] = {"EXT_texture_webp": {"source": texture.pop("source")}}
    required = web_requires(mesh)
    return {path: buffer.glb(tree | {"extensionsUsed": required, "extensionsRequired": required})}


def web_requires(mesh: Mesh) -> list[str]:
    """Extensions without which a program cannot read the compressed file."""
    return ["KHR_mesh_quantization"] if mesh.uv is None else ["KHR_mesh_quantization", "EXT_texture_webp"]


def _attributes(mesh: Mesh) -> dict[str, Tensor]:
    """Everything per vertex but the position."""
    attributes = {"NORMAL": to_y_up(mesh.normals)}
    if mesh.uv is None:
        return attributes | {"COLOR_0": decode_srgb(mesh.colors)}
    attributes["TEXCOORD_0"] = torch.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], -1)
    if "normal" in mesh.textures:
        tangents = vertex_tangents(mesh)
        attributes["TANGENT"] = torch.cat([to_y_up(tangents[:, :3]), tangents[:, 3:]], -1)
    return attributes


def _web_type(name: str) -> tuple[str, int]:
    """Type of an attribute in the compressed file, and its smallest value."""
    return ("i1", -1) if name in ("NORMAL", "TANGENT") else ("<u2", 0)


def _fractions(values: Tensor, dtype: str, smallest: int) -> np.ndarray:
    """Integers that are fractions of the largest one."""
    return (values.clamp(smallest, 1).double().numpy() * np.iinfo(dtype).max).round().astype(dtype)


def _webp(name: str, texture: Tensor) -> bytes:
    stream = io.BytesIO()
    lossless = name != "base_color"
    as_image(texture).save(stream, "WEBP", lossless=lossless, quality=100 if lossless else WEB_QUALITY, method=4)
    return stream.getvalue()


def _tree(model: Model, path: Path, primitive: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Scene, node and mesh, named after the prompt, and the origin of the model."""
    about = model.options.about
    name = about.prompt or path.stem
    extras = dict(about.facts)
    if (model.scale, model.offset) != (1.0, (0.0, 0.0, 0.0)):
        extras["scene"] = {"scale": model.scale, "offset": list(model.offset)}
    return {
        "asset": {"version": "2.0", "generator": GENERATOR} | ({"extras": extras} if extras else {}),
        "scene": 0,
        "scenes": [{"name": name, "nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0, **node}],
        "meshes": [{"name": name, "primitives": [primitive]}],
    }


def _appearance(mesh: Mesh, buffer: Buffer, kind: str, encode: Callable[[str, Tensor], bytes]) -> dict[str, Any]:
    """Material, textures and images; of a mesh without uv, the 1 x 1 texture of metallic and roughness as factors."""
    textures = mesh.textures or {}
    if mesh.uv is None:
        _, roughness, metallic = textures["metallic_roughness"][0, 0].tolist() if textures else (1.0, 1.0, 0.0)
        return {"materials": [_material({}, metallic, roughness)]}
    names = [name for name in TEXTURES if name in textures]
    images = [{"name": n, "mimeType": kind, "bufferView": buffer.view(encode(n, textures[n]))} for n in names]
    wrap = {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
    slots = {TEXTURES[name]: {"index": index} for index, name in enumerate(names)}
    return {
        "materials": [_material(slots, float("metallic_roughness" in names), 1.0)],
        "textures": [{"source": index, "sampler": 0} for index in range(len(names))],
        "samplers": [wrap],
        "images": images,
    }


def _material(slots: dict[str, Any], metallic: float, roughness: float) -> dict[str, Any]:
    """Factors multiply the textures."""
    normal = {"normalTexture": slots.pop("normalTexture")} if "normalTexture" in slots else {}
    shading = {**slots, "metallicFactor": metallic, "roughnessFactor": roughness}
    return {"name": "surface", "pbrMetallicRoughness": shading, **normal}
