#!/usr/bin/env bash
# A GLB with KHR_mesh_quantization, as gltf-transform 4.5.1 `quantize` writes it from a box of 2 x 1 x 1, in trimesh 5.2.0.
# Expected: the box of 2 x 1 x 1, or an error that names the required extension.
# Seen: a box of 65534 x 32772 x 32772. The accessor's `normalized` is ignored: integers are taken for coordinates, and the node's
# scale, which is made for numbers in [-1, 1], is applied to them. Nothing is raised or warned.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 trimesh==5.2.0
npm install --prefix "$work/npm" --no-audit --no-fund --loglevel=error @gltf-transform/cli@4.5.1
"$work/venv/bin/python" -c "import sys, trimesh; trimesh.creation.box((2, 1, 1)).export(sys.argv[1])" "$work/box.glb"
"$work/npm/node_modules/.bin/gltf-transform" quantize "$work/box.glb" "$work/quantized.glb" > "$work/log"
"$work/venv/bin/python" -W error - "$work/box.glb" "$work/quantized.glb" <<'PYTHON'
import json
import sys
from pathlib import Path

import numpy as np
import trimesh

data = Path(sys.argv[2]).read_bytes()
tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
position = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
print("required:", tree["extensionsRequired"], "position:", position["componentType"], "normalized:", position["normalized"])
assert tree["extensionsRequired"] == ["KHR_mesh_quantization"] and position["normalized"]
sizes = [trimesh.load(path).extents for path in sys.argv[1:]]
print("as written:", sizes[0], "quantized:", sizes[1])
assert np.allclose(sizes[0], [2, 1, 1])
assert np.allclose(sizes[1], np.array([2, 1, 1]) * 32767, rtol=1e-3), "behaviour has changed"
PYTHON
