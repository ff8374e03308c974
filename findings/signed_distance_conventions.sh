#!/usr/bin/env bash
# Three libraries that compute or take signed distances to a mesh, on a unit sphere and on the same sphere turned inside out.
# Expected: one sign convention (negative inside), and an absolute value that is the distance.
# Seen: trimesh 5.2.0 and manifold3d 3.5.4 are positive inside, libigl 2.6.3 is negative inside. Given the usual negative-inside
# function, manifold3d's level_set raises nothing and returns the box around the sphere with the sphere cut out. For an
# inside-out mesh libigl's default sign (a winding number) makes the distance at the centre three times too large.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 trimesh==5.2.0 rtree==1.4.1 libigl==2.6.3 manifold3d==3.5.4
"$work/venv/bin/python" - <<'PYTHON'
import igl
import manifold3d
import numpy as np
import trimesh

sphere = trimesh.creation.icosphere(3)
inside_out = sphere.copy()
inside_out.invert()
centre = np.zeros((1, 3))


def by_igl(mesh):
    return float(igl.signed_distance(centre, np.asarray(mesh.vertices), np.asarray(mesh.faces, dtype=np.int64))[0][0])


def level_set_volume(sign):
    def field(x, y, z):
        return sign * ((x * x + y * y + z * z) ** 0.5 - 1)

    return manifold3d.Manifold.level_set(field, [-1.2] * 3 + [1.2] * 3, 0.1).volume()


results = {
    "trimesh, centre": float(trimesh.proximity.signed_distance(sphere, centre)[0]),
    "libigl, centre": by_igl(sphere),
    "libigl, centre, inside out": by_igl(inside_out),
    "manifold3d, volume from a negative-inside field": level_set_volume(1),
    "manifold3d, volume from a positive-inside field": level_set_volume(-1),
}
for name, value in results.items():
    print(f"{name}: {value:.3f}")
expected = [0.995, -0.995, 2.986, 9.648, 4.176]
assert np.allclose(list(results.values()), expected, atol=0.02), f"behaviour has changed: {results}"
PYTHON
