#!/usr/bin/env bash
# A box as GLB with positions of 16 or 8 bits (KHR_mesh_quantization, named in extensionsRequired), which the Khronos validator
# passes without a message, in Open3D 0.20.0.
# Expected: the positions as fractions of the largest integer, or as integers; or a refusal, since the file requires the extension.
# Seen: 8 vertices and 12 triangles, whose coordinates are the bytes of the integers read as floats: not a number, or below 1e-37.
# Nothing is raised or warned. The same box with positions of 32 bits is right.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
npm install --silent --prefix "$work" gltf-validator@2.0.0-dev.3.10 > /dev/null
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 open3d==0.20.0
cat > "$work/validate.js" <<'JS'
const fs = require("fs");
const bytes = new Uint8Array(fs.readFileSync(process.argv[2]));
require("gltf-validator").validateBytes(bytes).then((report) => {
  console.log("  validator: " + report.issues.messages.length + " messages");
  process.exit(report.issues.messages.length ? 1 : 0);
});
JS
cat > "$work/box.py" <<'PYTHON'
import itertools
import json
import struct
import sys

import numpy as np

CODES = {"float32": 5126, "uint16": 5123, "int16": 5122, "uint8": 5121}
name, normalized, path = sys.argv[1], sys.argv[2] == "normalized", sys.argv[3]
corners = np.array(list(itertools.product((0, 1), repeat=3)))
faces = [[0, 1, 3], [0, 3, 2], [4, 7, 5], [4, 6, 7], [0, 5, 1], [0, 4, 5], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
values = (corners * (1 if name == "float32" else np.iinfo(name).max if normalized else 100)).astype(name)
width = values[0].nbytes
rows = np.pad(values.view(np.uint8).reshape(8, -1), ((0, 0), (0, -width % 4)))  # rows begin at multiples of four bytes
position = {"bufferView": 0, "componentType": CODES[name], "count": 8, "type": "VEC3"}
position |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()} | ({"normalized": True} if normalized else {})
data = rows.tobytes() + np.array(faces, np.uint16).tobytes()
tree = {
    "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
    "accessors": [position, {"bufferView": 1, "componentType": 5123, "count": 36, "type": "SCALAR"}],
    "bufferViews": [
        {"buffer": 0, "byteLength": rows.nbytes, "target": 34962} | ({"byteStride": rows.shape[1]} if width % 4 else {}),
        {"buffer": 0, "byteOffset": rows.nbytes, "byteLength": 72, "target": 34963},
    ],
    "buffers": [{"byteLength": len(data)}],
}
if name != "float32":
    tree["extensionsUsed"] = tree["extensionsRequired"] = ["KHR_mesh_quantization"]
text = json.dumps(tree).encode()
text += b" " * (-len(text) % 4)
chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
open(path, "wb").write(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
PYTHON
for kind in "float32 plain" "uint16 normalized" "uint16 plain" "int16 normalized" "uint8 normalized"; do
  # shellcheck disable=SC2086
  "$work/venv/bin/python" "$work/box.py" $kind "$work/${kind% *}-${kind#* }.glb"
  echo "$kind"
  NODE_PATH="$work/node_modules" node "$work/validate.js" "$work/${kind% *}-${kind#* }.glb"
done
"$work/venv/bin/python" - "$work" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import open3d

wrong = set()
for path in sorted(Path(sys.argv[1]).glob("*.glb")):
    mesh = open3d.io.read_triangle_mesh(str(path))
    points = np.asarray(mesh.vertices)
    print(path.name, len(points), len(mesh.triangles), points.max(0))
    assert (len(points), len(mesh.triangles)) == (8, 12), f"behaviour has changed: {path.name}"
    if not np.nanmax(np.abs(points)) > 1e-37:
        wrong.add(path.stem)
expected = {"uint16-normalized", "uint16-plain", "int16-normalized", "uint8-normalized"}
assert wrong == expected, f"behaviour has changed: {wrong}"
PYTHON
