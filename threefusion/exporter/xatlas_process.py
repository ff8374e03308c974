"""`python xatlas_process.py MESH.npz ATLAS.npz`: texture coordinates by xatlas, in a process that can be stopped."""

from __future__ import annotations

import sys

import numpy as np

CHART_AREA = 0.05
"""Largest chart of a mesh that fills the unit cube: without a limit xatlas takes ten times longer on smooth meshes."""


def main(given: str, made: str) -> None:
    """Unwrap the mesh in `given` and write source vertices, faces and uv to `made`."""
    import xatlas

    with np.load(given) as mesh:
        vertices, faces = mesh["vertices"], mesh["faces"].astype(np.uint32)
        size, padding = int(mesh["size"]), int(mesh["padding"])
    atlas = xatlas.Atlas()
    atlas.add_mesh((vertices / np.ptp(vertices, axis=0).max()).astype(np.float32), faces)
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_chart_area = CHART_AREA
    # no fixed size: with one, what does not fit goes to a second page
    packing.padding = max(1, round(padding * 1024 / size))
    atlas.generate(chart_options=charts, pack_options=packing)
    source, corners, uv = atlas[0]
    np.savez(made, source=source, faces=corners, uv=uv)


if __name__ == "__main__":
    main(*sys.argv[1:])
