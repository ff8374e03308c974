"""GLB: one self-contained file with every texture or with vertex colours, and a compressed one for web pages."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from threefusion.asset.container import Container
from threefusion.asset.editor import Editor
from threefusion.exporter.axes import to_y_up
from threefusion.exporter.images import as_image, png
from threefusion.exporter.model import GENERATOR, Model
from threefusion.exporter.normal_map import vertex_tangents
from threefusion.ops.color import decode_srgb
from threefusion.types import Mesh

CLAMP_TO_EDGE, LINEAR, LINEAR_MIPMAP_LINEAR = 33071, 9729, 9987
TEXTURES = {"base_color": "baseColorTexture", "metallic_roughness": "metallicRoughnessTexture", "normal": "normalTexture"}
"""Names of a mesh's textures in a material."""
WEB_QUALITY = 85
"""Of colours in WebP; other textures are lossless, because lossy ones shift normals."""


def encode_glb(model: Model, path: Path) -> dict[Path, bytes]:
    """Floats and PNG, which every program reads.

    Without a `metallic_roughness` texture the material is rough and not metallic. A normal map comes with tangents.
    """
    mesh, file = model.metres, _file(model, path)
    attributes = _attributes(mesh) | {"POSITION": to_y_up(mesh.vertices)}
    _add_mesh(file, mesh, {name: values.contiguous().numpy() for name, values in attributes.items()})
    _add_material(file, mesh, "image/png", lambda _, texture: png(texture))
    return {path: file.result()[path.name]}


def encode_web(model: Model, path: Path) -> dict[Path, bytes]:
    """Positions of 16 bits, normals of 8 and WebP: a fraction of the size, for viewers that know the extensions."""
    mesh, file = model.metres, _file(model, path)
    position = to_y_up(mesh.vertices)
    low, high = position.amin(0), position.amax(0)
    extent = float((high - low).max().clamp_min(1e-12))
    attributes = {name: _fractions(values, *_web_type(name)) for name, values in _attributes(mesh).items()}
    attributes["POSITION"] = _fractions((position - low) / extent, "<u2", 0)
    _add_mesh(file, mesh, attributes)
    _add_material(file, mesh, "image/webp", _webp)
    # one factor for all axes, so that normals stay as they are
    file.tree["nodes"][0] |= {"translation": low.tolist(), "scale": [extent] * 3}
    for texture in file.tree.get("textures", []):
        texture["extensions"] = {"EXT_texture_webp": {"source": texture.pop("source")}}
    file.tree |= {key: web_requires(mesh) for key in ("extensionsUsed", "extensionsRequired")}
    return {path: file.result()[path.name]}


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


def _file(model: Model, path: Path) -> Editor:
    """A file with a scene, a node and a mesh without triangles, named after the prompt, and the origin of the model."""
    about = model.options.about
    name = about.title or path.stem
    extras = dict(about.facts)
    if (model.scale, model.offset) != (1.0, (0.0, 0.0, 0.0)):
        extras["scene"] = {"scale": model.scale, "offset": list(model.offset)}
    tree = {
        "asset": {"version": "2.0", "generator": GENERATOR} | ({"extras": extras} if extras else {}),
        "scene": 0,
        "scenes": [{"name": name, "nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name}],
    }
    return Editor(Container(path, tree, []))


def _add_mesh(file: Editor, mesh: Mesh, attributes: dict[str, np.ndarray]) -> None:
    """Add the triangles."""
    arrays = {name: file.add_array(values, limits=name == "POSITION") for name, values in attributes.items()}
    primitive = {"attributes": arrays, "indices": file.add_indices(mesh.faces.numpy()), "material": 0}
    file.tree["meshes"][0]["primitives"] = [primitive]


def _add_material(file: Editor, mesh: Mesh, kind: str, encode: Callable[[str, Tensor], bytes]) -> None:
    """Add material, textures and images; of a mesh without uv, the 1 x 1 texture of metallic and roughness as factors."""
    textures = mesh.textures or {}
    if mesh.uv is None:
        _, roughness, metallic = textures["metallic_roughness"][0, 0].tolist() if textures else (1.0, 1.0, 0.0)
        file.add("materials", _material({}, metallic, roughness))
        return
    wrap = {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
    sampler, slots = file.add("samplers", wrap), {}
    for name in (name for name in TEXTURES if name in textures):
        view = file.add_view(encode(name, textures[name]))
        source = file.add("images", {"name": name, "mimeType": kind, "bufferView": view})
        slots[TEXTURES[name]] = {"index": file.add("textures", {"source": source, "sampler": sampler})}
    file.add("materials", _material(slots, float("metallic_roughness" in textures), 1.0))


def _material(slots: dict[str, Any], metallic: float, roughness: float) -> dict[str, Any]:
    """Factors multiply the textures."""
    normal = {"normalTexture": slots.pop("normalTexture")} if "normalTexture" in slots else {}
    shading = {**slots, "metallicFactor": metallic, "roughnessFactor": roughness}
    return {"name": "surface", "pbrMetallicRoughness": shading, **normal}
