"""Parts and materials of a glTF file."""

from __future__ import annotations

from dataclasses import replace
from math import cos, sin
from typing import Any

import numpy as np
import torch

from threefusion.asset.accessors import LARGEST, read_floats, read_indices
from threefusion.asset.asset import AssetMaterial
from threefusion.asset.container import ADDED, DECODED, Container
from threefusion.asset.nodes import MeshNode, mesh_nodes, posed
from threefusion.asset.raw import RawPart, has_area
from threefusion.asset.textures import Coordinates, read_material
from threefusion.ops.color import encode_srgb

POINTS, LINES = 0, (1, 2, 3)
TRIANGLES, STRIP, FAN = 4, 5, 6
"""Modes of a primitive."""


def read_gltf(container: Container) -> tuple[list[RawPart], list[AssetMaterial], list[str]]:
    """Parts in the file's world, materials, notes.

    Raises:
        UserError: the file is damaged, or needs what is not decoded.
    """
    notes = [
        f"{name} is not interpreted; it stays in the file"
        for name in container.entries("extensionsUsed")
        if name not in DECODED and not str(name).startswith(ADDED)
    ]
    read: dict[int | None, tuple[AssetMaterial, Coordinates, list[str]]] = {}
    parts: list[RawPart] = []
    for node in mesh_nodes(container):
        primitives = container.entry("meshes", node.mesh).get("primitives", [])
        for position, primitive in enumerate(primitives):
            index = primitive.get("material")
            if index not in read:
                read[index] = read_material(container, index)
                notes += read[index][2]
            part = _part(container, node, position, primitive, read[index][1])
            if part is None:
                notes.append(f"{node.name}: primitive {position} has no triangles and stays as it is")
            else:
                parts.append(part)
                if part.uv is None and read[index][1][0] in primitive["attributes"]:
                    notes.append(f"{part.name}: its texture coordinates enclose no area")
        if sum(len(part.vertices) + len(part.faces) for part in parts) > LARGEST:
            raise container.error(f"has more than {LARGEST} vertices and faces")
    return *_materials(parts, {index: material for index, (material, _, _) in read.items()}), notes


def triangles(container: Container, primitive: dict[str, Any], vertices: int) -> np.ndarray | None:
    """The corners of a primitive's triangles `[F, 3]`; None for points and lines."""
    mode = primitive.get("mode", TRIANGLES)
    if mode in (POINTS, *LINES):
        return None
    if mode not in (TRIANGLES, STRIP, FAN):
        raise container.error(f"damaged: a primitive of mode {mode!r}")
    index = read_indices(container, primitive["indices"], vertices) if "indices" in primitive else np.arange(vertices)
    if mode == TRIANGLES:
        if len(index) % 3:
            raise container.error(f"damaged: {len(index)} indices are no triangles")
        return index.reshape(-1, 3)
    if mode == FAN:
        return np.stack([index[1:-1], index[2:], np.full(max(len(index) - 2, 0), index[0] if len(index) else 0)], 1)
    odd = np.arange(max(len(index) - 2, 0)) % 2 == 1
    return np.stack([index[:-2], np.where(odd, index[2:], index[1:-1]), np.where(odd, index[1:-1], index[2:])], 1)


def _part(
    container: Container, node: MeshNode, position: int, primitive: dict[str, Any], coordinates: Coordinates
) -> RawPart | None:
    attributes = primitive["attributes"]
    if "POSITION" not in attributes:
        return None
    if "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
        # without the extension a viewer uses the plain arrays, if there are any
        if not {"bufferView", "sparse"} & container.entry("accessors", attributes["POSITION"]).keys():
            container.refuse_extensions(["KHR_draco_mesh_compression"])
    local = read_floats(container, attributes["POSITION"], "VEC3")
    faces = triangles(container, primitive, len(local))
    if faces is None or not len(faces):
        return None
    values = {name: _attribute(container, attributes, name, len(local)) for name in ("NORMAL", "COLOR_0", coordinates[0])}
    vertices, linear = posed(container, node, primitive, local)
    mirrored = node.joints is None and bool(np.linalg.det(node.matrix[:3, :3]) < 0)
    uv = _moved(values[coordinates[0]], coordinates[1])
    return RawPart(
        f"{node.name}/{position}",
        vertices,
        faces[:, ::-1].copy() if mirrored else faces,
        primitive.get("material"),
        (node.mesh, position),
        mirrored,
        normals=None if values["NORMAL"] is None else _turned(values["NORMAL"], linear),
        uv=uv if uv is not None and has_area(uv, faces) else None,
        colors=None if values["COLOR_0"] is None else _encoded(values["COLOR_0"]),
    )


def _attribute(container: Container, attributes: dict[str, Any], name: str, count: int) -> np.ndarray | None:
    """An attribute of every vertex, None if there is none."""
    if name not in attributes:
        return None
    types = {"NORMAL": ("VEC3",), "COLOR_0": ("VEC3", "VEC4")}.get(name, ("VEC2",))
    values = read_floats(container, attributes[name], *types)
    if len(values) != count:
        raise container.error(f"damaged: {name} of {len(values)} vertices of {count}")
    return values


def _turned(normals: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Normals under linear maps: multiplied by the matrix of cofactors, which exists where an inverse does not."""
    a, b, c = linear[:, 0], linear[:, 1], linear[:, 2]
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], 1)
    turned = (cofactors @ normals.astype(np.float64)[:, :, None])[..., 0]
    # a mirrored normal would point inward
    turned *= np.where(np.linalg.det(linear) < 0, -1.0, 1.0)[:, None]
    return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-30)


def _encoded(colors: np.ndarray) -> np.ndarray:
    """sRGB colours of linear ones, without alpha."""
    return encode_srgb(torch.from_numpy(colors[:, :3].copy()).clamp_min(0)).numpy()


def _moved(uv: np.ndarray | None, transform: tuple[float, ...]) -> np.ndarray | None:
    """Texture coordinates after KHR_texture_transform, with v up."""
    if uv is None:
        return None
    if transform:
        x, y, angle, across, down = transform
        scaled = uv * np.array([across, down], np.float32)
        rotation = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]], np.float32)
        uv = scaled @ rotation.T + np.array([x, y], np.float32)
    return np.stack([uv[:, 0], 1 - uv[:, 1]], 1)


def _materials(parts: list[RawPart], read: dict[int | None, AssetMaterial]) -> tuple[list[RawPart], list[AssetMaterial]]:
    """Parts with indices into a list of materials, in which those with and without texture coordinates have their own."""
    keys = sorted({(part.uv is None, part.material is None, part.material or 0) for part in parts})
    index = {key: position for position, key in enumerate(keys)}
    materials = [
        replace(read[None if default else source], textures={} if bare else read[None if default else source].textures)
        for bare, default, source in keys
    ]
    placed = [replace(part, material=index[part.uv is None, part.material is None, part.material or 0]) for part in parts]
    return placed, materials
