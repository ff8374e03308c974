"""ControlNet beside the latent prior: the pipeline's own samples, and images of depth and normals as it was trained on them."""

import json
import shutil
from dataclasses import replace
from math import pi

import pytest
import torch
from tiny import save_tiny_sdxl
from tiny_conditioned import save_tiny_controlnet
from views import make_batch

from threefusion.camera.orbit import cameras_around
from threefusion.camera.projection import camera_rays
from threefusion.config.catalogue import settings_class
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import PromptConditioning
from threefusion.guidance.prior.control import control_image, inverse_depth, view_normals
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.models import recipe
from threefusion.guidance.prior.settings import ControlNet
from threefusion.registry import build
from threefusion.types import RenderOutput, ViewTexts

SIZE = 64


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    sdxl = save_tiny_sdxl(folder / "sdxl")
    return {"sdxl": sdxl, "sdxl-control": save_tiny_controlnet(folder / "sdxl-control", sdxl)}


@pytest.fixture(scope="module")
def control(tmp_path_factory, pipelines):
    return save_tiny_controlnet(tmp_path_factory.mktemp("controlnet") / "model", pipelines["sd-epsilon"])


def prior(folder, *controls):
    return build(settings_class("prior", "latent")(model=str(folder), dtype="float32", control=controls))


def net(folder, what="depth", scale=1.0):
    return ControlNet(model=str(folder), what=what, scale=scale)


def ball(azimuth=(0.3, 2.0), elevation=0.4, center=(0.0, 0.0, 0.0), size=SIZE):
    """A ball of radius 0.6 in closed form, and its cameras."""
    angles = torch.tensor(azimuth)
    cameras = cameras_around(angles, torch.full_like(angles, elevation), torch.full_like(angles, 2.0), 0.8, (size, size))
    rays = camera_rays(cameras)
    origin, direction = rays.origins - torch.tensor(center), rays.directions
    b = (origin * direction).sum(-1)
    root = b.square() - origin.square().sum(-1) + 0.36
    hit = root > 0
    distance = torch.where(hit, -b - root.clamp(min=0).sqrt(), 0.0)
    normal = torch.where(hit[:, None], (origin + distance[:, None] * direction) / 0.6, 0.0)
    shape = (len(angles), size, size, -1)
    opacity = hit.float().view(shape)
    image = 0.5 * torch.ones(len(angles), size, size, 3)
    return RenderOutput(image, opacity, distance.view(shape), normal.view(shape)), cameras


def test_a_camera_that_turns_with_the_scene_sees_the_same_control_images():
    one = ball((0.3, 0.3), center=(0.1, 0.2, 0.1))
    angle = torch.tensor(1.1)
    x, y = 0.1 * angle.cos() - 0.2 * angle.sin(), 0.1 * angle.sin() + 0.2 * angle.cos()
    turned = ball((1.4, 1.4), center=(float(x), float(y), 0.1))
    for what in ("depth", "normal", "normal-bae"):
        first, second = (control_image(what, render, cameras, SIZE) for render, cameras in (one, turned))
        torch.testing.assert_close(first, second, atol=1e-3, rtol=0)
    # in world space they would differ
    assert (one[0].normal - turned[0].normal).abs().max() > 0.5


def test_normals_point_right_up_and_towards_the_viewer():
    render, cameras = ball()
    colors = view_normals(render, cameras, red_is_left=False)
    middle, edge = SIZE // 2, SIZE // 2 - 14
    assert colors[0, middle, middle].tolist() == pytest.approx([0.5, 0.5, 1.0], abs=0.05)
    assert colors[0, middle, -edge, 0] > 0.7 > 0.3 > colors[0, middle, edge, 0]
    assert colors[0, edge, middle, 1] > 0.7 > 0.3 > colors[0, -edge, middle, 1]
    assert colors[0, 0, 0].tolist() == [0.5, 0.5, 1.0]  # the background faces the viewer
    mirrored = view_normals(render, cameras, red_is_left=True)
    torch.testing.assert_close(mirrored[..., 0], 1 - colors[..., 0])
    assert torch.equal(mirrored[..., 1:], colors[..., 1:])


def test_depth_is_nearest_at_one_and_nothing_at_zero_whatever_the_scale():
    render, cameras = ball()
    depth = inverse_depth(render, cameras)
    assert depth.amax((1, 2, 3)).tolist() == [1.0, 1.0] and depth[0, 0, 0] == 0
    # distances from the camera's plane: 1.4 to the nearest point, and further at the rim
    assert depth[0, SIZE // 2, SIZE // 2].item() == pytest.approx(1.0, abs=0.01)
    inside = render.opacity[0] > 0
    assert 0.6 < depth[0][inside].min() < 0.85
    larger = replace(render, depth=3 * render.depth)
    torch.testing.assert_close(inverse_depth(larger, cameras), depth)


def test_depth_is_measured_from_the_cameras_plane():
    plane = torch.full((1, SIZE, SIZE, 1), 1.5)
    cameras = cameras_around(torch.zeros(1), 0.0, 2.0, 0.8, (SIZE, SIZE))
    rays = camera_rays(cameras).directions.view(1, SIZE, SIZE, 3)
    along = -(rays * cameras.c2w[0, :3, 2]).sum(-1, keepdim=True)
    there = (torch.arange(SIZE).view(1, 1, SIZE, 1) >= 8).float().expand(1, SIZE, SIZE, 1)
    wall = RenderOutput(plane.expand(-1, -1, -1, 3), there, there * plane / along)
    depth = inverse_depth(wall, cameras)
    torch.testing.assert_close(depth[:, :, 8:], torch.ones(1, SIZE, SIZE - 8, 1))


def test_sampling_with_the_prior_is_the_pipeline(pipelines, control):
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline

    plain = StableDiffusionPipeline.from_pretrained(pipelines["sd-epsilon"], local_files_only=True)
    theirs = StableDiffusionControlNetPipeline(
        **{name: part for name, part in plain.components.items() if name != "image_encoder"},
        controlnet=ControlNetModel.from_pretrained(control), requires_safety_checker=False,
    )  # fmt: skip
    theirs.set_progress_bar_config(disable=True)
    own = prior(pipelines["sd-epsilon"], net(control, scale=0.7))
    render, cameras = ball((0.3,))
    image = control_image("depth", render, cameras, SIZE)
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = theirs(
        "a red ball", image=image, latents=z, num_inference_steps=4, guidance_scale=5.0, output_type="latent",
        controlnet_conditioning_scale=0.7,
    ).images  # fmt: skip
    texts = replace(own.text_encoder().encode(["", "a red ball"]), control=image.expand(2, -1, -1, -1))
    theirs.scheduler.set_timesteps(4)
    with torch.no_grad():
        for step in theirs.scheduler.timesteps:
            empty, text = own.predict(z.expand(2, -1, -1, -1), torch.full((2,), step / 1000), texts).noise
            z = theirs.scheduler.step(empty + 5.0 * (text - empty), step, z).prev_sample
        assert (z - expected).norm() < 1e-4 * expected.norm()
        plain = prior(pipelines["sd-epsilon"]).predict(z, torch.tensor([0.5]), texts[:1]).noise
        assert not torch.allclose(own.predict(z, torch.tensor([0.5]), texts[:1]).noise, plain, atol=1e-3)


def test_several_controls_add_up_and_a_scale_of_zero_is_none(pipelines, control, tmp_path):
    other = save_tiny_controlnet(tmp_path / "other", pipelines["sd-epsilon"], seed=9)
    render, cameras = ball((0.3,))
    z, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5])

    def predict(*controls):
        own = prior(pipelines["sd-epsilon"], *controls)
        text = own.text_encoder().encode(["a red ball"])
        prompt = own.condition(PromptConditioning(text, text), replace(make_batch(1), camera=cameras), render)
        with torch.no_grad():
            return own.predict(z, t, prompt.text).noise

    none = predict()
    torch.testing.assert_close(predict(net(control, scale=0.0)), none, rtol=1e-4, atol=1e-5)
    both = predict(net(control), net(other, "normal"))
    assert (both - predict(net(control))).abs().max() > 1e-3
    torch.testing.assert_close(predict(net(other, "normal"), net(control)), both, rtol=1e-3, atol=1e-4)


def test_stable_diffusion_xl_is_controlled_too(models):
    from diffusers import ControlNetModel, UNet2DConditionModel

    own = prior(models["sdxl"], net(models["sdxl-control"]))
    text = own.text_encoder().encode(["a red ball"])
    size = own.image_size
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    z = torch.randn(1, *own.shape, generator=torch.Generator().manual_seed(0))
    added = {"text_embeds": text.pooled, "time_ids": torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32)}
    with torch.no_grad():
        network = ControlNetModel.from_pretrained(models["sdxl-control"])
        down, mid = network(z, 500, text.tokens, image, added_cond_kwargs=added, return_dict=False)
        expected = UNet2DConditionModel.from_pretrained(models["sdxl"] / "unet")(
            z, 500, text.tokens, added_cond_kwargs=added, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        found = own.predict(z, torch.tensor([0.5]), replace(text, control=image)).noise
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_step_renders_what_the_control_reads(pipelines, control):
    own = prior(pipelines["sd-epsilon"], net(control, "normal-bae"))
    guidance = build(settings_class("guidance", "sds")(), own)
    assert guidance.wants.normals and own.reads_render
    assert not prior(pipelines["sd-epsilon"], net(control)).wants.normals
    guidance.embeddings = TextEmbeddings(["text", ""], own.text_encoder().encode(["a red ball", ""]))
    render, cameras = ball()
    image = render.image.clone().requires_grad_()
    views = replace(make_batch(2), camera=cameras)
    guidance(replace(render, image=image), ViewTexts(("text",), torch.ones(2, 1)), views).loss.backward()
    assert image.grad.isfinite().all() and (image.grad.abs().amax((1, 2, 3)) > 0).all()
    assert own.evaluations.calls == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cross_attention_dim": 16}, r"cross_attention_dim is 16: but it is 32 in"),
        ({"block_out_channels": [16, 64]}, r"block_out_channels is"),
        ({"conditioning_channels": 4}, r"conditioning_channels is 4: expected 3"),
        ({"global_pool_conditions": True}, r"global_pool_conditions is true"),
        ({"controlnet_conditioning_channel_order": "bgr"}, r"expected rgb"),
        ({"_class_name": "T2IAdapter"}, r"_class_name is \"T2IAdapter\": supported: ControlNetModel"),
        ({"layers": 3}, r"layers is 3: not a field of ControlNetModel"),
    ],
)
def test_a_control_that_cannot_be_honoured_is_refused(pipelines, control, tmp_path, changes, problem):
    folder = shutil.copytree(control, tmp_path / "model")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ModelError, match=problem) as caught:
        prior(pipelines["sd-epsilon"], net(folder)).load()
    assert len(str(caught.value).splitlines()) == 1


def test_the_recipe_of_a_missing_control_names_its_setting():
    assert recipe("controlnet-depth").count("then name models/controlnet-depth in guidance.prior.control.") == 1


def test_controls_are_for_the_latent_prior_alone(control):
    with pytest.raises(ValueError, match="control: ControlNets are for the prior latent"):
        settings_class("prior", "multi-view")(control=(net(control),))


def test_the_angle_of_a_view_does_not_matter_to_a_ball():
    first, second = (ball((angle,)) for angle in (0.0, pi / 3))
    torch.testing.assert_close(inverse_depth(*first), inverse_depth(*second), atol=1e-3, rtol=0)
