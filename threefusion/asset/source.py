"""A mesh file and all files that it refers to, in one piece, as a checkpoint keeps them."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threefusion.asset.container import open_container
from threefusion.errors import UserError
from threefusion.machine.files import cannot_write

MAPS = ("map_Kd", "map_Ka", "map_Ks", "map_Ke", "map_Ns", "map_d", "map_bump", "map_Bump", "bump", "norm", "map_Pr", "map_Pm")
"""Keys of an MTL whose value ends with the name of a picture."""
LONGEST = 2**31
"""Most bytes that a source has: it is part of every checkpoint."""


def pack(path: Path) -> bytes:
    """A mesh file and the files that it refers to as an archive, the mesh file first; the same bytes for the same files.

    Raises:
        UserError: one cannot be read, or they are too large.
    """
    packed, size = io.BytesIO(), 0
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in source_files(path).items():
            size += len(data)
            if size > LONGEST:
                raise UserError(f"{path}: it and the files that it refers to have more than {LONGEST} bytes")
            archive.writestr(zipfile.ZipInfo(name), data)
    return packed.getvalue()


@contextmanager
def unpacked(packed: bytes) -> Iterator[Path]:
    """The mesh file of an archive in a temporary folder, beside the files that it refers to.

    Raises:
        UserError: the archive is damaged, or cannot be unpacked.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            try:
                with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                    name = archive.namelist()[0]
                    archive.extractall(folder)
            except (zipfile.BadZipFile, IndexError) as error:
                raise UserError(f"the mesh file in the checkpoint is damaged ({error})") from None
            yield Path(folder, name)
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error) from error


def is_changed(packed: bytes, path: Path) -> bool:
    """Whether a file exists and is another one than that of an archive."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        kept = hashlib.sha256(archive.read(archive.namelist()[0])).digest()
    try:
        return hashlib.sha256(path.read_bytes()).digest() != kept
    except OSError:
        return False


def source_files(path: Path) -> dict[str, bytes]:
    """The contents of a mesh file and of the files that it refers to, by their names relative to its folder, it first.

    Raises:
        UserError: one cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".glb", ".gltf"):
        container = open_container(path)
        names = [uri for uri in uris(container.tree) if not uri.startswith("data:")]
        others = {container.beside(uri).relative_to(path.parent).as_posix(): container.uri(uri) for uri in names}
    else:
        others = _obj_files(path) if suffix == ".obj" else {}
    try:
        return {path.name: path.read_bytes()} | others
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def uris(tree: dict[str, Any]) -> list[str]:
    """The URIs of buffers and images of a glTF file."""
    entries = [entry for kind in ("buffers", "images") for entry in tree.get(kind, []) if isinstance(entry, dict)]
    return [entry["uri"] for entry in entries if isinstance(entry.get("uri"), str)]


def _obj_files(path: Path) -> dict[str, bytes]:
    """The material libraries of an OBJ and their pictures, those that exist."""
    found: dict[str, bytes] = {}
    for library in named_files(path.read_bytes(), "mtllib"):
        _add(found, path.parent, library)
        for key in MAPS:
            for picture in named_files(found.get(library, b""), key):
                _add(found, path.parent, picture)
    return found


def named_files(text: bytes, key: str) -> list[str]:
    """The names after a key of an OBJ or MTL; options before a picture's name are left out."""
    lines = (line.strip() for line in text.decode("utf-8", "replace").splitlines())
    values = (line[len(key) :].strip() for line in lines if line.startswith((f"{key} ", f"{key}\t")))
    return [value.rsplit(None, 1)[-1] if value.startswith("-") else value for value in values if value]


def _add(found: dict[str, bytes], folder: Path, name: str) -> None:
    """Adds a file of the folder or below, if there is one."""
    path = Path(name.replace("\\", "/"))
    if not path.is_absolute() and ".." not in path.parts and (folder / path).is_file():
        found[path.as_posix()] = (folder / path).read_bytes()
