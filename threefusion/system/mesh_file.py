"""The mesh file that a geometry names, with texture coordinates everywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from threefusion.asset.asset import AssetPart
from threefusion.asset.read import read_asset
from threefusion.asset.source import pack
from threefusion.config import Settings
from threefusion.exporter.uv import unwrap
from threefusion.geometry.painted import SIZE, MeshFile, Primitive, smooth_normals
from threefusion.messages import Noted, send
from threefusion.ops.join import join
from threefusion.types import Mesh


def reader(geometry: Settings) -> Callable[[], MeshFile] | None:
    """Reads the mesh file of a geometry; None if it names none."""
    name = getattr(geometry, "mesh", "")
    return partial(read_mesh_file, Path(name), geometry.radius, geometry.texture_size or SIZE) if name else None


def read_mesh_file(path: Path, radius: float, texture_size: int) -> MeshFile:
    """A mesh file; its primitives without texture coordinates are unwrapped, those of one material into one texture.

    What is peculiar about it is logged.

    Raises:
        UserError: it cannot be read.
    """
    asset = read_asset(path, radius)
    for note in asset.notes:
        send(Noted(f"{path.name}: {note}"))
    bare: dict[int, dict[Primitive, AssetPart]] = defaultdict(dict)
    for part in asset.parts:
        if part.mesh.uv is None:
            # instances of a primitive share its texture coordinates
            bare[part.material].setdefault(part.primitive, part)
    charts = {}
    for firsts in bare.values():
        atlas = unwrap(join([part.mesh for part in firsts.values()]), texture_size)
        faces = atlas.faces.split([len(part.mesh.faces) for part in firsts.values()])
        charts |= {part.primitive: (part.reversed, atlas, own) for part, own in zip(firsts.values(), faces, strict=True)}
    parts = [part if part.mesh.uv is not None else _mapped(part, *charts[part.primitive]) for part in asset.parts]
    return MeshFile(replace(asset, parts=parts), frozenset(charts), pack(path))


def _mapped(part: AssetPart, was_reversed: bool, atlas: Mesh, faces: Int[Tensor, "F 3"]) -> AssetPart:
    """A part with the texture coordinates of the atlas at these of its faces; vertices are split along the seams."""
    mesh, count = part.mesh, len(atlas.vertices)
    corners = faces if part.reversed == was_reversed else faces.flip(1)
    pairs, split = torch.unique(mesh.faces * count + corners, return_inverse=True)
    vertex = pairs // count
    normals = smooth_normals(mesh) if mesh.normals is None else mesh.normals
    colors = None if mesh.colors is None else mesh.colors[vertex]
    return replace(part, mesh=Mesh(mesh.vertices[vertex], split, normals[vertex], atlas.uv[pairs % count], colors=colors))
