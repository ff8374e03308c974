"""Meshes as files: GLB, OBJ, PLY, STL. Each file appears whole or not at all.

GLB and OBJ are written with +y up and the front along +z, as glTF demands and as importers assume of OBJ: (x, y, z) becomes
(y, z, x). PLY and STL carry no such convention and keep the scene's axes (+z up, front +x), as slicers expect.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.exporter.normal_map import vertex_tangents
from threefusion.exporter.topology import weld
from threefusion.types import Mesh

if TYPE_CHECKING:
    import PIL.Image
    import trimesh
    from trimesh.visual.material import Material, PBRMaterial

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
"""What a glTF buffer view is for: vertex attributes or indices."""

GLTF_TEXTURES = {
    "base_color": "baseColorTexture",
    "metallic_roughness": "metallicRoughnessTexture",
    "normal": "normalTexture",
}
"""Names of a mesh's textures in glTF's material."""


def to_y_up(vectors: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """(x, y, z) -> (y, z, x): front +x becomes +z, up +z becomes +y, left +y becomes +x."""
    return vectors[:, [1, 2, 0]]


def to_z_up(vectors: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """The inverse of `to_y_up`."""
    return vectors[:, [2, 0, 1]]


def write_files(files: dict[Path, bytes]) -> list[Path]:
    """The paths, once every file has been written beside its destination and all were moved; the folder is created if need be."""
    folder = next(iter(files)).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as waiting:
        for path, data in files.items():
            Path(waiting, path.name).write_bytes(data)
        for path in files:
            os.replace(Path(waiting, path.name), path)
    return list(files)


def encode_glb(mesh: Mesh, path: Path) -> dict[Path, bytes]:
    """One self-contained file: a mesh with its textures, or its vertex colours if it has no uv.

    Without a `metallic_roughness` texture the material is rough and not metallic. A normal map comes with tangents.
    """
    import trimesh

    scene = trimesh.Scene({path.stem: _textured(mesh, _glb_material(mesh), _glb_attributes(mesh))})
    data = scene.export(file_type="glb", include_normals=True, tree_postprocessor=_finish_tree)
    return {path: data}


def _glb_material(mesh: Mesh) -> PBRMaterial:
    """The material of a GLB: images on a mesh with uv; without, the 1 x 1 texture of metallic and roughness as factors."""
    from trimesh.visual.material import PBRMaterial

    textures = mesh.textures or {}
    if mesh.uv is None:
        _, roughness, metallic = textures["metallic_roughness"][0, 0].tolist() if textures else (1.0, 1.0, 0.0)
        return PBRMaterial(name="surface", metallicFactor=metallic, roughnessFactor=roughness)
    images = {field: _image(textures[name]) for name, field in GLTF_TEXTURES.items() if name in textures}
    textured = "metallic_roughness" in textures
    return PBRMaterial(name="surface", metallicFactor=float(textured), roughnessFactor=1.0, **images)


def _glb_attributes(mesh: Mesh) -> dict[str, Tensor]:
    """Vertex attributes that trimesh writes under names with an underscore, which `_finish_tree` takes away."""
    if mesh.uv is None:
        return {"_COLOR_0": to_linear(mesh.colors)}
    if "normal" not in mesh.textures:
        return {}
    tangents = vertex_tangents(mesh)
    return {"_TANGENT": torch.cat([to_y_up(tangents[:, :3]), tangents[:, 3:]], -1)}


def encode_obj(mesh: Mesh, path: Path) -> dict[Path, bytes]:
    """The mesh; with uv, its material library `.mtl` and base-colour texture `.png`, all under the name of `path`."""
    import trimesh
    from trimesh.exchange.obj import export_obj
    from trimesh.visual.material import SimpleMaterial

    if mesh.uv is None:
        surface = _textured(mesh, None, {})
        surface.visual = trimesh.visual.ColorVisuals(surface, vertex_colors=_bytes(mesh.colors).numpy())
        return {path: export_obj(surface, include_normals=True, include_color=True).encode()}
    # viewers multiply the texture by the diffuse colour, hence white
    white, black = (255, 255, 255), (0, 0, 0)
    image = _image(mesh.textures["base_color"])
    material = SimpleMaterial(name=path.stem, image=image, diffuse=white, ambient=white, specular=black)
    surface = _textured(mesh, material, {})
    text, extra = export_obj(surface, include_normals=True, return_texture=True, mtl_name=f"{path.stem}.mtl")
    files = {path.with_name(name): data for name, data in extra.items()}
    return {path: text.encode(), **files}


def encode_ply(mesh: Mesh, path: Path) -> dict[Path, bytes]:
    """The welded mesh with one colour per vertex."""
    import trimesh

    welded, color = _weld_colors(mesh)
    surface = trimesh.Trimesh(welded.vertices.numpy(), welded.faces.numpy(), vertex_colors=_bytes(color).numpy(), process=False)
    return {path: surface.export(file_type="ply")}


def encode_stl(mesh: Mesh, path: Path) -> dict[Path, bytes]:
    """The welded mesh without colour, binary."""
    import trimesh

    welded = weld(mesh)
    surface = trimesh.Trimesh(welded.vertices.numpy(), welded.faces.numpy(), process=False)
    return {path: surface.export(file_type="stl")}


ENCODERS: dict[str, Callable[[Mesh, Path], dict[Path, bytes]]] = {
    "glb": encode_glb,
    "obj": encode_obj,
    "ply": encode_ply,
    "stl": encode_stl,
}
"""By file extension: (mesh with normals, and with colours or with uv and textures; path) -> contents of files, `path` first."""


def write_mesh(mesh: Mesh, folder: Path, formats: list[str]) -> list[Path]:
    """The paths of `model.glb`, `model.obj`, ... in `folder`; either all of them are written or none."""
    contents: dict[Path, bytes] = {}
    for name in formats:
        contents |= ENCODERS[name](mesh, folder / f"model.{name}")
    return write_files(contents)


def to_linear(color: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sRGB-encoded colours as the linear ones that glTF demands of vertex colours."""
    return torch.where(color <= 0.04045, color / 12.92, ((color.clamp_min(0) + 0.055) / 1.055) ** 2.4)


def to_srgb(color: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The inverse of `to_linear`."""
    return torch.where(color <= 0.0031308, 12.92 * color, 1.055 * color.clamp_min(1e-6) ** (1 / 2.4) - 0.055)


def _image(texture: Float[Tensor, "H W C"]) -> PIL.Image.Image:
    """A texture as a picture of bytes."""
    from PIL import Image

    return Image.fromarray(_bytes(texture).numpy())


def _textured(mesh: Mesh, material: Material | None, attributes: dict[str, Tensor]) -> trimesh.Trimesh:
    """The mesh for trimesh, +y up."""
    import trimesh

    return trimesh.Trimesh(
        to_y_up(mesh.vertices).numpy(),
        mesh.faces.numpy(),
        vertex_normals=to_y_up(mesh.normals).numpy(),
        vertex_attributes={name: values.numpy() for name, values in attributes.items()},
        visual=trimesh.visual.TextureVisuals(uv=None if mesh.uv is None else mesh.uv.numpy(), material=material),
        process=False,
    )


def _bytes(color: Float[Tensor, "*shape"]) -> Tensor:
    """[0, 1] -> 0 ... 255."""
    return (color.clamp(0, 1) * 255).round().to(torch.uint8)


def _weld_colors(mesh: Mesh) -> tuple[Mesh, Float[Tensor, "V2 3"]]:
    """The welded mesh, and the colour of one of the vertices merged into each of its own."""
    welded = weld(mesh)
    index = torch.unique(mesh.vertices, dim=0, return_inverse=True)[1]
    return welded, mesh.colors.new_zeros(len(welded.vertices), 3).index_copy(0, index, mesh.colors)


def _finish_tree(tree: dict) -> None:
    """Name tangents and colours as glTF does, and say of every buffer view whether it holds indices or attributes.

    Viewers can use the latter, and the validator hints at it.
    """
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["attributes"] = {name.removeprefix("_"): index for name, index in primitive["attributes"].items()}
            uses = [(primitive["indices"], ELEMENT_ARRAY_BUFFER)]
            uses += [(accessor, ARRAY_BUFFER) for accessor in primitive["attributes"].values()]
            for accessor, target in uses:
                tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = target
