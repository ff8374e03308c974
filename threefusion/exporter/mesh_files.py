"""Mesh files of any program as meshes with colours, in scene axes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError, first_line
from threefusion.exporter.axes import from_y_up, from_z_up
from threefusion.ops.color import encode_srgb
from threefusion.types import Mesh

if TYPE_CHECKING:
    import trimesh

KEPT = (0.25, 0.9)
"""A mesh that reaches this far from the origin, in radii of the scene, keeps its place and size, such as an exported one."""
FITTED = 0.75
"""How far any other one reaches, after it was centred and scaled."""


def read_mesh(path: Path) -> Mesh:
    """The triangles of a file with a base-colour texture or vertex colours if it has any, of the size that they have there.

    A texture is kept if the file holds one mesh; of several meshes the colours at vertices are. Closed parts that are inside
    out are turned outward.

    Raises:
        UserError: it cannot be read, or holds no triangles with an area.
    """
    import trimesh

    try:
        loaded = trimesh.load(path, process=False)
        parts = [part for part in _parts(loaded) if isinstance(part, trimesh.Trimesh) and len(part.faces)]
        meshes = [_converted(part, path.suffix.lower(), textured=len(parts) == 1) for part in parts]
    except Exception as error:  # trimesh's parsers raise anything
        raise UserError(f"{path}: cannot be read as a mesh ({type(error).__name__}: {first_line(error)})") from error
    if not meshes:
        raise UserError(f"{path}: holds no triangles; expected a triangle mesh")
    mesh = meshes[0] if len(meshes) == 1 else _joined(meshes)
    faces = mesh.faces
    if not mesh.vertices.isfinite().all() or not 0 <= int(faces.min()) <= int(faces.max()) < len(mesh.vertices):
        raise UserError(f"{path}: damaged; its vertices are not finite, or it has faces of vertices that it lacks")
    a, b, c = mesh.vertices.double()[faces].unbind(1)
    size = (mesh.vertices.amax(0) - mesh.vertices.amin(0)).double().norm()
    if (b - a).cross(c - a, dim=-1).norm(dim=-1).max() <= 1e-12 * size**2:
        raise UserError(f"{path}: none of its triangles has an area; expected a triangle mesh")
    return mesh


def fitted(mesh: Mesh, radius: float) -> tuple[Mesh, float | None]:
    """A mesh inside the ball of `radius`: as it is if it suits it, otherwise centred and scaled by the second value."""
    vertices = mesh.vertices
    reach = float(vertices.norm(dim=-1).max()) / radius
    if KEPT[0] <= reach <= KEPT[1]:
        return mesh, None
    centred = vertices - (vertices.amin(0) + vertices.amax(0)) / 2
    scale = FITTED * radius / float(centred.norm(dim=-1).max().clamp_min(1e-12))
    return replace(mesh, vertices=centred * scale), scale


def _parts(loaded: Any) -> list[Any]:
    """What a file holds, moved to its place in the scene; not `dump`, whose copies lose the vertex colours beside a material."""
    if not hasattr(loaded, "geometry"):
        return [loaded]
    parts = []
    for node in loaded.graph.nodes_geometry:
        transform, name = loaded.graph[node]
        part = loaded.geometry[name].copy()
        attributes = getattr(loaded.geometry[name].visual, "vertex_attributes", {})
        if "color" in attributes:
            part.visual.vertex_attributes["color"] = attributes["color"]
        parts.append(part.apply_transform(transform))
    return parts


def _converted(part: trimesh.Trimesh, suffix: str, textured: bool) -> Mesh:
    """In scene axes: GLB and OBJ have +y up, PLY +z."""
    vertices = torch.from_numpy(np.array(part.vertices, np.float32))
    vertices = from_z_up(vertices) if suffix == ".ply" else from_y_up(vertices)
    faces = np.array(part.faces, np.int64)
    mesh = Mesh(vertices, torch.from_numpy(faces[:, ::-1].copy() if _is_inside_out(part) else faces))
    image, uv = _texture(part), getattr(part.visual, "uv", None)
    if textured and image is not None and uv is not None and len(uv) == len(vertices):
        return replace(mesh, uv=torch.from_numpy(np.array(uv, np.float32)), textures={"base_color": image})
    sampled = image is not None and uv is not None
    colors = _numbers(part.visual.to_color().vertex_colors) if sampled else _plain_colors(part)
    # glTF's vertex colours and factors are linear, a texture's colours are not
    return replace(mesh, colors=encode_srgb(colors) if suffix == ".glb" and not sampled else colors)


def _is_inside_out(part: trimesh.Trimesh) -> bool:
    """Whether a part is closed, vertices at one place counting as one, and its faces look inward."""
    welded = type(part)(part.vertices, part.faces)
    return bool(welded.is_watertight and welded.is_winding_consistent and welded.volume < 0)


def _plain_colors(part: trimesh.Trimesh) -> Float[Tensor, "V 3"]:
    """Colours of the vertices, of the material, or their product, as in glTF."""
    if part.visual.kind != "texture":
        return _numbers(part.visual.vertex_colors)
    material, given = part.visual.material, part.visual.vertex_attributes.get("color")
    factor = material.baseColorFactor if hasattr(material, "baseColorFactor") else material.main_color
    flat = torch.ones(3) if factor is None else _numbers(factor)
    return flat.expand(len(part.vertices), 3) if given is None else flat * _numbers(given)


def _numbers(colors: np.ndarray) -> Float[Tensor, "*V 3"]:
    """Red, green and blue in [0, 1] of floats or normalised integers."""
    colors = np.asarray(colors)[..., :3]
    largest = np.iinfo(colors.dtype).max if np.issubdtype(colors.dtype, np.integer) else 1
    return torch.from_numpy(colors.astype(np.float32) / np.float32(largest))


def _texture(part: trimesh.Trimesh) -> Float[Tensor, "H W 3"] | None:
    """The base-colour texture."""
    material = getattr(part.visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return None if image is None else torch.from_numpy(np.array(image.convert("RGB"), np.float32)) / 255


def _joined(meshes: list[Mesh]) -> Mesh:
    """Several meshes with vertex colours as one."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])]).tolist()
    return Mesh(
        torch.cat([mesh.vertices for mesh in meshes]),
        torch.cat([mesh.faces + start for mesh, start in zip(meshes, first, strict=True)]),
        colors=torch.cat([mesh.colors for mesh in meshes]),
    )
