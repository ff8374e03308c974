"""Joint denoising of several views: MVDream's own network, its cameras, and groups that stay together."""

import json
import shutil
from dataclasses import replace
from math import pi

import pytest
import torch
from ldm_twin import SETTINGS, MultiViewUNet
from safetensors.torch import load_file, save_file
from tiny_conditioned import save_tiny_multi_view, save_tiny_mvdream

from threefusion.camera.orbital import OrbitalCameras
from threefusion.camera.settings import OrbitalConfig
from threefusion.config.catalogue import settings_class
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import PromptConditioning
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.models import MODELS
from threefusion.guidance.prior.multi_view_unet import translated
from threefusion.registry import build
from threefusion.testing import image_render
from threefusion.types import ViewTexts


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multi-view")
    return {"mvdream": save_tiny_mvdream(folder / "mvdream"), "diffusers": save_tiny_multi_view(folder / "diffusers")}


@pytest.fixture
def folder(models, tmp_path):
    return shutil.copytree(models["mvdream"], tmp_path / "model")


def prior(folder, kind="multi-view", **settings):
    return build(settings_class("prior", kind)(model=str(folder), **{"dtype": "float32"} | settings))


def views(count=8, step=3):
    return OrbitalCameras(OrbitalConfig(batch_size=count, group_size=4)).sample(step, 0, torch.arange(count))


def conditioned(own, batch, text="a red ball"):
    tokens = own.text_encoder().encode([text, ""])
    prompt = PromptConditioning(tokens[:1].expand(len(batch)), tokens[1:].expand(len(batch)))
    return own.condition(prompt, batch, None)


def states(own, count, seed=0):
    return torch.randn(count, *own.shape, generator=torch.Generator().manual_seed(seed))


def test_mvdreams_own_network_is_read_by_its_names_and_predicts_as_it_does(models):
    theirs = MultiViewUNet().eval()
    theirs.load_state_dict(load_file(models["mvdream"] / "unet" / "diffusion_pytorch_model.safetensors"))
    own, batch = prior(models["mvdream"]), views()
    condition, z, t = conditioned(own, batch).text, states(own, 8), torch.tensor([0.3] * 4 + [0.7] * 4)
    assert own.shape == (4, 8, 8) and own.group_size == 4
    with torch.no_grad():
        expected = theirs(z, t * 1000, condition.tokens, condition.camera, 4)
        found = own.predict(z, t, condition).noise
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("name", ["mvdream", "diffusers"])
def test_a_view_sees_the_others_of_its_group_and_no_other_group(models, name):
    own, batch = prior(models[name]), views()
    condition, z, t = conditioned(own, batch).text, states(own, 8), torch.full((8,), 0.5)
    with torch.no_grad():
        whole = own.predict(z, t, condition).noise
        alone = own.predict(z[4:], t[4:], condition[4:]).noise
        moved = own.predict(torch.cat([states(own, 1, 9), z[1:]]), t, condition).noise
    torch.testing.assert_close(alone, whole[4:], rtol=1e-4, atol=1e-5)
    difference = (moved - whole).abs().amax((1, 2, 3))
    assert (difference[1:4] > 1e-6).all() and (difference[4:] < 1e-6).all()


def test_both_branches_are_given_each_views_camera_and_the_views_keep_theirs(models):
    own, batch = prior(models["diffusers"]), views()
    before = batch.camera.c2w.clone()
    prompt = conditioned(own, batch)
    assert torch.equal(prompt.text.camera, prompt.uncond.camera)
    assert torch.equal(batch.camera.c2w, before)
    camera = prompt.text.camera.view(8, 4, 4)
    torch.testing.assert_close(camera[:, :3, 3].norm(dim=1), torch.ones(8))
    assert torch.equal(camera[:, :3, :3], before[:, :3, :3]) and torch.equal(camera[:, 3], before[:, 3])
    # +z is up: the camera's own height is the sine of its elevation
    torch.testing.assert_close(camera[:, 2, 3], before[:, 2, 3] / before[:, :3, 3].norm(dim=1))


def test_the_camera_matters(models):
    own, batch = prior(models["diffusers"]), views(4)
    condition, z, t = conditioned(own, batch).text, states(own, 4), torch.full((4,), 0.5)
    with torch.no_grad():
        turned = own.predict(z, t, replace(condition, camera=condition.camera.roll(1, 0))).noise
        assert not torch.allclose(own.predict(z, t, condition).noise, turned, atol=1e-4)


def test_views_of_a_group_lie_at_equal_angles_and_share_all_else():
    settings = OrbitalConfig(batch_size=8, group_size=4, albedo_steps=0, camera_perturb=0.0, center_perturb=0.0)
    for step in range(4):
        batch = OrbitalCameras(settings).sample(step, 0, torch.arange(8))
        azimuth = batch.camera.azimuth.view(2, 4)
        torch.testing.assert_close(torch.remainder(azimuth.diff(dim=1), 2 * pi), torch.full((2, 3), pi / 2))
        for value in (batch.camera.elevation, batch.camera.distance, batch.camera.fovy, batch.shading):
            groups = value.view(2, 4)
            assert (groups == groups[:, :1]).all()
        assert len(set(batch.camera.elevation.tolist())) == 2
        assert batch.group.tolist() == [0] * 4 + [1] * 4
        assert len(set(batch.rand_per_group("timestep").tolist())) == 2
        part = OrbitalCameras(settings).sample(step, 0, torch.arange(4, 8))
        assert torch.equal(part.camera.c2w, batch.camera.c2w[4:])


def test_a_batch_of_broken_groups_is_refused_with_the_setting():
    with pytest.raises(ValueError, match="batch_size: expected a multiple of group_size, 4"):
        OrbitalConfig(batch_size=6, group_size=4)


def test_a_groups_gradient_is_the_one_it_has_alone_under_guidance(models):
    own = prior(models["diffusers"])
    guidance = build(settings_class("guidance", "sds")(), own)
    guidance.embeddings = TextEmbeddings(["text", ""], own.text_encoder().encode(["a red ball", ""]))
    image = torch.rand(8, 16, 16, 3, generator=torch.Generator().manual_seed(0))

    def gradient(batch, image):
        image = image.clone().requires_grad_()
        prompt = ViewTexts(("text",), torch.ones(len(batch), 1))
        return torch.autograd.grad(guidance(image_render(image), prompt, batch).loss, image)[0]

    batch = views()
    whole = gradient(batch, image)
    for half in (slice(0, 4), slice(4, 8)):
        alone = gradient(batch.select(torch.arange(8)[half]), image[half])
        torch.testing.assert_close(whole[half], alone / 2, rtol=1e-3, atol=1e-4 * whole.abs().max().item())


def change(folder, *dropped, **changes):
    file = folder / "unet" / "config.json"
    settings = {name: value for name, value in json.loads(file.read_text()).items() if name not in dropped}
    file.write_text(json.dumps(settings | changes))


def refused(folder, match, kind="multi-view"):
    own = prior(folder, kind)
    with pytest.raises(ModelError, match=match) as caught:
        own.load()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ip_dim": 16}, "ip_dim is 16: the network takes a reference image"),
        ({"camera_dim": None}, "class_embed_type is null: expected projection"),
        ({"camera_dim": 12}, "projection_class_embeddings_input_dim is 12: expected 16"),
        ({"num_res_blocks": [1, 1]}, "num_res_blocks is"),
        ({"resblock_updown": True}, "resblock_updown is true"),
        ({"num_head_channels": -1}, "num_head_channels is -1: expected it or num_heads"),
        ({"channel_mult": 2}, "channel_mult is 2: expected a list"),
        ({"frames": 4}, "frames is 4: not a field of MultiViewUNetModel"),
        ({"in_channels": 5}, "in_channels is 5"),
        ({"model_channels": 64}, r"the weight .* has the shape"),
    ],
)
def test_what_mvdreams_settings_say_is_honoured_or_refused(folder, changes, problem):
    change(folder, **changes)
    refused(folder, problem)


def test_heads_are_counted_either_way(folder):
    own = prior(folder)
    change(folder, "num_head_channels", num_heads=4)
    other = prior(folder)
    condition, z, t = conditioned(own, views(4)).text, states(own, 4), torch.full((4,), 0.5)
    with torch.no_grad():
        torch.testing.assert_close(own.predict(z, t, condition).noise, other.predict(z, t, condition).noise)


def test_weights_that_are_missing_or_left_over_are_named(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file(weights | {"image_embed.latents": torch.zeros(1)}, file, {"format": "pt"})
    refused(folder, r"the weight image_embed\.latents belongs to no layer")
    del weights["camera_embed.2.bias"]
    save_file(weights, file, {"format": "pt"})
    refused(folder, r"the weight class_embedding\.linear_2\.bias is missing")


def test_other_priors_name_this_one_and_it_refuses_theirs(models, pipelines):
    refused(models["mvdream"], "MultiViewUNetModel.*`multi-view`", "latent")
    refused(models["diffusers"], "`multi-view`", "latent")
    refused(pipelines["sd-epsilon"], "class_embed_type is null: expected projection")


def test_half_precision_is_kept(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value.half() for name, value in load_file(file).items()}, file, {"format": "pt"})
    own = prior(folder)
    own.load()
    assert next(own._networks["unet"].parameters()).dtype == torch.float16
    condition = conditioned(own, views(4)).text
    assert own.predict(states(own, 4), torch.full((4,), 0.5), condition).noise.dtype == torch.float32


def test_the_real_models_settings_give_its_number_of_parameters(tmp_path):
    from diffusers import UNet2DConditionModel

    settings = SETTINGS | {
        "image_size": 32, "model_channels": 320, "num_res_blocks": 2, "attention_resolutions": [4, 2, 1],
        "channel_mult": [1, 2, 4, 4], "num_head_channels": 64, "context_dim": 1024,
    }  # fmt: skip
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(settings))
    with torch.device("meta"):
        read = translated(tmp_path)
        unet = UNet2DConditionModel(**{name: value for name, value in read.items() if name[:1] != "_"})
    assert sum(parameter.numel() for parameter in unet.parameters()) == MODELS["mvdream"].parameters - 83_653_863
