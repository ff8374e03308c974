"""Parts and materials of OBJ, PLY and STL files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.asset.asset import AssetMaterial
from threefusion.asset.raw import RawPart, has_area
from threefusion.errors import UserError, first_line
from threefusion.ops.color import decode_srgb

if TYPE_CHECKING:
    import trimesh


def read_plain(path: Path) -> tuple[list[RawPart], list[AssetMaterial], list[str]]:
    """Parts, materials and notes of a file; the vertices of an OBJ are split where its texture coordinates are.

    Raises:
        UserError: it cannot be read.
    """
    import trimesh

    try:
        loaded = trimesh.load(path, process=False)
    except Exception as error:  # trimesh's parsers raise anything
        raise UserError(f"{path}: cannot be read as a mesh ({type(error).__name__}: {first_line(error)})") from error
    found = loaded.geometry.items() if hasattr(loaded, "geometry") else [(path.stem, loaded)]
    parts: list[RawPart] = []
    materials: dict[tuple[str, bool], AssetMaterial] = {}
    for position, (name, mesh) in enumerate(found):
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            uv = _coordinates(mesh)
            material = _material(mesh, uv is not None)
            materials.setdefault((material.name, uv is None), material)
            index = list(materials).index((material.name, uv is None))
            vertices, faces = np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64)
            if not 0 <= faces.min() <= faces.max() < len(vertices):
                raise UserError(f"{path}: damaged; it has faces of vertices that it lacks")
            parts.append(RawPart(str(name), vertices, faces, index, (position, 0), uv=uv, colors=_colors(mesh)))
    return parts, list(materials.values()), []


def _coordinates(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """Texture coordinates of the vertices with v up, None where they enclose no area."""
    uv = getattr(mesh.visual, "uv", None)
    if uv is None or len(uv) != len(mesh.vertices) or not np.isfinite(uv).all():
        return None
    uv = np.array(uv, np.float32)
    return uv if has_area(uv, mesh.faces) else None


def _material(mesh: trimesh.Trimesh, textured: bool) -> AssetMaterial:
    """The material of an OBJ; colours of such files are sRGB."""
    material = getattr(mesh.visual, "material", None)
    if material is None:
        return AssetMaterial("default", {}, metallic=0.0)
    image = getattr(material, "image", None)
    diffuse = np.asarray(material.main_color, np.float32)[:3] / 255
    factor = tuple(decode_srgb(torch.from_numpy(diffuse)).tolist())
    textures = {"base_color": _pixels(image)} if textured and image is not None else {}
    return AssetMaterial(str(material.name or "default"), textures, (*factor, 1.0), metallic=0.0)


def _pixels(image: Any) -> Float[Tensor, "H W 3"]:
    return torch.from_numpy(np.array(image.convert("RGB"), np.float32)) / 255


def _colors(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """sRGB colours of the vertices, None if the file has none."""
    given = getattr(mesh.visual, "vertex_attributes", {}).get("color")
    if mesh.visual.kind in ("vertex", "face"):
        given = mesh.visual.vertex_colors
    if given is None:
        return None
    given = np.asarray(given)[:, :3]
    largest = np.iinfo(given.dtype).max if given.dtype.kind in "iu" else 1
    return given.astype(np.float32) / np.float32(largest)
