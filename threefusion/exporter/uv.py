"""Texture coordinates in bounded time: uvunwrap, else a chart for every two faces."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from itertools import pairwise
from math import ceil, sqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from threefusion.messages import Noted, send
from threefusion.types import Mesh


class UnwrapError(Exception):
    """uvunwrap cannot unwrap a mesh; the message says why."""


PROGRAM = Path(__file__).with_name("uv_program.py")


def unwrap(mesh: Mesh, texture_size: int, seconds: float = 30.0) -> Mesh:
    """The mesh with `uv` in [0, 1]² without overlaps, in at most about `seconds`; vertices are split along the seams.

    uvunwrap scales u by the atlas's width and v by its height, which differ by a few texels: the texture is square.
    """
    try:
        corners = _uvunwrap(mesh, texture_size, seconds)
    except UnwrapError as error:
        send(Noted(f"uvunwrap could not unwrap the mesh ({error}): every two faces get a chart"))
        corners = _two_faces_per_chart(mesh, texture_size)
    return _split(mesh, *corners)


def _split(mesh: Mesh, source: np.ndarray, faces: np.ndarray, uv: np.ndarray) -> Mesh:
    """The mesh on new vertices, of which number i is a copy of vertex `source[i]` at `uv[i]`."""
    copied = torch.from_numpy(source.astype(np.int64))
    return Mesh(
        vertices=mesh.vertices[copied],
        faces=torch.from_numpy(faces.astype(np.int64)),
        normals=None if mesh.normals is None else mesh.normals[copied],
        uv=torch.from_numpy(uv.astype(np.float32)).clamp(0, 1),
    )


def _uvunwrap(mesh: Mesh, texture_size: int, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source vertices, faces and uv by the uvunwrap package, in a process that is killed after `seconds`.

    Raises:
        UnwrapError: it took longer, or failed; the message is one line.
    """
    given = io.BytesIO()
    np.savez(given, vertices=mesh.vertices.numpy(), faces=mesh.faces.int().numpy(), page_size=texture_size)
    environment = os.environ | {"RUST_BACKTRACE": "0"}
    command = [sys.executable, "-P", str(PROGRAM)]
    try:
        done = subprocess.run(command, input=given.getvalue(), capture_output=True, timeout=seconds, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise UnwrapError(f"it was stopped after {seconds:g} s, see exporter.unwrap_seconds") from None
    if done.returncode:
        raise UnwrapError(_reason(done.stderr.decode(errors="replace"), done.returncode))
    made = np.load(io.BytesIO(done.stdout))
    return made["source"], made["faces"], made["uv"]


def _reason(errors: str, code: int) -> str:
    """Why the program ended with this code, in one line: the line after that of a panic, else the last one."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    panics = [after for line, after in pairwise(lines) if "panicked at" in line]
    killed = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return panics[0] if panics else lines[-1] if lines else killed


def _two_faces_per_chart(mesh: Mesh, texture_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same without any geometry: a square grid of cells, each cut along its diagonal for two faces."""
    count = len(mesh.faces)
    side = ceil(sqrt((count + 1) // 2))
    face = torch.arange(count)
    cell = torch.stack([face // 2 % side, face // 2 // side], -1)
    corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])[face % 2]
    # a texel of air round each triangle, but never more than a fifth of the cell
    margin = min(side / texture_size, 0.2)
    center = torch.tensor([[0.3, 0.3], [0.7, 0.7]])[face % 2][:, None]
    uv = (cell[:, None] + center + (corners - center) * (1 - 3 * margin)) / side
    return _flat(mesh.faces), np.arange(3 * count).reshape(-1, 3), _flat(uv).reshape(-1, 2)


def _flat(values: Tensor) -> np.ndarray:
    """All values in one row."""
    return values.reshape(-1).numpy()
