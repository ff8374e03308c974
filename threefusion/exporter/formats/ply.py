"""PLY: the welded mesh with a normal and a colour per vertex, binary."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threefusion.exporter.axes import to_z_up
from threefusion.exporter.images import as_bytes
from threefusion.exporter.model import Model, welded

VERTEX = np.dtype([("position", "<f4", 3), ("normal", "<f4", 3), ("color", "u1", 3)])
FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def encode_ply(model: Model, path: Path) -> dict[Path, bytes]:
    """Colours are sRGB, lengths metres."""
    mesh = welded(model.metres)
    vertices, faces = np.zeros(len(mesh.vertices), VERTEX), np.zeros(len(mesh.faces), FACE)
    vertices["position"], vertices["normal"] = to_z_up(mesh.vertices).numpy(), to_z_up(mesh.normals).numpy()
    vertices["color"] = as_bytes(mesh.colors)
    faces["count"], faces["corners"] = 3, mesh.faces.numpy()
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line.encode('ascii', 'replace').decode()}" for line in model.options.about.comments),
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return {path: "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()}
