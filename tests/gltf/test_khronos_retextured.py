"""Retextured files of users against the Khronos glTF validator: nothing to remark on that was not there before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import trimesh
from gltf_files import QUAD, GltfFile, picture, quad
from test_khronos_validator import pytestmark, validate

from threefusion.asset.asset import Asset
from threefusion.asset.read import read_asset
from threefusion.asset.write import retextured

__all__ = ["pytestmark"]

SAMPLES = Path(os.environ.get("THREEFUSION_GLTF_SAMPLES", "none"))


def painted(asset: Asset) -> bytes:
    """The asset with random textures, and random coordinates where it has none.

    No normal maps: those want tangents, which the file would have to have.
    """
    random = torch.Generator().manual_seed(0)
    names = ("base_color", "metallic_roughness")
    textures = {i: {name: torch.rand(8, 8, 3, generator=random) for name in names} for i in range(len(asset.materials))}
    bare = {part.primitive: len(part.mesh.faces) for part in asset.parts if part.mesh.uv is None}
    corners = {key: torch.rand(count, 3, 2, generator=random) for key, count in bare.items()}
    (data,) = retextured(asset, textures, corners).values()
    return data


def with_everything(folder: Path) -> Path:
    """Squares: one with a picture that occlusion uses too, one without coordinates, colours in three bytes, morph targets."""
    file = GltfFile(extensionsUsed=["EXT_texture_webp", "KHR_texture_transform"], extensionsRequired=["EXT_texture_webp"])
    webp = file.add("images", {"bufferView": file.view(picture([[[9, 9, 9]]], "WEBP")), "mimeType": "image/webp"})
    texture = file.add("textures", {"extensions": {"EXT_texture_webp": {"source": webp}}})
    moved = {"index": texture, "extensions": {"KHR_texture_transform": {"scale": [2, 2]}}}
    shared = {"index": texture, "extensions": {"KHR_texture_transform": {"scale": [2, 2]}}}
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": moved}, "occlusionTexture": shared})
    file.mesh(quad(file, material=0), name="textured")
    bare = quad(file, None, material=0)
    bare["attributes"]["COLOR_0"] = file.array([[9, 8, 7]] * 4, "u1", stride=4, normalized=True)
    del file.tree["materials"][0]["occlusionTexture"]
    file.add("materials", {"emissiveTexture": shared})
    bare["material"] = file.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.5, 0.5, 1]}})
    file.mesh(bare | {"targets": [{"POSITION": file.positions(QUAD)}]}, name="bare")
    file.mesh(quad(file, material=1), name="glowing")
    for view in file.tree["bufferViews"]:
        view["target"] = 34962
    for accessor in (primitive["indices"] for mesh in file.tree["meshes"] for primitive in mesh["primitives"]):
        file.tree["bufferViews"][file.tree["accessors"][accessor]["bufferView"]]["target"] = 34963
    del file.tree["bufferViews"][0]["target"]
    return file.glb(folder / "everything.glb")


def without_materials(folder: Path) -> Path:
    trimesh.creation.box().export(folder / "box.stl")
    return folder / "box.stl"


def without_anything(folder: Path) -> Path:
    file = GltfFile()
    file.mesh(quad(file, None))
    return file.glb(folder / "bare.glb")


def samples() -> list[Callable[[Path], Path]]:
    """Files of other programs that are read; a compressed one is refused, which its own test checks."""
    return [
        pytest.param(lambda _, path=path: path, id=path.stem)
        for path in sorted(SAMPLES.glob("*.glb"))
        if b"meshopt" not in path.read_bytes()
    ]


@pytest.mark.parametrize("made", [with_everything, without_materials, without_anything, *samples()])
def test_a_retextured_file_has_no_more_issues_than_before(made: Callable[[Path], Path], tmp_path: Path) -> None:
    compare(made(tmp_path), tmp_path)


def compare(path: Path, folder: Path) -> None:
    (folder / "out.glb").write_bytes(painted(read_asset(path, 1.0)))
    after = validate(folder / "out.glb")
    counts = [after[count] for count in ("numErrors", "numWarnings")]
    before = validate(path) if any(counts) and path.suffix == ".glb" else {"numErrors": 0, "numWarnings": 0}
    assert counts == [0, before["numWarnings"]], after["messages"]
