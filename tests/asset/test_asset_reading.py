"""What is read from a file: arrays, transforms, materials, pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gltf_files import QUAD, QUAD_FACES, GltfFile, picture, quad

from threefusion.asset.asset import FRONT_MINUS_Y, Y_UP, Z_UP, Placement
from threefusion.asset.read import read_asset


def in_file(asset, part=0):
    """The vertices of a part in the file's world."""
    return asset.placement.to_file(asset.parts[part].mesh.vertices)


def close(points, expected):
    return torch.allclose(points, torch.as_tensor(np.asarray(expected), dtype=torch.float64), atol=1e-6)


def test_a_textured_square_is_upright_faces_the_front_and_has_its_picture(tmp_path):
    file = GltfFile()
    colors = np.arange(2 * 3 * 3).reshape(2, 3, 3) * 10
    texture = file.image(picture(colors))
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
    file.mesh(quad(file, material=0))
    asset = read_asset(file.glb(tmp_path / "quad.glb"), 2.0)
    mesh = asset.parts[0].mesh
    assert mesh.faces.flatten().tolist() == QUAD_FACES
    # front +x, left +y, up +z: the square's +x is the viewer's right, the scene's +y
    half = 1.5 / 2**0.5
    assert torch.allclose(mesh.vertices, torch.tensor([[0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1.0]]) * half)
    assert mesh.uv.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert torch.allclose(asset.materials[0].textures["base_color"] * 255, torch.tensor(colors, dtype=torch.float32))
    assert close(in_file(asset), QUAD)


@pytest.mark.parametrize("axes", [Y_UP, Z_UP, FRONT_MINUS_Y])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_placement_is_undone_exactly(axes, offset):
    points = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * 37 + offset
    placement = Placement.fit(points, 1.3, axes)
    scene = placement.to_scene(points)
    assert float(scene.norm(dim=-1).max()) == pytest.approx(0.75 * 1.3)
    assert torch.equal(placement.to_file(scene).float(), points)
    bound = 2**-51 * (points.double().abs() + placement.center.abs())
    assert ((placement.to_file(scene) - points).abs() <= bound).all()
