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

from threefusion.exporter.topology import weld
from threefusion.types import Mesh

if TYPE_CHECKING:
    import PIL.Image
    import trimesh

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
"""What a glTF buffer view is for: vertex attributes or indices."""


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


def encode_glb(mesh: Mesh, colors: Float[Tensor, "V 3"], path: Path) -> dict[Path, bytes]:
    """One self-contained file: positions, normals, texture coordinates, a rough non-metallic material with `base_color`."""
    import trimesh
    from trimesh.visual.material import PBRMaterial

    material = PBRMaterial(name="surface", baseColorTexture=_image(mesh), metallicFactor=0.0, roughnessFactor=1.0)
    scene = trimesh.Scene({path.stem: _textured(mesh, material)})
    data = scene.export(file_type="glb", include_normals=True, tree_postprocessor=_name_buffer_targets)
    return {path: data}


def encode_obj(mesh: Mesh, colors: Float[Tensor, "V 3"], path: Path) -> dict[Path, bytes]:
    """The mesh, its material library `.mtl` and its texture `.png`, all under the name of `path`."""
    from trimesh.exchange.obj import export_obj
    from trimesh.visual.material import SimpleMaterial

    # viewers multiply the texture by the diffuse colour, hence white
    white, black = (255, 255, 255), (0, 0, 0)
    material = SimpleMaterial(name=path.stem, image=_image(mesh), diffuse=white, ambient=white, specular=black)
    surface = _textured(mesh, material)
    text, extra = export_obj(surface, include_normals=True, return_texture=True, mtl_name=f"{path.stem}.mtl")
    files = {path.with_name(name): data for name, data in extra.items()}
    return {path: text.encode(), **files}


def encode_ply(mesh: Mesh, colors: Float[Tensor, "V 3"], path: Path) -> dict[Path, bytes]:
    """The welded mesh with one colour per vertex."""
    import trimesh

    welded, color = _weld_colors(mesh, colors)
    surface = trimesh.Trimesh(welded.vertices.numpy(), welded.faces.numpy(), vertex_colors=_bytes(color).numpy(), process=False)
    return {path: surface.export(file_type="ply")}


def encode_stl(mesh: Mesh, colors: Float[Tensor, "V 3"], path: Path) -> dict[Path, bytes]:
    """The welded mesh without colour, binary."""
    import trimesh

    welded = weld(mesh)
    surface = trimesh.Trimesh(welded.vertices.numpy(), welded.faces.numpy(), process=False)
    return {path: surface.export(file_type="stl")}


ENCODERS: dict[str, Callable[[Mesh, Tensor, Path], dict[Path, bytes]]] = {
    "glb": encode_glb,
    "obj": encode_obj,
    "ply": encode_ply,
    "stl": encode_stl,
}
"""By file extension: (mesh with uv, normals and textures; vertex colours; path) -> contents of the files, `path` first."""


def write_mesh(mesh: Mesh, colors: Float[Tensor, "V 3"], folder: Path, formats: list[str]) -> list[Path]:
    """The paths of `model.glb`, `model.obj`, ... in `folder`; either all of them are written or none."""
    contents: dict[Path, bytes] = {}
    for name in formats:
        contents |= ENCODERS[name](mesh, colors, folder / f"model.{name}")
    return write_files(contents)


def _image(mesh: Mesh) -> PIL.Image.Image:
    """The base-colour texture as a picture."""
    from PIL import Image

    return Image.fromarray(_bytes(mesh.textures["base_color"]).numpy())


def _textured(mesh: Mesh, material: trimesh.visual.material.Material) -> trimesh.Trimesh:
    """The mesh for trimesh, +y up."""
    import trimesh

    return trimesh.Trimesh(
        to_y_up(mesh.vertices).numpy(),
        mesh.faces.numpy(),
        vertex_normals=to_y_up(mesh.normals).numpy(),
        visual=trimesh.visual.TextureVisuals(uv=mesh.uv.numpy(), material=material),
        process=False,
    )


def _bytes(color: Float[Tensor, "*shape"]) -> Tensor:
    """[0, 1] -> 0 ... 255."""
    return (color.clamp(0, 1) * 255).round().to(torch.uint8)


def _weld_colors(mesh: Mesh, colors: Float[Tensor, "V 3"]) -> tuple[Mesh, Float[Tensor, "V2 3"]]:
    """The welded mesh, and the colour of one of the vertices merged into each of its own."""
    welded = weld(mesh)
    index = torch.unique(mesh.vertices, dim=0, return_inverse=True)[1]
    return welded, colors.new_zeros(len(welded.vertices), 3).index_copy(0, index, colors)


def _name_buffer_targets(tree: dict) -> None:
    """Say of every buffer view whether it holds indices or attributes, which viewers can use and the validator hints at."""
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            uses = [(primitive["indices"], ELEMENT_ARRAY_BUFFER)]
            uses += [(accessor, ARRAY_BUFFER) for accessor in primitive["attributes"].values()]
            for accessor, target in uses:
                tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = target
