#!/usr/bin/env bash
# A mesh through DracoPy 2.2.0 with its default settings.
# Expected: quantised positions in the order they were given, so that per-vertex data kept elsewhere still fits.
# Seen: as many vertices and faces as before, but both in another order; with preserve_order=True the order stays and the
# largest error is that of 14-bit quantisation. Same counts, no warning: arrays indexed by vertex are silently misassigned.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 trimesh==5.2.0 DracoPy==2.2.0
"$work/venv/bin/python" - <<'PYTHON'
import DracoPy
import numpy as np
import trimesh

sphere = trimesh.creation.icosphere(3)
vertices, faces = np.asarray(sphere.vertices, dtype=np.float32), np.asarray(sphere.faces, dtype=np.uint32)
errors = {}
for order in (False, True):
    decoded = DracoPy.decode(DracoPy.encode(vertices, faces, preserve_order=order))
    assert decoded.points.shape == vertices.shape and decoded.faces.shape == faces.shape
    errors[order] = float(np.abs(decoded.points - vertices).max())
    print(f"preserve_order={order}: largest position error {errors[order]:.2g}, same faces: {(decoded.faces == faces).all()}")
assert errors[False] > 1 and errors[True] < 1e-4, f"behaviour has changed: {errors}"
PYTHON
