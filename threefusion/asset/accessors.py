"""Arrays of a glTF file: strided, sparse, normalised and quantised ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from threefusion.asset.container import Container

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
LARGEST = 20_000_000
"""Most rows of an array: a damaged file must not take all memory."""


def read_array(container: Container, index: Any, *types: str) -> np.ndarray:
    """The rows of an accessor as the file has them: `[count, width]`, integers or floats.

    Raises:
        UserError: it is damaged, not one of `types`, or has no data.
    """
    entry = container.entry("accessors", index)
    dtype, kind = COMPONENTS.get(entry.get("componentType")), entry.get("type")
    if dtype is None or kind not in WIDTHS or (types and kind not in types):
        raise container.error(f"damaged: accessor {index} has {kind} of component type {entry.get('componentType')}")
    count = container.count(entry, "count")
    if count > LARGEST:
        raise container.error(f"accessor {index} has {count} rows; expected at most {LARGEST}")
    if "bufferView" in entry:
        values = _rows(container, entry, (count, WIDTHS[kind]), dtype)
    elif "sparse" in entry:
        values = np.zeros((count, WIDTHS[kind]), dtype)
    else:
        raise container.error(f"damaged: accessor {index} has no data")
    return _sparse(container, entry["sparse"], values) if "sparse" in entry else values


def read_floats(container: Container, index: Any, *types: str) -> np.ndarray:
    """The rows of an accessor as float32; normalised integers become numbers in [0, 1] or [-1, 1].

    Raises:
        UserError: as `read_array`, or a number is not finite.
    """
    values = read_array(container, index, *types)
    floats = values.astype(np.float32)
    if container.entry("accessors", index).get("normalized") and values.dtype.kind in "iu":
        floats = np.maximum(floats / np.float32(np.iinfo(values.dtype).max), np.float32(-1))
    if not np.isfinite(floats).all():
        raise container.error(f"damaged: accessor {index} holds numbers that are not finite")
    return floats


def read_indices(container: Container, index: Any, limit: int) -> np.ndarray:
    """The integers of an accessor, each below `limit`.

    Raises:
        UserError: as `read_array`, or one is not.
    """
    values = read_array(container, index, "SCALAR")[:, 0]
    if values.dtype.kind != "u":
        raise container.error(f"damaged: accessor {index} holds no indices")
    if len(values) and int(values.max()) >= limit:
        raise container.error(f"damaged: accessor {index} has the index {values.max()} of {limit} vertices")
    return values.astype(np.int64)


def _rows(container: Container, entry: dict[str, Any], shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Rows of a buffer view, which other rows may lie between."""
    data, start = container.view(entry["bufferView"]), container.count(entry, "byteOffset")
    size = shape[1] * np.dtype(dtype).itemsize
    stride = container.count(container.entry("bufferViews", entry["bufferView"]), "byteStride", size) or size
    if shape[0] and start + (shape[0] - 1) * stride + size > len(data):
        raise container.error(f"damaged: {shape[0]} rows of {stride} bytes do not fit into buffer view {entry['bufferView']}")
    if not shape[0]:
        return np.zeros(shape, dtype)
    return np.ndarray(shape, dtype, data, start, (stride, np.dtype(dtype).itemsize))


def _sparse(container: Container, entry: Any, values: np.ndarray) -> np.ndarray:
    """The rows with those replaced that a sparse accessor lists."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), dict) for key in ("indices", "values")):
        raise container.error("damaged: a sparse accessor without indices or values")
    count, where = container.count(entry, "count"), entry["indices"]
    dtype = COMPONENTS.get(where.get("componentType"))
    if dtype not in ("<u1", "<u2", "<u4"):
        raise container.error(f"damaged: sparse indices of component type {where.get('componentType')}")
    if count > len(values):
        raise container.error(f"damaged: {count} sparse rows of {len(values)}")
    rows = _rows(container, where, (count, 1), dtype)[:, 0].astype(np.int64)
    if count and int(rows.max()) >= len(values):
        raise container.error(f"damaged: sparse row {rows.max()} of {len(values)}")
    changed = values.copy()
    changed[rows] = _rows(container, entry["values"], (count, values.shape[1]), values.dtype.str)
    return changed
