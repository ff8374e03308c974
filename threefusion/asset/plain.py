"""Parts and materials of OBJ, PLY and STL files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from threefusion.asset.asset import AssetMaterial
from threefusion.asset.container import Container, parse_container
from threefusion.asset.editor import Editor
from threefusion.asset.raw import RawPart, has_area
from threefusion.asset.textures import encode, pixels_of
from threefusion.errors import UserError, first_line
from threefusion.ops.color import decode_srgb

if TYPE_CHECKING:
    import trimesh

GRAY = (0.214,) * 3
"""Linear base colour of a file without colours: the middle between black and white as sRGB encodes them."""


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
    for name, mesh in found:
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            uv = _coordinates(mesh)
            material = _material(mesh, uv is not None)
            materials.setdefault((material.name, uv is None), material)
            index = list(materials).index((material.name, uv is None))
            vertices, faces = np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64)
            if vertices.shape[1] != 3 or not 0 <= faces.min() <= faces.max() < len(vertices):
                raise UserError(f"{path}: damaged; vertices without three numbers, or faces of vertices that it lacks")
            parts.append(RawPart(str(name), vertices, faces, index, (len(parts), 0), uv=uv, colors=_colors(mesh)))
    return parts, [replace(material, source=index) for index, material in enumerate(materials.values())], []


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
        factor = (1.0,) * 3 if mesh.visual.defined else GRAY
        return AssetMaterial("default", {}, (*factor, 1.0), metallic=0.0)
    image = getattr(material, "image", None)
    diffuse = np.asarray(material.main_color, np.float32)[:3] / 255
    factor = tuple(decode_srgb(torch.from_numpy(diffuse)).tolist())
    name = str(material.name or "default")
    if not textured or image is None:
        return AssetMaterial(name, {}, (*factor, 1.0), metallic=0.0)
    pixels = pixels_of(image)
    alpha = pixels[..., 3:] if pixels.shape[-1] == 4 else None
    return AssetMaterial(name, {"base_color": pixels[..., :3]}, (*factor, 1.0), metallic=0.0, alpha=alpha)


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


def plain_container(path: Path) -> Container:
    """Such a file as a GLB with +y up, every part a mesh of its own."""
    parts, materials, _ = read_plain(path)
    # PLY and STL have +z up and the front along -y
    turn = np.eye(3) if path.suffix.lower() == ".obj" else np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    nodes = [{"name": part.name, "mesh": index} for index, part in enumerate(parts)]
    scene = {"scene": 0, "scenes": [{"nodes": list(range(len(parts)))}], "nodes": nodes}
    editor = Editor(Container(path.with_suffix(".glb"), {"asset": {"version": "2.0", "generator": "threefusion"}, **scene}, []))
    for material in materials:
        _add_material(editor, material)
    for part in parts:
        attributes = {"POSITION": editor.add_array(part.vertices @ turn, limits=True)}
        if part.uv is not None:
            attributes["TEXCOORD_0"] = editor.add_array(np.stack([part.uv[:, 0], 1 - part.uv[:, 1]], 1))
        if part.colors is not None:
            attributes["COLOR_0"] = editor.add_array(decode_srgb(torch.from_numpy(part.colors)).numpy())
        primitive = {"attributes": attributes, "indices": editor.add_indices(part.faces), "material": part.material}
        editor.add("meshes", {"name": part.name, "primitives": [primitive]})
    ((name, data),) = editor.result().items()
    return parse_container(path.with_name(name), data)


def _add_material(editor: Editor, material: AssetMaterial) -> None:
    """The same material in a GLB."""
    surface: dict[str, Any] = {"baseColorFactor": list(material.base_color), "metallicFactor": material.metallic}
    if "base_color" in material.textures:
        picture = material.textures["base_color"]
        channels = [picture] if material.alpha is None else [picture, material.alpha]
        image = editor.put_picture(None, encode(torch.cat(channels, -1)), material.name)
        surface["baseColorTexture"] = {"index": editor.add("textures", {"source": image})}
    editor.add("materials", {"name": material.name, "pbrMetallicRoughness": surface})
