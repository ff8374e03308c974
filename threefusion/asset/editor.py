"""A glTF file that is changed entry by entry: what is not changed keeps its index and its bytes."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from threefusion.asset.accessors import COMPONENTS
from threefusion.asset.container import BINARY_CHUNK, JSON_CHUNK, Container
from threefusion.asset.source import uris

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
"""What a glTF buffer view is for: vertex attributes or indices."""
ALIGNMENT = 16
"""Views are moved by multiples of so many bytes, which suits every kind of number."""


class Editor:
    """A copy of a glTF file to which things are added, and in which pictures are replaced."""

    def __init__(self, container: Container) -> None:
        self.container, self.tree = container, deepcopy(container.tree)
        self.files: dict[str, bytes] = {}
        """New files beside it, by URI."""
        self._binary: bytearray | None = None
        """The buffer inside a GLB, which new bytes go to."""
        self._own: tuple[int, bytearray] | None = None
        """A buffer for new bytes, of a file without such a buffer."""
        if container.chunks is not None and (not container.entries("buffers") or "uri" not in container.entry("buffers", 0)):
            binary = next((data for kind, data in container.chunks if kind == BINARY_CHUNK), b"")
            self._binary = bytearray(binary)
            self.tree.setdefault("buffers", [{"byteLength": 0}])
        self.external = container.chunks is None and any(not uri.startswith("data:") for uri in uris(self.tree))

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """The index of a new entry at the end of a list of the tree."""
        entries = self.tree.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def add_view(self, data: bytes, **entry: Any) -> int:
        """The index of a new buffer view with these bytes."""
        if self._binary is not None:
            buffer, target = 0, self._binary
        else:
            self._own = self._own or (self.add("buffers", {"byteLength": 0}), bytearray())
            buffer, target = self._own
        target.extend(b"\0" * (-len(target) % ALIGNMENT))
        start = len(target)
        target.extend(data)
        return self.add("bufferViews", {"buffer": buffer, "byteOffset": start, "byteLength": len(data), **entry})

    def add_array(self, values: np.ndarray, limits: bool = False) -> int:
        """The index of a new accessor of vectors: float32, or integers that are fractions of their largest value."""
        fractions = values.dtype.kind in "iu"
        values = np.ascontiguousarray(values, None if fractions else "<f4")
        component = next(number for number, name in COMPONENTS.items() if np.dtype(name) == values.dtype)
        entry = {"componentType": component, "count": len(values), "type": f"VEC{values.shape[1]}"}
        entry |= {"normalized": True} if fractions else {}
        if limits:
            entry |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        return self.add("accessors", {"bufferView": self.add_rows(values), **entry})

    def add_rows(self, values: np.ndarray) -> int:
        """The index of a new buffer view of vertex attributes; rows begin at multiples of four bytes."""
        data = values.view(np.uint8).reshape(len(values), -1)
        padded = np.pad(data, ((0, 0), (0, -data.shape[1] % 4)))
        stride = {"byteStride": padded.shape[1]} if padded.shape[1] != data.shape[1] else {}
        return self.add_view(padded.tobytes(), target=ARRAY_BUFFER, **stride)

    def add_indices(self, faces: np.ndarray) -> int:
        """The index of a new accessor of the corners of triangles, in two bytes each if that is enough."""
        small = faces.size == 0 or faces.max() < np.iinfo(np.uint16).max
        view = self.add_view(faces.astype("<u2" if small else "<u4").tobytes(), target=ELEMENT_ARRAY_BUFFER)
        entry = {"componentType": 5123 if small else 5125, "count": faces.size, "type": "SCALAR"}
        return self.add("accessors", {"bufferView": view, **entry})

    def put_picture(self, index: int | None, png: bytes, name: str) -> int:
        """The image that holds a picture from now on: the image `index` in place of its own, or a new one."""
        if index is None:
            if self._binary is not None:
                return self.add("images", {"name": name, "mimeType": "image/png", "bufferView": self.add_view(png)})
            return self.add("images", {"name": name, "uri": self._uri(png, f"{self.container.path.stem}-{name}.png")})
        entry = self.tree["images"][index]
        if "bufferView" in entry and self._binary is not None:
            entry["mimeType"] = "image/png"
            if not self._splice(entry["bufferView"], png):
                entry["bufferView"] = self.add_view(png)
            return index
        before = unquote(entry.get("uri", "data:"))
        stem = f"{self.container.path.stem}-{name}" if before.startswith("data:") else before.rpartition(".")[0] or before
        entry.pop("bufferView", None)
        entry.pop("mimeType", None)
        entry["uri"] = self._uri(png, f"{stem}.png")
        return index

    def _uri(self, png: bytes, name: str) -> str:
        """A URI for a picture: a new file where the glTF has files, else the data itself."""
        if not self.external:
            return "data:image/png;base64," + base64.b64encode(png).decode()
        stem, number = name.removesuffix(".png"), 1
        # files that were referred to keep their names: another image may still need them
        while (uri := quote(name)) in self.files or uri in uris(self.container.tree) or name in uris(self.container.tree):
            number += 1
            name = f"{stem}-{number}.png"
        self.files[uri] = png
        return uri

    def _splice(self, index: int, data: bytes) -> bool:
        """Exchanges the bytes of a view, and moves what follows; false if something else might refer to bytes that move."""
        views = [view for view in self.tree["bufferViews"] if view.get("buffer") == 0]
        view = self.tree["bufferViews"][index]
        start = view.get("byteOffset", 0)
        end = start + view["byteLength"]
        others = [other for other in views if other is not view]
        overlaps = any(o.get("byteOffset", 0) < end and start < o.get("byteOffset", 0) + o["byteLength"] for o in others)
        if view.get("buffer") != 0 or overlaps or any("extensions" in other for other in views) or self._uses(index) != 1:
            return False
        change = len(data) - view["byteLength"]
        padded = data + b"\0" * (-change % ALIGNMENT)
        self._binary[start:end] = padded
        view["byteLength"] = len(data)
        for other in others:
            if other.get("byteOffset", 0) >= end:
                other["byteOffset"] += len(padded) - (end - start)
        return True

    def _uses(self, view: int) -> int:
        """How often a buffer view is referred to."""
        return sum(entry.get("bufferView") == view for entry in entries_of(self.tree))

    def forget_extension(self, name: str) -> None:
        """Strike an extension off the lists of the file if it was there, and nothing has it any more."""
        now, before = (any(name in entry for entry in entries_of(tree)) for tree in (self.tree, self.container.tree))
        if now or not before:
            return
        for key in ("extensionsUsed", "extensionsRequired"):
            if name in self.tree.get(key, []):
                self.tree[key].remove(name)
                if not self.tree[key]:
                    del self.tree[key]

    def result(self) -> dict[str, bytes]:
        """The files, by their names relative to the folder of the first."""
        container = self.container
        if self._own is not None:
            index, data = self._own
            name = quote(f"{container.path.stem}-added.bin")
            if self.external:
                self.files[name] = bytes(data)
            uri = name if self.external else "data:application/octet-stream;base64," + base64.b64encode(data).decode()
            self.tree["buffers"][index] = {"byteLength": len(data), "uri": uri}
        if self._binary is not None:
            self.tree["buffers"][0]["byteLength"] = len(self._binary)
        names = [uri for uri in dict.fromkeys(uris(self.tree)) if not uri.startswith("data:")]
        others = {unquote(uri): self.files[uri] if uri in self.files else container.uri(uri) for uri in names}
        return {container.path.name: self._main()} | others

    def _main(self) -> bytes:
        """The bytes of the .glb or .gltf itself."""
        if self.container.chunks is None:
            return json.dumps(self.tree, ensure_ascii=False, indent=2).encode()
        text = json.dumps(self.tree, ensure_ascii=False, separators=(",", ":")).encode()
        chunks = [(JSON_CHUNK, text + b" " * (-len(text) % 4))]
        if self._binary is not None:
            chunks.append((BINARY_CHUNK, bytes(self._binary) + b"\0" * (-len(self._binary) % 4)))
            chunks += [(kind, data) for kind, data in self.container.chunks if kind != BINARY_CHUNK]
        else:
            chunks += self.container.chunks
        body = b"".join(struct.pack("<II", len(data), kind) + data for kind, data in chunks)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def entries_of(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects of a tree."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
        stack += node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
