"""Small glTF files for tests, entry by entry."""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


def picture(colors, kind="PNG") -> bytes:
    """An image file of `[H, W, C]` values from 0 to 255."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(colors, np.uint8)).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


class GltfFile:
    """The tree of a glTF file and its only buffer."""

    def __init__(self, **entries: Any) -> None:
        self.data = b""
        self.tree: dict[str, Any] = {"asset": {"version": "2.0"}, **entries}

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """The index of a new entry."""
        self.tree.setdefault(kind, []).append(entry)
        return len(self.tree[kind]) - 1

    def view(self, data: bytes, **entry: Any) -> int:
        """A buffer view."""
        self.data += b"\0" * (-len(self.data) % 4)
        self.data += data
        return self.add("bufferViews", {"buffer": 0, "byteOffset": len(self.data) - len(data), "byteLength": len(data), **entry})

    def array(self, values, dtype="f4", stride=0, **entry: Any) -> int:
        """An accessor; with a stride its rows lie that many bytes apart."""
        values = np.asarray(values, "<" + dtype)
        values = values.reshape(len(values), -1)
        rows = [row.tobytes().ljust(stride, b"\xff") for row in values]
        view = self.view(b"".join(rows), **({"byteStride": stride} if stride else {}))
        kind = {"componentType": COMPONENTS[dtype], "count": len(values), "type": TYPES[values.shape[1]]}
        return self.add("accessors", {"bufferView": view, **kind, **entry})

    def positions(self, values) -> int:
        """An accessor of positions, with the limits that the validator wants."""
        values = np.asarray(values, np.float32)
        return self.array(values, min=values.min(0).tolist(), max=values.max(0).tolist())

    def image(self, data: bytes, kind="image/png", **texture: Any) -> int:
        """A texture with an image in the buffer."""
        source = self.add("images", {"bufferView": self.view(data), "mimeType": kind})
        return self.add("textures", {"source": source, **texture})

    def mesh(self, *primitives: dict[str, Any], **node: Any) -> int:
        """A mesh at a node of its own."""
        return self.add("nodes", {"mesh": self.add("meshes", {"primitives": list(primitives)}), **node})

    def glb(self, path: Path) -> Path:
        """One file with everything."""
        data = self.data + b"\0" * (-len(self.data) % 4)
        text = json.dumps({**self.tree, **self._scene(), "buffers": [{"byteLength": len(self.data)}]}).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
        return path

    def gltf(self, path: Path, buffer: str = "") -> Path:
        """A .gltf with its buffer in a file beside it, or in itself."""
        uri = buffer or "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
        if buffer:
            (path.parent / buffer).write_bytes(self.data)
        buffers = [{"byteLength": len(self.data), "uri": uri.replace(" ", "%20")}]
        path.write_text(json.dumps({**self.tree, **self._scene(), "buffers": buffers}))
        return path

    def _scene(self) -> dict[str, Any]:
        if "scenes" in self.tree:
            return {}
        nodes = self.tree.get("nodes", [])
        children = {child for node in nodes for child in node.get("children", [])}
        return {"scene": 0, "scenes": [{"nodes": [index for index in range(len(nodes)) if index not in children]}]}


QUAD = [[-1, 0, 0], [1, 0, 0], [1, 2, 0], [-1, 2, 0]]
QUAD_UV = [[0, 1], [1, 1], [1, 0], [0, 0]]
QUAD_FACES = [0, 1, 2, 0, 2, 3]


def quad(file: GltfFile, uv=QUAD_UV, **entries: Any) -> dict[str, Any]:
    """A primitive: an upright square that looks along +z, two units high."""
    attributes = {"POSITION": file.positions(QUAD)}
    if uv is not None:
        attributes["TEXCOORD_0"] = file.array(uv)
    return {"attributes": attributes, "indices": file.array(QUAD_FACES, "u2"), **entries}
