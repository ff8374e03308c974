"""A box as a GLB: two materials with a texture each, a chart for every side."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from gltf_files import GltfFile, picture

SIDE = 24
"""Height and width of its textures."""


def sides() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Corners, normals and texture coordinates (v down) of the six sides; those of each material fill the left or right half."""
    made = []
    for number, (axis, sign) in enumerate(product(range(3), (1, -1))):
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
        points = np.insert(corners[:: int(sign)], axis, sign, 1)
        # a cyclic order of axes keeps the winding
        if axis == 1:
            points = points[::-1]
        row = number // 2
        low = np.array([1 / 8 + (number % 2) / 2, row / 3 + 1 / 12], np.float32)
        uv = low + (corners + 1) / 2 * np.array([1 / 4, 1 / 6], np.float32)
        made.append((points, np.eye(3, dtype=np.float32)[axis] * np.full((4, 1), sign, np.float32), uv))
    return made


def box_glb(path: Path, uv: bool = True, texture: bool = True, seed: int = 0) -> Path:
    """A box whose sides towards + have the material "body", the others "trim"."""
    file, random = GltfFile(), np.random.default_rng(seed)
    primitives = []
    for part, name in enumerate(("body", "trim")):
        surface = {"metallicFactor": 0.25, "roughnessFactor": 0.75}
        if texture and uv:
            colors = random.integers(20, 236, (SIDE, SIDE, 3))
            surface["baseColorTexture"] = {"index": file.image(picture(colors))}
        material = file.add("materials", {"name": name, "pbrMetallicRoughness": surface})
        points, normals, coordinates = (np.concatenate(values) for values in zip(*sides()[part::2], strict=True))
        faces = (4 * np.arange(3)[:, None, None] + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1)
        attributes = {"POSITION": file.positions(points), "NORMAL": file.array(normals)}
        if uv:
            attributes["TEXCOORD_0"] = file.array(coordinates)
        primitives.append({"attributes": attributes, "indices": file.array(faces, "u2"), "material": material})
    file.mesh(*primitives, name="box")
    return file.glb(path)
