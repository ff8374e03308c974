"""An object that shows which way it faces, and its picture, with which those of other programs are compared.

Red front with a black arrow upward, blue left, yellow right, a green knob on top at the front left.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from threefusion.exporter.model import About, FileOptions
from threefusion.exporter.writers import write_mesh
from threefusion.types import Mesh

SIZE = 160
"""Height and width of pictures in pixels."""
HALF = 0.22
"""Half of what a picture shows, in metres: orthographic, from `FROM` towards the middle of the object."""
HEIGHT = 0.3
FROM = (1.0, 0.6, 0.35)
"""Direction of the camera from the object, in scene axes."""
BOXES = (((-0.3, -0.2, 0.0), (0.3, 0.2, 0.4)), ((0.05, 0.03, 0.35), (0.22, 0.16, 0.75)))
COLORS = {
    "red": (0.85, 0.1, 0.1),
    "blue": (0.1, 0.2, 0.85),
    "yellow": (0.9, 0.8, 0.1),
    "green": (0.1, 0.6, 0.15),
    "grey": (0.6, 0.6, 0.6),
}
BODY = {(0, 1): "red", (1, 1): "blue", (1, -1): "yellow"}
"""Colours of the first box by axis and direction of the face; the others are grey."""
LABELS = {**COLORS, "black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
CELLS = 8
"""Squares along a side of each face: vertex colours are blended in those at its edges."""
CELL = 32
"""Texels of a face along each axis."""
ROWS = 16
"""Cells of the texture, one above the other: a power of two, which mipmaps need."""
FORMATS = ["glb", "obj", "ply", "stl", "3mf", "usdz"]
ARROW = ("00000000", "00010000", "00111000", "01111100", "00010000", "00010000", "00010000", "00000000")


def specimen() -> Mesh:
    """The object with texture and vertex colours, one chart per face."""
    parts, rows = [], []
    for box, (low, high) in enumerate(BOXES):
        for axis in range(3):
            for sign in (-1, 1):
                name = "green" if box else BODY.get((axis, sign), "grey")
                parts.append(_face(np.array(low), np.array(high), axis, sign, len(parts), COLORS[name]))
                picture = np.tile(np.array(COLORS[name]), (CELL, CELL, 1))
                if name == "red":
                    picture[np.kron(np.array([list(map(int, row)) for row in ARROW]), np.ones((CELL // 8,) * 2)) > 0] = 0
                rows.append(picture)
    rows += [np.full((CELL, CELL, 3), 0.6)] * (ROWS - len(rows))
    texture = torch.from_numpy(np.concatenate(rows, 0)).float()
    first = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])]).tolist()
    return Mesh(
        torch.cat([part.vertices for part in parts]),
        torch.cat([part.faces + start for part, start in zip(parts, first, strict=True)]),
        normals=torch.cat([part.normals for part in parts]),
        uv=torch.cat([part.uv for part in parts]),
        colors=torch.cat([part.colors for part in parts]),
        textures={"base_color": texture},
    )


def _face(low: np.ndarray, high: np.ndarray, axis: int, sign: int, index: int, color: tuple[float, ...]) -> Mesh:
    """A grid of squares on one side of a box; its chart is the row `index` of the texture, with u to the right and v upward."""
    normal = np.eye(3)[axis] * sign
    up = np.eye(3)[2] if axis < 2 else np.eye(3)[1]
    right = np.cross(up, normal)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, CELLS + 1), np.linspace(0, 1, CELLS + 1), indexing="ij"), -1).reshape(-1, 2)
    middle, half = (low + high) / 2, (high - low) / 2
    points = middle + half * (normal + np.outer(2 * grid[:, 0] - 1, right) + np.outer(2 * grid[:, 1] - 1, up))
    u, v = np.meshgrid(np.arange(CELLS), np.arange(CELLS), indexing="ij")
    a = (u * (CELLS + 1) + v).reshape(-1)
    b, c, d = a + CELLS + 1, a + CELLS + 2, a + 1
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    # half a texel from the charts beside it
    inset = 0.5 / CELL + grid * (1 - 1 / CELL)
    uv = np.stack([inset[:, 0], 1 - (index + 1 - inset[:, 1]) / ROWS], 1)
    rows = len(points)
    return Mesh(
        torch.from_numpy(points).float(),
        torch.from_numpy(faces),
        normals=torch.from_numpy(normal).float().expand(rows, 3),
        uv=torch.from_numpy(uv).float(),
        colors=torch.tensor(color).expand(rows, 3),
    )


def write_specimen(folder: Path) -> list[Path]:
    """The object with its texture in every format, and with vertex colours as `vertex/model.glb` and so on."""
    options = FileOptions(height=HEIGHT, on_floor=True, web=True, about=About("a box with a knob", 0))
    mesh = specimen()
    bare = replace(mesh, uv=None, textures=None)
    return write_mesh(mesh, folder, FORMATS, options) + write_mesh(bare, folder / "vertex", ["glb", "obj", "usdz"], options)


def labels(picture: Float[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
    """The nearest of `LABELS` of each pixel by hue, and by brightness where there is none: programs light things differently."""
    chroma = picture - picture.mean(-1, keepdims=True)
    strength = np.linalg.norm(chroma, axis=-1)
    names = list(LABELS)
    hued = [index for index, name in enumerate(names) if np.ptp(LABELS[name]) > 0.1]
    directions = np.array([np.array(LABELS[names[index]]) - np.mean(LABELS[names[index]]) for index in hued])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    nearest = np.array(hued)[(chroma @ directions.T).argmax(-1)]
    bright = picture.mean(-1)
    plain = np.select([bright < 0.12, bright > 0.97], [names.index("black"), names.index("white")], names.index("grey"))
    return np.where(strength > 0.12, nearest, plain)


def reference(textured: bool) -> Float[np.ndarray, "H W 3"]:
    """The object as the camera sees it, by casting a ray per pixel against its triangles."""
    mesh = specimen() if textured else replace(specimen(), uv=None, textures=None)
    scale = HEIGHT / max(high[2] for _, high in BOXES)
    towards = np.array(FROM) / np.linalg.norm(FROM)
    right = np.cross([0, 0, 1], towards)
    right /= np.linalg.norm(right)
    up = np.cross(towards, right)
    points = mesh.vertices.double().numpy() * scale - [0, 0, HEIGHT / 2]
    screen = np.stack([points @ right, points @ up, points @ towards], 1)
    return _rasterised(mesh, screen)


def _rasterised(mesh: Mesh, screen: np.ndarray) -> np.ndarray:
    """The nearest triangle at each pixel, over white."""
    steps = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = steps[None] * HALF, -steps[:, None] * HALF
    depth, picture = np.full((SIZE, SIZE), -np.inf), np.ones((SIZE, SIZE, 3))
    for face in mesh.faces.tolist():
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = screen[face]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area <= 1e-12:
            continue
        b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        z = az + b * (bz - az) + c * (cz - az)
        seen = (b >= 0) & (c >= 0) & (b + c <= 1) & (z > depth)
        weights = np.stack([1 - b - c, b, c], -1)[seen]
        depth[seen] = z[seen]
        picture[seen] = _color(mesh, face, weights)
    return picture


def _color(mesh: Mesh, face: list[int], weights: np.ndarray) -> np.ndarray:
    if mesh.uv is None:
        return weights @ mesh.colors[face].numpy()
    uv = weights @ mesh.uv[face].numpy()
    texture = mesh.textures["base_color"].numpy()
    rows, columns = (np.floor((1 - uv[:, 1]) * texture.shape[0]), np.floor(uv[:, 0] * texture.shape[1]))
    return texture[rows.astype(int), columns.astype(int)]


def agreement(picture: Float[np.ndarray, "H W 3"], expected: Float[np.ndarray, "H W 3"], colored: bool) -> float:
    """Share of pixels with the right label, or on the right side of the outline, apart from those at borders."""
    seen, wanted = labels(picture), labels(expected)
    white = list(LABELS).index("white")
    if not colored:
        seen, wanted = seen == white, wanted == white
    inner = np.ones(wanted.shape, bool)
    for axis in (0, 1):
        for shift in (-3, -2, -1, 1, 2, 3):
            inner &= np.roll(wanted, shift, axis) == wanted
    return float((seen == wanted)[inner].mean())
