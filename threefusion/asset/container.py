"""The container of a glTF file: its JSON tree and its buffers, from a GLB or a .gltf with other files. Draws no conclusions."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from threefusion.errors import UserError, first_line

MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
INSTALL = "npm install --global @gltf-transform/cli"
DECODED = ("KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp")
"""Extensions that change what the arrays and images of a file mean, and are understood."""
ADDED = ("KHR_materials_", "KHR_lights_", "KHR_xmp", "KHR_animation_pointer", "KHR_node_visibility", "EXT_lights_")
"""Beginnings of the names of extensions without which a file shows the same shape and base colours."""
COMMANDS = {
    "KHR_draco_mesh_compression": "copy",
    "EXT_meshopt_compression": "copy",
    "KHR_meshopt_compression": "copy",
    "KHR_texture_basisu": "ktxdecompress",
    "EXT_texture_avif": "png",
    "KHR_materials_pbrSpecularGlossiness": "metalrough",
}
"""Commands of gltf-transform that write a file without an extension."""


@dataclass(frozen=True)
class Container:
    """A glTF file; nothing of it is checked but that it is one."""

    path: Path
    tree: dict[str, Any]
    chunks: list[tuple[int, bytes]] | None = None
    """Type and bytes of what follows the JSON in a GLB; None for a .gltf."""
    _read: dict[str, bytes] = field(default_factory=dict)

    def error(self, problem: str) -> UserError:
        """An error of this file."""
        return UserError(f"{self.path}: {problem}")

    def entries(self, kind: str) -> list[Any]:
        """A list of the tree, such as `meshes`; empty if there is none."""
        entries = self.tree.get(kind, [])
        if not isinstance(entries, list):
            raise self.error(f"damaged: {kind} is no list")
        return entries

    def entry(self, kind: str, index: Any) -> dict[str, Any]:
        """The object `index` of a list of the tree.

        Raises:
            UserError: there is none.
        """
        entries = self.entries(kind)
        if type(index) is not int or not 0 <= index < len(entries) or not isinstance(entries[index], dict):
            raise self.error(f"damaged: refers to {kind} {index!r}, and has {len(entries)}")
        return entries[index]

    def buffer(self, index: Any) -> bytes:
        """The bytes of a buffer."""
        entry = self.entry("buffers", index)
        if "uri" in entry:
            return self.uri(entry["uri"])
        data = next((data for kind, data in self.chunks or [] if kind == BINARY_CHUNK), None) if index == 0 else None
        if data is None:
            self.refuse_extensions(entry.get("extensions", {}))
            raise self.error(f"damaged: buffer {index} has no data")
        return data

    def view(self, index: Any) -> memoryview:
        """The bytes of a buffer view."""
        entry = self.entry("bufferViews", index)
        start, length = self.count(entry, "byteOffset"), self.count(entry, "byteLength")
        data = memoryview(self.buffer(entry.get("buffer")))
        if start + length > len(data):
            raise self.error(f"damaged: buffer view {index} ends at byte {start + length} of a buffer of {len(data)}")
        return data[start : start + length]

    def count(self, entry: dict[str, Any], key: str, default: int = 0) -> int:
        """A number that is not negative."""
        value = entry.get(key, default)
        if type(value) is not int or value < 0:
            raise self.error(f"damaged: {key} is {value!r}; expected a number of at least 0")
        return value

    def uri(self, uri: Any) -> bytes:
        """What a URI holds: data in itself, or a file beside this one."""
        if not isinstance(uri, str):
            raise self.error(f"damaged: the URI {uri!r} is no text")
        if uri.startswith("data:"):
            _, comma, text = uri.partition(";base64,")
            try:
                return base64.b64decode(text if comma else unquote(uri.partition(",")[2]), validate=True)
            except (binascii.Error, ValueError) as error:
                raise self.error(f"damaged: a data URI cannot be decoded ({error})") from None
        if uri not in self._read:
            path = self.beside(uri)
            try:
                self._read[uri] = path.read_bytes()
            except OSError as error:
                raise self.error(f"refers to {path}, which cannot be read ({error.strerror})") from None
        return self._read[uri]

    def beside(self, uri: str) -> Path:
        """The path of a file that this one refers to."""
        name = unquote(uri)
        if ":" in name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise self.error(f"refers to {name[:200]!r}; expected a file in its own folder or below")
        return self.path.parent / name

    def refuse_extensions(self, names: Any) -> None:
        """Refuse what is not decoded among the extensions that a part of the file depends on."""
        known = [name for name in map(str, names) if name in DECODED or (name.startswith(ADDED) and name not in COMMANDS)]
        if unknown := [name for name in map(str, names) if name not in known]:
            raise self.error(f"needs {', '.join(unknown)}, which cannot be read. {self._advice(unknown)}")

    def _advice(self, names: list[str]) -> str:
        commands = sorted({COMMANDS[name] for name in names if name in COMMANDS})
        if not commands or any(name not in COMMANDS for name in names):
            return "Export it again without"
        stem, suffix = self.path.stem, self.path.suffix
        steps = [stem, *(f"{stem}-{number}" for number in range(1, len(commands) + 1))]
        lines = [f"gltf-transform {word} {a}{suffix} {b}{suffix}" for word, a, b in zip(commands, steps, steps[1:], strict=False)]
        return f"Convert it with: {' && '.join(lines)} ({INSTALL})"


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """What goes wrong in the block is the fault of a file, whose entries are of a wrong kind.

    Raises:
        UserError: anything did.
    """
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {first_line(error)})") from error


def open_container(path: Path) -> Container:
    """The container of a .glb or .gltf, by its content.

    Raises:
        UserError: it is none, or requires an extension that is not decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_container(path, data)


def parse_container(path: Path, data: bytes) -> Container:
    """The container in `data`, which was or might be read from `path`."""
    text, chunks = (data, None) if not data.startswith(b"glTF") else _chunks(path, data)
    try:
        tree = json.loads(text.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: no glTF file: its JSON cannot be read ({error})") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("asset"), dict):
        raise UserError(f"{path}: no glTF file: it has no entry `asset`")
    container, version = Container(path, tree, chunks), tree["asset"].get("version")
    if not str(version).startswith("2."):
        raise container.error(f"glTF of version {version}; expected 2.0")
    container.refuse_extensions(container.entries("extensionsRequired"))
    return container


def _chunks(path: Path, data: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """The JSON of a GLB, and its other chunks."""
    if len(data) < 20:
        raise UserError(f"{path}: damaged: it ends within its header")
    _, version, length = struct.unpack_from("<III", data)
    if version != 2:
        raise UserError(f"{path}: GLB of version {version}; expected 2")
    if length > len(data):
        raise UserError(f"{path}: damaged: it has {len(data)} bytes of {length}")
    chunks, start = [], 12
    while start + 8 <= length:
        size, kind = struct.unpack_from("<II", data, start)
        if start + 8 + size > length:
            raise UserError(f"{path}: damaged: a chunk ends behind the file")
        chunks.append((kind, data[start + 8 : start + 8 + size]))
        start += 8 + size
    if not chunks or chunks[0][0] != JSON_CHUNK:
        raise UserError(f"{path}: damaged: its first chunk is no JSON")
    return chunks[0][1], chunks[1:]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
