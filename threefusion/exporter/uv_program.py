"""A program of its own, so that whatever uvunwrap does can be stopped and ends nothing else: it is Rust, and may panic.

Reads an npz of `vertices`, `faces` and `page_size` from stdin, and writes one of `source`, `faces` and `uv` to stdout.
"""

import io
import sys

import numpy as np
import uvunwrap

PADDING = 4
"""Texels between charts: two on either side, so that a bilinear look-up at a chart's edge never reads its neighbour's colour."""


def main() -> None:
    """Unwrap the mesh on stdin; no chart is mirrored."""
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    surface = uvunwrap.Mesh(given["vertices"], given["faces"])
    atlas = uvunwrap.generate([surface], page_size=int(given["page_size"]), padding=PADDING)
    if atlas.page_count != 1:
        sys.exit(f"{atlas.page_count} pages instead of one")
    charts = atlas.meshes[0]
    made = io.BytesIO()
    faces, uv = np.array(charts.indices).reshape(-1, 3), np.array(charts.uv).reshape(-1, 2)
    np.savez(made, source=np.array(charts.xref), faces=faces, uv=uv)
    sys.stdout.buffer.write(made.getvalue())


if __name__ == "__main__":
    main()
