"""The container of glTF: buffer views, accessors and the binary file."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
"""What a buffer view is for: vertex attributes or indices."""
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
"""Type of an accessor's numbers, for numpy."""
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
GLB_MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
TEXTURES = {"base_color": "baseColorTexture", "metallic_roughness": "metallicRoughnessTexture", "normal": "normalTexture"}
"""Names of a mesh's textures in a material."""


class Buffer:
    """The binary part of a file and its description, in the order in which parts are added."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, **more: int) -> int:
        """The index of a new buffer view, which begins at a multiple of four bytes."""
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def indices(self, faces: np.ndarray, vertices: int) -> int:
        """The accessor of triangles, of 16 bits where those suffice; their largest value is reserved."""
        values = np.ascontiguousarray(faces.reshape(-1), "<u2" if vertices <= 0xFFFF else "<u4")
        return self._accessor(values, self.view(values.tobytes(), target=ELEMENT_ARRAY_BUFFER))

    def attribute(self, values: np.ndarray, bounds: bool = False) -> int:
        """The accessor of one row of numbers per vertex; integers are fractions of their largest value.

        Rows are filled up to a multiple of four bytes.
        """
        count, width = values.shape
        step = -(-width * values.itemsize // 4) * 4
        rows = np.zeros((count, step), np.uint8)
        rows[:, : width * values.itemsize] = np.ascontiguousarray(values).view(np.uint8).reshape(count, -1)
        stride = {"byteStride": step} if step != width * values.itemsize else {}
        more = {"normalized": True} if values.dtype.kind in "iu" else {}
        if bounds:
            more |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        return self._accessor(values, self.view(rows.tobytes(), target=ARRAY_BUFFER, **stride), **more)

    def _accessor(self, values: np.ndarray, view: int, **more: Any) -> int:
        component = next(code for code, name in COMPONENTS.items() if np.dtype(name) == values.dtype)
        width = 1 if values.ndim == 1 else values.shape[1]
        kind = next(name for name, columns in WIDTHS.items() if columns == width)
        self.accessors.append({"bufferView": view, "componentType": component, "count": len(values), "type": kind, **more})
        return len(self.accessors) - 1

    def glb(self, tree: dict[str, Any]) -> bytes:
        """The whole file, of a tree without buffers, buffer views and accessors."""
        tree = tree | {"accessors": self.accessors, "bufferViews": self.views, "buffers": [{"byteLength": len(self.data)}]}
        text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), JSON_CHUNK) + text + struct.pack("<II", len(self.data), BINARY_CHUNK) + self.data
        return struct.pack("<III", GLB_MAGIC, 2, 12 + len(chunks)) + chunks


def read_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The tree and the binary part of a GLB; whatever is wrong with a file raises some exception."""
    magic, version, _, length, kind = struct.unpack_from("<IIIII", data)
    if (magic, version, kind) != (GLB_MAGIC, 2, JSON_CHUNK):
        raise ValueError("not a binary glTF 2.0 file")
    tree = json.loads(data[20 : 20 + length])
    size, kind = struct.unpack_from("<II", data, 20 + length)
    if kind != BINARY_CHUNK:
        raise ValueError("no binary chunk")
    return tree, data[28 + length : 28 + length + size]


def view_bytes(tree: dict[str, Any], binary: bytes, index: int) -> bytes:
    """The contents of a buffer view."""
    view = tree["bufferViews"][index]
    start = view.get("byteOffset", 0)
    return binary[start : start + view["byteLength"]]


def accessor_values(tree: dict[str, Any], binary: bytes, index: int) -> np.ndarray:
    """The numbers of an accessor, one row per element; normalised integers as fractions."""
    accessor = tree["accessors"][index]
    dtype, width = np.dtype(COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]
    data = view_bytes(tree, binary, accessor["bufferView"])
    step = tree["bufferViews"][accessor["bufferView"]].get("byteStride", dtype.itemsize * width)
    shape, strides = (accessor["count"], width), (step, dtype.itemsize)
    values = np.ndarray(shape, dtype, data, accessor.get("byteOffset", 0), strides)
    if not accessor.get("normalized"):
        return values.copy()
    return np.maximum(values.astype(np.float32) / np.iinfo(dtype).max, -1)
