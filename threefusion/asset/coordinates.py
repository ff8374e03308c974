"""Texture coordinates for primitives of a glTF file that have none."""

from __future__ import annotations

from typing import Any

import numpy as np

from threefusion.asset.accessors import read_array
from threefusion.asset.editor import Editor
from threefusion.asset.gltf import TRIANGLES, triangles


def set_coordinates(editor: Editor, primitive: dict[str, Any], corners: np.ndarray) -> None:
    """Give a primitive the texture coordinates of its corners `[F, 3, 2]`, v down, in new accessors.

    Vertices keep their order. Those whose corners disagree are split: the copies follow at the end of copies of all attributes.
    """
    container, attributes = editor.container, primitive["attributes"]
    count = container.count(container.entry("accessors", attributes["POSITION"]), "count")
    faces = triangles(container, primitive, count)
    split, copied, uv = _split(faces, corners.astype(np.float32), count)
    # compressed copies of the arrays would lack the coordinates
    primitive.get("extensions", {}).pop("KHR_draco_mesh_compression", None)
    if not primitive.get("extensions", True):
        del primitive["extensions"]
    if len(copied) > count:
        for entry in (attributes, *primitive.get("targets", [])):
            for name, index in entry.items():
                entry[name] = _rows(editor, index, copied)
        primitive["indices"] = editor.add_indices(split)
        if primitive.get("mode", TRIANGLES) != TRIANGLES:
            primitive["mode"] = TRIANGLES
    attributes["TEXCOORD_0"] = editor.add_array(uv)


def _split(faces: np.ndarray, corners: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces of split vertices; the vertex that each of those is a copy of; their coordinates."""
    keys = np.column_stack([faces.reshape(-1), corners.reshape(-1, 2).view(np.int32).astype(np.int64)])
    pairs, inverse = np.unique(keys, axis=0, return_inverse=True)
    vertex = pairs[:, 0]
    first = np.r_[True, vertex[1:] != vertex[:-1]]
    index = np.where(first, vertex, count + np.cumsum(~first) - 1)
    copied = np.concatenate([np.arange(count), vertex[~first]])
    uv = np.zeros((len(copied), 2), np.float32)
    uv[index] = pairs[:, 1:].astype(np.int32).view(np.float32)
    return index[inverse].reshape(-1, 3), copied, uv


def _rows(editor: Editor, index: int, rows: np.ndarray) -> int:
    """A new accessor with these rows of another one, in the same numbers."""
    before = editor.container.entry("accessors", index)
    values = np.ascontiguousarray(read_array(editor.container, index)[rows])
    entry = {key: value for key, value in before.items() if key not in ("sparse", "byteOffset")}
    return editor.add("accessors", {**entry, "bufferView": editor.add_rows(values), "count": len(rows)})
