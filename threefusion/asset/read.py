"""Mesh files of any program as assets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from threefusion.asset.asset import FRONT_MINUS_Y, Y_UP, Asset, AssetMaterial, AssetPart, Placement, Shape, facing_out
from threefusion.asset.container import open_container, refusing_damage
from threefusion.asset.gltf import read_gltf
from threefusion.asset.plain import read_plain
from threefusion.asset.raw import RawPart
from threefusion.errors import UserError
from threefusion.types import Mesh

FILES = (".glb", ".gltf", ".obj", ".ply", ".stl")
"""Endings of the files that can be read."""
LARGEST = 1e30
"""Largest coordinate of a vertex; with larger ones, areas would not be finite."""


def read_asset(path: Path, radius: float | None) -> Asset:
    """A mesh file, centred and scaled into the ball of `radius`, or of the size and at the place that it has for None.

    Raises:
        UserError: it cannot be read, needs an extension that is not decoded, or holds no triangles with an area.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FILES:
        raise UserError(f"{path}: is no mesh; expected a file {', '.join(FILES)}")
    with np.errstate(all="ignore"), refusing_damage(path):  # what is not finite is refused below
        raw, materials, notes = _read(path, suffix)
    if not raw:
        raise UserError(f"{path}: holds no triangles; expected a triangle mesh")
    points = torch.from_numpy(np.concatenate([part.vertices for part in raw]))
    if not all(np.isfinite(array).all() for part in raw for array in (part.normals, part.uv) if array is not None):
        raise UserError(f"{path}: damaged; its normals or texture coordinates are not finite")
    if not points.abs().amax() < LARGEST:
        raise UserError(f"{path}: damaged; its vertices are not finite, or farther than {LARGEST:g} from its origin")
    axes = Y_UP if suffix in (".glb", ".gltf", ".obj") else FRONT_MINUS_Y
    unplaced = Placement(torch.zeros(3, dtype=torch.float64), axes=axes)
    placement = unplaced if radius is None else Placement.fit(points, radius, axes)
    parts, shapes = zip(*(_placed(part, placement) for part in raw), strict=True)
    _refuse_flat(path, parts)
    notes += _shape_notes(parts, shapes)
    return Asset(path, list(parts), materials, placement, notes)


def _read(path: Path, suffix: str) -> tuple[list[RawPart], list[AssetMaterial], list[str]]:
    """Parts in the file's world, materials, notes."""
    if suffix in (".glb", ".gltf"):
        return read_gltf(open_container(path))
    return read_plain(path)


def _placed(raw: RawPart, placement: Placement) -> tuple[AssetPart, Shape]:
    """A part in the scene, and what encloses it."""
    vertices = placement.to_scene(torch.from_numpy(raw.vertices)).float()
    faces = torch.from_numpy(raw.faces)
    shape = facing_out(vertices, faces)
    if shape.inside_out:
        faces = faces.flip(1)
    normals = None if raw.normals is None else placement.turn(_float(raw.normals))
    uv = None if raw.uv is None else _float(raw.uv)
    colors = None if raw.colors is None else _float(raw.colors)
    mesh = Mesh(vertices, faces, normals=-normals if shape.inside_out and normals is not None else normals, uv=uv, colors=colors)
    return AssetPart(raw.name, mesh, raw.material, raw.primitive, raw.reversed != shape.inside_out), shape


def _refuse_flat(path: Path, parts: Sequence[AssetPart]) -> None:
    """Refuse a file none of whose triangles has an area."""
    largest = 0.0
    for part in parts:
        a, b, c = part.mesh.vertices.double()[part.mesh.faces].unbind(1)
        largest = max(largest, float(torch.linalg.cross(b - a, c - a).norm(dim=-1).max()))
    points = torch.cat([part.mesh.vertices for part in parts]).double()
    if largest <= 1e-12 * (points.amax(0) - points.amin(0)).square().sum():
        raise UserError(f"{path}: none of its triangles has an area; expected a triangle mesh")


def _shape_notes(parts: Sequence[AssetPart], shapes: Sequence[Shape]) -> list[str]:
    """One line for each property of shapes, with the parts that have it."""
    effects = {
        "open": "the inside can be seen",
        "non_manifold": "more than two faces meet at an edge",
        "unevenly_wound": "neighbouring faces look to opposite sides",
        "inside_out": "turned outward here, unchanged in the file",
    }
    notes = []
    for name, effect in effects.items():
        having = [part.name for part, shape in zip(parts, shapes, strict=True) if getattr(shape, name)]
        if having:
            shown = ", ".join(having[:3]) + (", …" if len(having) > 3 else "")
            notes.append(f"{name.replace('_', ' ')}: {len(having)} of {len(parts)} parts ({shown}): {effect}")
    return notes


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
