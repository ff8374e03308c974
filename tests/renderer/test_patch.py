"""A patch at full resolution over a whole image at low resolution."""

from dataclasses import replace

import pytest
import torch
from scenes import Ball, Rendered, volume
from test_rasterizer import Shell, rasterized

from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import camera_rays
from threefusion.config import ConfigError, load_config
from threefusion.errors import UserError
from threefusion.loss.settings import NormalSmoothness3dConfig, OrientationConfig, ZVarianceConfig
from threefusion.registry import build
from threefusion.renderer.settings import ImageConfig, PatchConfig, RasterizerConfig
from threefusion.types import Shading, Want

SIZE = 12


def views(count=3, height=40, width=56):
    return orbit_views(count, 0.3, 2.2, 0.8, height, width, Shading.LIT)


def patched(whole, **settings):
    return Rendered(whole.scene, build(PatchConfig(base=whole.renderer.cfg, size=SIZE, downsample=4, **settings)))


BASES = {
    "rasterizer": lambda: rasterized(Shell()),
    "volume": lambda: volume(Ball(density=30.0, features=lambda points: 3 * points), samples_per_ray=32),
}


def crop_of(batch, top, left, height, width):
    whole = torch.tensor([[top, left, batch.camera.height, batch.camera.width]]).float().expand(len(batch), -1)
    return replace(batch, camera=replace(batch.camera, height=height, width=width, crop=whole))


def test_rays_of_a_crop_are_those_of_the_image():
    batch = views()
    part = camera_rays(crop_of(batch, 5, 30, 9, 17).camera)
    whole = camera_rays(batch.camera)
    for name in ("origins", "directions", "radii"):
        image = getattr(whole, name).view(3, 40, 56, -1)[:, 5:14, 30:47].flatten(0, 2)
        torch.testing.assert_close(getattr(part, name), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("base", BASES)
def test_a_crop_is_a_part_of_the_image(base):
    rendered, batch = BASES[base](), views()
    whole, part = rendered(batch, normals=True), rendered(crop_of(batch, 5, 20, 30, 21), normals=True)
    for name in ("image", "opacity", "depth"):
        # silhouettes at the border of the crop lack their outer pixel
        expected = getattr(whole, name)[:, 6:34, 21:40]
        torch.testing.assert_close(getattr(part, name)[:, 1:-1, 1:-1], expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("base", BASES)
def test_every_view_has_a_patch_at_full_resolution_over_the_enlarged_image(base):
    rendered, batch = BASES[base](), views(8)
    whole, render = rendered(batch), patched(rendered)(batch, random=True)
    small = rendered(replace(batch, camera=replace(batch.camera, height=10, width=14)))
    enlarged = torch.nn.functional.interpolate(small.opacity.permute(0, 3, 1, 2), (40, 56), mode="bilinear").permute(0, 2, 3, 1)
    corners = set()
    for b, (down, right) in enumerate(batch.rand("patch", 3)[:, :2].tolist()):
        top, left = int(down * (41 - SIZE)), int(right * (57 - SIZE))
        corners.add((top, left))
        outside = torch.ones(40, 56, dtype=torch.bool)
        outside[top : top + SIZE, left : left + SIZE] = False
        torch.testing.assert_close(render.opacity[b][outside], enlarged[b][outside])
        # silhouettes at the border of the patch lack their outer pixel
        inside = (b, slice(top + 1, top + SIZE - 1), slice(left + 1, left + SIZE - 1))
        jitter = 0.05 if base == "volume" else 0
        torch.testing.assert_close(render.opacity[inside], whole.opacity[inside], atol=2e-3 + jitter, rtol=0)
    assert len(corners) >= 7 and (render.opacity - enlarged).abs().max() > 0.1


def test_the_same_step_has_the_same_patches_and_another_step_others():
    rendered = patched(BASES["rasterizer"]())
    first, again = (rendered(views(), random=True).image for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, rendered(replace(views(), step=1), random=True).image)
    alone = torch.cat([rendered(views().select(torch.tensor([b])), random=True).image for b in range(3)])
    torch.testing.assert_close(alone, first)


def test_evaluation_is_the_base():
    whole = BASES["rasterizer"]()
    assert torch.equal(patched(whole)(views(), normals=True).image, whole(views(), normals=True).image)


def test_gradients_reach_the_scene_from_both_images_or_from_the_patch_alone():
    sizes = []
    for detach in (False, True):
        whole = BASES["rasterizer"]()
        render = patched(whole, detach_global=detach)(views(), normals=True, random=True)
        assert render.mesh is not None
        length = render.normal.norm(dim=-1)
        assert ((length < 1e-3) | ((length - 1).abs() < 1e-3)).all()
        render.image.square().mean().backward()
        gradient = whole.scene.geometry.slopes.grad
        assert gradient.isfinite().all()
        sizes.append(float(gradient.norm()))
    assert 0 < sizes[1] < 0.8 * sizes[0]


def test_some_views_have_no_patch():
    whole = BASES["rasterizer"]()
    none, some = (patched(whole, global_probability=share)(views(8), random=True).image for share in (1.0, 0.5))
    assert 0 < sum(map(torch.equal, none, some)) < 8


def test_a_patch_larger_than_the_image_is_the_image():
    whole = BASES["rasterizer"]()
    renderer = build(PatchConfig(base=whole.renderer.cfg, size=500))
    torch.testing.assert_close(renderer(whole.scene, views(), Want(random=True)).image, whole(views(), random=True).image)


def test_samples_are_those_of_the_whole_image_at_low_resolution():
    whole, batch = BASES["volume"](), views()
    small = whole(replace(batch, camera=replace(batch.camera, height=10, width=14)), samples=True, random=True).samples
    samples = patched(whole)(batch, samples=True, random=True).samples
    assert samples.rays == small.rays == 3 * 10 * 14
    for name in ("weights", "t", "ray_index", "view_index"):
        assert torch.equal(getattr(samples, name), getattr(small, name))


def test_samples_are_those_of_the_patches_where_these_alone_have_gradients():
    batch = views(8)
    rendered = patched(BASES["volume"](), detach_global=True, global_probability=0.5)
    render = rendered(batch, samples=True, random=True)
    drawn = batch.rand("patch", 3)
    with_patch = (drawn[:, 2] >= 0.5).nonzero()[:, 0]
    samples = render.samples
    assert samples.rays == 8 * SIZE**2 and 0 < len(with_patch) < 8
    assert set(samples.view_index.tolist()) <= set(with_patch.tolist())
    assert torch.equal(samples.ray_index // SIZE**2, samples.view_index)
    # their weights add up to the opacity of the patch, row by row
    opacity = torch.zeros(samples.rays).index_add(0, samples.ray_index, samples.weights).view(8, SIZE, SIZE)
    for b in with_patch.tolist():
        top, left = (int(drawn[b, axis] * (size - SIZE + 1)) for axis, size in enumerate((40, 56)))
        patch = render.opacity[b, top : top + SIZE, left : left + SIZE, 0]
        torch.testing.assert_close(opacity[b], patch, atol=1e-5, rtol=0)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("loss", [OrientationConfig(), ZVarianceConfig(), NormalSmoothness3dConfig()])
def test_losses_on_samples_are_means_over_the_rays_that_were_sampled(loss, detach):
    """With a patch as large as the image, and a low resolution that is the full one, both are the base's."""
    whole, batch = BASES["volume"](), views()
    cfg = PatchConfig(base=whole.renderer.cfg, size=500, downsample=1, detach_global=detach)
    term = build(loss)
    values = []
    for renderer in (build(cfg), whole.renderer):
        render = renderer(whole.scene, batch, replace(term.wants, random=True))
        values.append(term(render, batch).detach())
    torch.testing.assert_close(*values)
    assert values[0] > 0


def test_samples_of_a_base_without_them_are_refused():
    with pytest.raises(UserError, match="'rasterizer' has no samples"):
        patched(BASES["rasterizer"]())(views(), samples=True, random=True)


def test_its_needs_are_those_of_its_base(tmp_path):
    assert build(PatchConfig(base=RasterizerConfig())).needs is build(RasterizerConfig()).needs
    with pytest.raises(ValueError, match="base"):
        PatchConfig(base=ImageConfig())
    config = tmp_path / "run.yaml"
    for inner in ("renderer: {type: patch, base: rasterizer}", "renderer: {type: patch, base: {type: patch, base: rasterizer}}"):
        config.write_text(f"extends: quickstart.yaml\n{inner}\n")
        with pytest.raises(ConfigError, match=r"renderer.base.*'rasterizer' needs a geometry that gives surface") as error:
            load_config(config, [])
        assert f"{config}:2" in str(error.value)
    config.write_text("extends: quickstart.yaml\nrenderer: {type: patch, base: volume}\n")
    assert load_config(config, []).renderer.size == 128
