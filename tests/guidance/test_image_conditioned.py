"""Zero-1-to-3: what its network is given of the reference picture and of each view's pose."""

import json
import shutil
from dataclasses import replace
from math import cos, pi, radians, sin

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_conditioned import save_picture, save_tiny_zero123
from views import make_batch

from threefusion.camera.orbit import cameras_around
from threefusion.config.catalogue import settings_class
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import PromptConditioning
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.reference import on_white, read_picture, relative_pose
from threefusion.registry import build
from threefusion.testing import image_render
from threefusion.types import ViewTexts


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_zero123(tmp_path_factory.mktemp("zero123") / "model")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return save_picture(tmp_path_factory.mktemp("picture") / "disc.png")


@pytest.fixture
def folder(model, tmp_path):
    return shutil.copytree(model, tmp_path / "model")


def prior(folder, picture, **settings):
    defaults = {"dtype": "float32", "image": str(picture), "elevation_deg": 10.0, "azimuth_deg": 30.0, "distance": 1.8}
    return build(settings_class("prior", "image-conditioned")(model=str(folder), **defaults | settings))


def batch(elevation=(20.0, -5.0), azimuth=(30.0, 120.0), distance=(1.8, 2.1)):
    angles = torch.tensor([azimuth, elevation]).deg2rad()
    cameras = cameras_around(angles[0], angles[1], torch.tensor(distance), 0.8, (16, 16))
    return replace(make_batch(len(azimuth)), camera=cameras)


def conditioned(own, views, texts=("a red ball", "", "ugly")):
    encoded = own.text_encoder().encode(list(texts))
    text, empty, ugly = (encoded[i : i + 1].expand(len(views)) for i in range(3))
    return own.condition(PromptConditioning(text, empty, (ugly,)), views, None)


@pytest.mark.parametrize("pose", ["distance", "polar"])
def test_the_network_is_given_what_zero123s_pipeline_gives_it(model, picture, pose):
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    own, views = prior(model, picture, pose=pose), batch()
    z, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 0.7])
    prompt = conditioned(own, views)
    with torch.no_grad():
        found = own.predict(z, t, prompt.text).noise
        empty = own.predict(z, t, prompt.uncond).noise
        # the pipeline, part by part
        white = on_white(read_picture(picture), 64)
        pixels = CLIPImageProcessor.from_pretrained(model / "feature_extractor")(
            images=Image.fromarray((white[0] * 255).round().byte().numpy()), return_tensors="pt"
        ).pixel_values
        embedding = CLIPVisionModelWithProjection.from_pretrained(model / "image_encoder")(pixels).image_embeds
        latents = AutoencoderKL.from_pretrained(model / "vae").encode(white.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode()
        poses = torch.tensor(
            [
                [radians(-10), sin(0), cos(0), 0.0 if pose == "distance" else radians(80)],
                [radians(15), sin(pi / 2), cos(pi / 2), 0.3 if pose == "distance" else radians(80)],
            ]
        )
        weights = load_file(model / "clip_camera_projection" / "diffusion_pytorch_model.safetensors")
        tokens = torch.cat([embedding.expand(2, -1), poses], 1) @ weights["proj.weight"].T + weights["proj.bias"]
        unet = UNet2DConditionModel.from_pretrained(model / "unet")
        expected = unet(torch.cat([z, latents.expand(2, -1, -1, -1)], 1), t * 1000, tokens[:, None]).sample
        nothing = unet(torch.cat([z, torch.zeros_like(z)], 1), t * 1000, torch.zeros(2, 1, 32)).sample
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(empty, nothing, rtol=1e-4, atol=1e-5)


def test_negative_prompts_are_no_reference_either(model, picture):
    prompt = conditioned(prior(model, picture), batch())
    for nothing in (prompt.uncond, prompt.negatives[0]):
        assert not nothing.tokens.any() and not nothing.image.any()
    assert prompt.text.tokens.any() and prompt.text.image.any()


def test_the_pose_is_relative(model):
    one = relative_pose(batch().camera.position, 10.0, 30.0, 1.8, False)
    turned = relative_pose(batch(azimuth=(100.0, 190.0)).camera.position, 10.0, 100.0, 1.8, False)
    torch.testing.assert_close(one, turned)
    at_home = relative_pose(batch((10.0,), (30.0,), (1.8,)).camera.position, 10.0, 30.0, 1.8, False)
    torch.testing.assert_close(at_home, torch.tensor([[0.0, 0.0, 1.0, 0.0]]), atol=1e-5, rtol=0)
    higher = relative_pose(batch((40.0,), (30.0,), (1.8,)).camera.position, 10.0, 30.0, 1.8, False)
    assert higher[0, 0].item() == pytest.approx(-radians(30), abs=1e-5)


@pytest.mark.parametrize(("model_name", "pose", "polar"), [
    ("owner/stable-zero123-diffusers", "auto", True), ("stable-zero123", "auto", True), ("zero123-xl", "auto", False),
    ("zero123-xl", "polar", True), ("stable-zero123", "distance", False),
])  # fmt: skip
def test_stable_zero123_is_known_by_its_name(model_name, pose, polar, picture):
    cfg = settings_class("prior", "image-conditioned")(model=model_name, pose=pose, image=str(picture))
    assert cfg.polar is polar


def test_a_picture_is_composited_on_white_in_the_middle_of_a_square(picture):
    white = on_white(read_picture(picture), 60)
    assert white.shape == (1, 60, 60, 3)
    assert (white[0, :, :8] == 1).all() and (white[0, :, -8:] == 1).all()
    assert white[0, 30, 30].tolist() == pytest.approx([0.8, 0.1, 0.1], abs=0.01)
    torch.testing.assert_close(white, white.flip(2), atol=1e-6, rtol=0)


def test_a_step_has_a_finite_gradient_and_no_text_encoder(model, picture):
    own = prior(model, picture)
    guidance = build(settings_class("guidance", "sds")(), own)
    guidance.embed_texts(["text", ""])
    assert isinstance(guidance.embeddings, TextEmbeddings)
    image = torch.rand(2, 16, 16, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    guidance(image_render(image), ViewTexts(("text",), torch.ones(2, 1)), batch()).loss.backward()
    assert image.grad.isfinite().all() and (image.grad.abs().amax((1, 2, 3)) > 0).all()
    assert own.evaluations.calls == 1


def change(folder, part, **changes):
    file = folder / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refused(folder, picture, match, **settings):
    own = prior(folder, picture, **settings)
    with pytest.raises(ModelError, match=match) as caught:
        _ = own.text_encoder(), own.load()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("part", "changes", "problem"),
    [
        ("clip_camera_projection", {"additional_embeddings": 5}, r"additional_embeddings is 5: expected 4"),
        ("clip_camera_projection", {"embedding_dim": 16}, r"embedding_dim is 16: expected 32"),
        ("clip_camera_projection", {"_class_name": "Other"}, r"expected CLIPCameraProjection"),
        ("clip_camera_projection", {"layers": 2}, r"layers is 2: not a field"),
        ("image_encoder", {"projection_dim": 16}, r"projection_dim is 16: expected 32"),
        ("unet", {"in_channels": 4}, r"in_channels is 4: expected 8"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_file_and_field(folder, picture, part, changes, problem):
    change(folder, part, **changes)
    refused(folder, picture, problem)


def test_a_folder_without_its_parts_is_refused(folder, picture, pipelines):
    refused(pipelines["sd-epsilon"], picture, "clip_camera_projection")
    (folder / "feature_extractor" / "preprocessor_config.json").unlink()
    refused(folder, picture, r"preprocessor_config\.json is missing")


def test_a_picture_that_cannot_be_used_is_named(model, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGBA", (4, 4)).save(tmp_path / "empty.png")
    refused(model, tmp_path / "nothing.png", r"nothing\.png: cannot be read as a picture")
    refused(model, tmp_path / "text.png", r"text\.png: cannot be read as a picture")
    refused(model, tmp_path / "empty.png", r"empty\.png: shows nothing")


def test_tokens_of_texts_are_refused(picture, tmp_path):
    with pytest.raises(ValueError, match=r"textual_inversion: .* reads no text"):
        settings_class("prior", "image-conditioned")(image=str(picture), textual_inversion=(str(tmp_path / "a.safetensors"),))
