"""Meshes whose textures are trained: first renders, locks, masks, channels, parts without coordinates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from box_file import SIDE, box_glb
from PIL import Image

from threefusion.asset.read import read_asset
from threefusion.background.settings import SolidConfig
from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import clip_coordinates
from threefusion.errors import UserError
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import TexturedMeshConfig
from threefusion.material.settings import DiffuseConfig, PbrConfig
from threefusion.ops.rasterize import interpolate, rasterize
from threefusion.registry import build
from threefusion.renderer.settings import RasterizerConfig
from threefusion.system.mesh_file import reader
from threefusion.types import FieldSample, RenderOutput, Scene, Want

VIEWS = orbit_views(3, 0.5, 2.5, 0.8, 24, 24)


EMPTY = RenderOutput(*(torch.zeros(1, 1, 1, width) for width in (3, 1, 1)))


def textured(path, material=None, previous=None, **settings):
    """The scene of a mesh file."""
    cfg, made = TexturedMeshConfig(mesh=str(path), grids=(4,), **settings), build(material or DiffuseConfig())
    context = BuildContext(
        made.feature_width, previous, asset=reader(cfg), texture_features=made.texture_features, features_of=made.features_of
    )
    return Scene(build(cfg, context), made, build(SolidConfig(color="#000000")))


def rendered(scene, views=VIEWS):
    return build(RasterizerConfig())(scene, views, Want()).image


def train(scene, steps=3):
    """A few steps towards white."""
    optimizer = torch.optim.Adam(scene.geometry.parameters(), 0.3)
    for _ in range(steps):
        optimizer.zero_grad()
        (rendered(scene) - 1).square().sum().backward()
        optimizer.step()
        scene.geometry.after_step(EMPTY, 0)


def bytes_of(texture):
    return (texture * 255).round().to(torch.uint8)


def files_texture(path, number):
    return bytes_of(read_asset(path, 1.0).materials[number].textures["base_color"])


@pytest.fixture
def box(tmp_path):
    return box_glb(tmp_path / "box.glb")


def test_the_first_render_shows_the_textures_of_the_file(box):
    scene, asset = textured(box), read_asset(box, 1.0)
    image = rendered(scene)
    for part in asset.parts:
        mesh, texture = part.mesh, asset.materials[part.material].textures["base_color"]
        fragments = rasterize(clip_coordinates(mesh.vertices, VIEWS.camera), mesh.faces, 24, 24, cull=True)
        uv = interpolate(mesh.uv, mesh.faces, fragments)
        where = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
        expected = torch.nn.functional.grid_sample(
            texture.permute(2, 0, 1)[None].expand(3, -1, -1, -1), where, align_corners=False, padding_mode="border"
        ).permute(0, 2, 3, 1)
        inner = -torch.nn.functional.max_pool2d(-(fragments.face >= 0).float(), 3, 1, 1) > 0
        assert inner.sum() > 20 and (image - expected)[inner].abs().max() < 0.003
    index = scene.geometry.index.split([SIDE * SIDE] * 2)
    for number, made in scene.geometry.textures(scene.material).items():
        # of texels that show the same one, all but one are copies
        single = index[number].bincount()[index[number]] == 1
        assert single.float().mean() > 0.1
        assert torch.equal(bytes_of(made["base_color"]).view(-1, 3)[single], files_texture(box, number).view(-1, 3)[single])


def test_only_the_materials_named_change(box):
    scene = textured(box, materials=("trim",))
    train(scene)
    made = scene.geometry.textures(scene.material)
    assert made.keys() == {1}
    body, fresh = scene.geometry.material == 0, textured(box, materials=("trim",))
    rows = torch.arange(len(scene.geometry.start))
    with torch.no_grad():
        same = (scene.geometry.values(rows) == fresh.geometry.start).all(-1)
    locked = ~scene.geometry.free.any(-1)
    assert body.any() and locked.any() and torch.equal(same, locked)


def test_a_material_that_does_not_exist_is_refused_with_the_nearest(box):
    with pytest.raises(UserError, match=r"has no material 'Trims'. Did you mean 'trim'\?"):
        textured(box, materials=("Trims",))


def test_no_texel_outside_the_mask_changes_and_those_inside_do(box, tmp_path):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[: SIDE // 2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    scene = textured(box, mask=str(tmp_path / "mask.png"))
    train(scene)
    after = scene.geometry.textures(scene.material)
    locked = SIDE // 2
    for number in (0, 1):
        old, new = files_texture(box, number), bytes_of(after[number]["base_color"])
        assert torch.equal(old[locked:], new[locked:])
        assert (old != new).any(-1)[:locked].float().mean() > 0.3
    with pytest.raises(UserError, match=r"geometry.mask: .* is no picture"):
        textured(box, mask=str(box))


def test_a_mask_that_hides_everything_is_refused(box, tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "black.png")
    with pytest.raises(UserError, match="nothing of the mesh may change"):
        textured(box, mask=str(tmp_path / "black.png"))


def test_pbr_starts_from_the_files_factors_and_locks_them(box):
    scene = textured(box, PbrConfig(min_roughness=0.1), channels=("base_color",))
    surface = scene.material.surface(scene.geometry.start)
    assert torch.allclose(surface.metallic, torch.tensor(0.25), atol=1e-4)
    assert torch.allclose(surface.roughness, torch.tensor(0.75), atol=1e-4)
    train(scene)
    after = scene.material.surface(scene.geometry.finished())
    assert torch.equal(after.metallic, surface.metallic) and not torch.equal(after.base_color, surface.base_color)
    assert scene.geometry.textures(scene.material)[0].keys() == {"base_color"}
    both = textured(box, PbrConfig())
    assert both.geometry.textures(both.material)[0].keys() == {"base_color", "metallic_roughness"}


def test_a_retexture_starts_grey_where_it_may_change(box):
    scene = textured(box, start="gray", materials=("body",))
    free = scene.geometry.free.any(-1)
    color = scene.geometry.start.sigmoid()
    assert torch.allclose(color[free], torch.tensor(0.5)) and not torch.allclose(color[~free], torch.tensor(0.5))


def test_texels_that_were_never_read_copy_the_nearest_that_was(box):
    scene = textured(box, start="gray")
    with torch.no_grad():
        scene.geometry.texels.normal_()
    scene.geometry.seen[::2] = True
    finished, raw = scene.geometry.finished(), scene.geometry.values(torch.arange(len(scene.geometry.start)))
    assert torch.equal(finished[::2], raw[::2])
    values = {tuple(row) for row in finished[::2].tolist()}
    assert all(tuple(row) in values for row in finished[1::2].tolist())
    kept = textured(box)
    kept.geometry.seen[::2] = True
    assert torch.equal(kept.geometry.finished(), kept.geometry.values(torch.arange(len(kept.geometry.start))))


def test_only_texels_that_a_pixel_has_read_count_as_seen(box):
    scene = textured(box)
    front = orbit_views(1, 0.0, 3.0, 0.6, 48, 48)
    (rendered(scene, front) - 1).square().sum().backward()
    scene.geometry.after_step(EMPTY, 0)
    facing, seen = scene.geometry.normal[:, 0], scene.geometry.seen
    hidden = (scene.geometry.point[:, 0] < 0.2) & (scene.geometry.normal != 0).any(-1)
    assert seen[facing > 0.9].all() and not seen[hidden].any()


def test_parts_without_coordinates_get_them_face_by_face(tmp_path):
    path = box_glb(tmp_path / "bare.glb", uv=False)
    scene = textured(path, texture_size=32)
    corners = scene.geometry.coordinates()
    assert corners.keys() == {(0, 0), (0, 1)}
    for number, part in enumerate(read_asset(path, 1.0).parts):
        assert corners[part.primitive].shape == (6, 3, 2)
        first = 6 * number
        faces = scene.geometry.faces[first : first + 6]
        assert torch.allclose(scene.geometry.vertices[faces], part.mesh.vertices[part.mesh.faces])
        assert torch.equal(scene.geometry.uv[faces], corners[part.primitive])
    assert scene.geometry.welded.unique().numel() == 8


def test_a_checkpoint_holds_the_mesh(box):
    scene = textured(box, start="gray")
    train(scene)
    box.unlink()
    material = scene.material
    again = build(scene.geometry.cfg, BuildContext(3, restoring=True))
    state = scene.geometry.state_dict()
    again.prepare_load(state)
    again.load_state_dict(state)
    assert torch.equal(rendered(replace_geometry(scene, again)), rendered(scene))
    assert again.source.numel() > 1000 and again.textures(material).keys() == {0, 1}


def replace_geometry(scene, geometry):
    return Scene(geometry, scene.material, scene.background)


def test_a_next_stage_goes_on_with_the_textures(box):
    scene = textured(box, start="gray")
    train(scene)
    cfg = replace(scene.geometry.cfg, mesh="gone.glb")
    after = build(cfg, BuildContext(3, scene, asset=reader(cfg)))
    assert torch.equal(after.texels, scene.geometry.texels) and after.texels is not scene.geometry.texels
    with pytest.raises(UserError, match="the same material and texture_size"):
        build(replace(cfg, texture_size=64), BuildContext(3, scene))


def test_the_original_stays_while_the_textures_are_trained(box):
    scene = textured(box)
    original = replace_geometry(scene, scene.geometry.original())
    before = rendered(original)
    original.requires_grad_(False)
    assert scene.geometry.texels.requires_grad
    train(scene)
    assert torch.equal(rendered(original), before) and not torch.equal(rendered(scene), before)


@pytest.mark.parametrize("material", [DiffuseConfig(), PbrConfig()])
def test_features_show_the_textures_that_they_were_made_from(material):
    made = build(material)
    given = {"base_color": torch.rand(5, 3), "metallic_roughness": torch.rand(5, 3) * 0.8 + 0.1}
    shown = made.textures(FieldSample(made.features_of(given)))
    assert torch.allclose(shown["base_color"], given["base_color"].clamp(0.0015, 0.9985), atol=1e-5)
    if "metallic_roughness" in shown:
        assert torch.allclose(shown["metallic_roughness"][:, 1:], given["metallic_roughness"][:, 1:], atol=1e-4)
