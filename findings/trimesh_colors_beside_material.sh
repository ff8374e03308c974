#!/usr/bin/env bash
# A GLB whose mesh has vertex colours (COLOR_0) and a material without textures, as exporters of coloured meshes write it, in trimesh 5.2.0.
# Expected: a copy of the loaded mesh, and the scene joined into one mesh, look like the mesh that was loaded.
# Seen: the loaded geometry has the colours as a vertex attribute of its TextureVisuals; `copy()`, `Scene.dump()`, `Scene.to_mesh()` and
# `load(force="mesh")` return meshes with the material alone. Nothing is raised or warned.
# A mesh with vertex colours and no material keeps them through all four.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 trimesh==5.2.0 pillow==12.0.0
"$work/venv/bin/python" -W error - <<'PYTHON'
import io

import numpy as np
import trimesh
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

colors = np.array([[255, 0, 0, 255], [0, 0, 255, 255]] * 4, dtype=np.uint8)


def glb(material):
    box = trimesh.creation.box()
    if material:
        box.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=[255, 255, 255, 255]))
        box.visual.vertex_attributes["color"] = colors
    else:
        box.visual = ColorVisuals(box, vertex_colors=colors)
    return box.export(file_type="glb")


def number_of_colors(mesh):
    visual = mesh.visual
    if isinstance(visual, TextureVisuals):
        return len(np.unique(visual.vertex_attributes.get("color", colors[:1]), axis=0))
    return len(np.unique(visual.vertex_colors, axis=0))


results = {}
for material in (True, False):
    scene = trimesh.load(io.BytesIO(glb(material)), file_type="glb")
    loaded = next(iter(scene.geometry.values()))
    forced = trimesh.load(io.BytesIO(glb(material)), file_type="glb", force="mesh")
    meshes = {"loaded": loaded, "copy": loaded.copy(), "dump": scene.dump()[0], "to_mesh": scene.to_mesh(), "force": forced}
    results[material] = {name: number_of_colors(mesh) for name, mesh in meshes.items()}
    print("with a material:" if material else "without one:", results[material])
assert results[False] == dict.fromkeys(results[False], 2), f"behaviour has changed: {results}"
assert results[True] == {"loaded": 2, "copy": 1, "dump": 1, "to_mesh": 1, "force": 1}, f"behaviour has changed: {results}"
PYTHON
