"""STL: the welded mesh in millimetres, binary, without colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threefusion.exporter.axes import to_z_up
from threefusion.exporter.model import GENERATOR, Model

FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def encode_stl(model: Model, path: Path) -> dict[Path, bytes]:
    """The header does not begin with `solid`, by which readers recognise text."""
    mesh = model.millimetres
    corners = to_z_up(mesh.vertices).numpy()[mesh.faces.numpy()]
    faces = np.zeros(len(corners), FACE)
    faces["corners"] = corners
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    faces["normal"] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    header = f"{GENERATOR}, millimetres".encode().ljust(80)
    return {path: header + np.uint32(len(faces)).tobytes() + faces.tobytes()}
