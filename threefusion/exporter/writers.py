"""Meshes as files. All files of an export appear whole, or none does."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from threefusion.exporter.formats.glb import encode_glb, encode_web
from threefusion.exporter.formats.obj import encode_obj
from threefusion.exporter.formats.ply import encode_ply
from threefusion.exporter.formats.stl import encode_stl
from threefusion.exporter.formats.threemf import encode_3mf
from threefusion.exporter.formats.usdz import encode_usdz
from threefusion.exporter.images import green_down, png
from threefusion.exporter.model import FileOptions, Model
from threefusion.machine.optional import require
from threefusion.types import Mesh

ENCODERS: dict[str, Callable[[Model, Path], dict[Path, bytes]]] = {
    "glb": encode_glb,
    "obj": encode_obj,
    "ply": encode_ply,
    "stl": encode_stl,
    "3mf": encode_3mf,
    "usdz": encode_usdz,
}
"""By file extension: (mesh with normals, and with colours or with uv and textures; path) -> contents of files, `path` first."""

PACKAGES = {"3mf": ("lib3mf", "lib3mf"), "usdz": ("pxr", "usd-core")}
"""Module and distribution that a format needs."""


def check_packages(formats: list[str]) -> None:
    """Import what the formats need, before there is work that could be lost.

    Raises:
        MissingPackageError: a package is not installed; the message has the command that installs it.
    """
    for name in formats:
        if name in PACKAGES:
            require(*PACKAGES[name])


def write_files(files: dict[Path, bytes]) -> list[Path]:
    """The paths, once every file has been written beside its destination and all were moved; folders are created if need be.

    All are in the folder of the first, or below.
    """
    folder = next(iter(files)).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
        waiting = {path: Path(name, path.relative_to(folder)) for path in files}
        for path, data in files.items():
            waiting[path].parent.mkdir(parents=True, exist_ok=True)
            waiting[path].write_bytes(data)
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(waiting[path], path)
    return list(files)


def write_mesh(mesh: Mesh, folder: Path, formats: list[str], options: FileOptions | None = None) -> list[Path]:
    """The paths of `model.glb`, `model.obj`, ... in `folder`; either all of them are written or none."""
    model = Model(mesh, options or FileOptions())
    contents: dict[Path, bytes] = {}
    for name in formats:
        contents |= ENCODERS[name](model, folder / f"model.{name}")
    if model.options.web:
        contents |= encode_web(model, folder / "model.web.glb")
    if model.options.directx and "normal" in (mesh.textures or {}):
        # in place of the one that an OBJ refers to, if there is one
        contents[folder / "model_normal.png"] = png(green_down(mesh.textures["normal"]))
    return write_files(contents)
