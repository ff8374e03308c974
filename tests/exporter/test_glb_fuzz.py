"""A damaged GLB is refused in one line, or is a mesh that can be rendered."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_topology import CUBE
from test_uv import with_normals

from threefusion.camera.orbit import views_around
from threefusion.errors import UserError
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import write_mesh

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**33)
    | st.floats()
    | st.sampled_from(["", "VEC3", "image/webp", "x" * 50])
    | st.just([])
    | st.just({})
)


@pytest.fixture(scope="module")
def glb(tmp_path_factory) -> Path:
    mesh = replace(unwrap(with_normals(CUBE), 8), textures={"base_color": torch.rand(8, 8, 3)})
    return write_mesh(mesh, tmp_path_factory.mktemp("glb"), ["glb"])[0]


def load_and_render(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    try:
        mesh = load_glb(path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        assert str(path) in str(error)
    else:
        views = rasterised_views(mesh, views_around(1.0, 1, 8).camera)
        assert views.base_color.isfinite().all()


@given(st.data())
def test_flipped_cut_and_added_bytes(glb, data) -> None:
    content = bytearray(glb.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(content)))
        match data.draw(st.sampled_from(["flip", "cut", "add", "zero"])):
            case "flip" if where < len(content):
                content[where] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del content[where : where + data.draw(st.integers(1, 500))]
            case "add":
                content[where:where] = data.draw(st.binary(max_size=20))
            case "zero":
                content[where : where + 40] = bytes(len(content[where : where + 40]))
    load_and_render(bytes(content), glb.with_name("damaged.glb"))


@given(st.data())
def test_any_value_in_its_json(glb, data) -> None:
    content = glb.read_bytes()
    length = struct.unpack_from("<I", content, 12)[0]
    tree = json.loads(content[20 : 20 + length])
    node, key = data.draw(st.sampled_from(list(slots(tree))))
    if data.draw(st.booleans()):
        node[key] = data.draw(VALUES)
    else:
        del node[key]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunk = struct.pack("<II", len(text), 0x4E4F534A) + text + content[20 + length :]
    load_and_render(struct.pack("<4sII", b"glTF", 2, 12 + len(chunk)) + chunk, glb.with_name("edited.glb"))


def slots(node):
    """Every (container, key) of a JSON tree."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from slots(node[key])
