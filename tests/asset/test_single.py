"""Several parts and materials as one mesh with one texture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gltf_files import QUAD_UV, GltfFile, picture, quad

from threefusion.asset.read import read_asset
from threefusion.asset.single import single_mesh
from threefusion.ops.color import decode_srgb, encode_srgb

COLORS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3))


def shown(mesh, face, weights):
    """The texel of a mesh with one texture at a point of each face."""
    height, width, _ = mesh.textures["base_color"].shape
    u, v = (weights[..., None] * mesh.uv[mesh.faces[face]]).sum(1).unbind(-1)
    column, row = (u * width).floor().long(), ((1 - v) * height).floor().long()
    assert (column >= 0).all() and (column < width).all() and (row >= 0).all() and (row < height).all()
    return mesh.textures["base_color"][row, column]


def repeated(position, mode):
    """A coordinate outside [0, 1] inside."""
    if mode == 33071:
        return position.clamp(0, 1 - 1e-6)
    if mode == 33648:
        inside = position.remainder(2)
        return torch.where(inside >= 1, 2 - 1e-6 - inside, inside)
    return position.remainder(1)


@pytest.mark.parametrize("mode", [10497, 33071, 33648])
@pytest.mark.parametrize("scale", [1.0, 2.5, -1.0])
def test_every_point_keeps_its_texel(tmp_path, mode, scale):
    file = GltfFile(samplers=[{"wrapS": mode, "wrapT": mode}])
    uv = np.array(QUAD_UV) * scale + (-0.3 if mode != 33071 else 0.0)
    for index, colors in enumerate(COLORS):
        texture = file.image(picture(colors), sampler=0)
        file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": texture}}})
        file.mesh(quad(file, uv, material=index), translation=[3.0 * index, 0, 0])
    file.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [1, 0.25, 0, 1]}})
    file.mesh(quad(file, None, material=2), translation=[0, 3, 0])
    mesh = single_mesh(read_asset(file.glb(tmp_path / "a.glb"), 1.0))
    random = torch.Generator().manual_seed(0)
    face = torch.randint(6, (600,), generator=random)
    weights = torch.rand(600, 3, generator=random).add(0.01)
    weights = weights / weights.sum(1, keepdim=True)
    corner = torch.tensor(uv, dtype=torch.float32)[torch.tensor([[0, 1, 2], [0, 2, 3]])][face % 2]
    u, v = (weights[..., None] * corner).sum(1).unbind(-1)
    if mode == 33071:  # corners alone are clamped
        inside = (corner.amin((1, 2)) >= 0) & (corner.amax((1, 2)) <= 1)
        face, weights, u, v = face[inside], weights[inside], u[inside], v[inside]
    column, row = (repeated(u, mode) * 8).long(), (repeated(v, mode) * 8).long()
    expected = torch.tensor(COLORS / 255, dtype=torch.float32)[(face // 2).clamp_max(1), row, column]
    flat = encode_srgb(torch.tensor([1, 0.25, 0]))
    expected = torch.where((face < 4)[:, None], expected, flat)
    # points next to the border of a texel may fall on either side
    border = 1e-3
    clear = ((u * 8).remainder(1) - 0.5).abs().maximum(((v * 8).remainder(1) - 0.5).abs()) < 0.5 - border
    assert torch.allclose(shown(mesh, face, weights)[clear], expected[clear], atol=1e-5)


def test_vertices_that_share_a_place_in_the_texture_stay_shared(tmp_path):
    file = GltfFile()
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": file.image(picture(COLORS[0]))}}})
    file.mesh(quad(file, material=0))
    mesh = single_mesh(read_asset(file.glb(tmp_path / "a.glb"), 1.0))
    assert len(mesh.vertices) == 4
    assert torch.allclose(mesh.textures["base_color"] * 255, torch.tensor(COLORS[0], dtype=torch.float32), atol=1e-4)


def test_vertex_colors_multiply_a_texture_in_linear_light(tmp_path):
    file = GltfFile()
    grey = np.full((2, 2, 3), 128)
    file.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": file.image(picture(grey))}}})
    primitive = quad(file, material=0)
    primitive["attributes"]["COLOR_0"] = file.array([[1, 0.5, 0, 1]] * 4)
    file.mesh(primitive)
    mesh = single_mesh(read_asset(file.glb(tmp_path / "a.glb"), 1.0))
    linear = decode_srgb(torch.tensor(128 / 255)) * torch.tensor([1, 0.5, 0])
    assert torch.allclose(mesh.colors, encode_srgb(linear).expand(4, 3), atol=1e-5)
