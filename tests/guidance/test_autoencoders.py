"""The autoencoder of a latent prior: another one in place of the model's, and its precision."""

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from torch.nn.functional import cosine_similarity

from benchmarks.autoencoders import compare
from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.models import recipe
from threefusion.guidance.prior.settings import LatentConfig
from threefusion.plan.missing import missing_priors
from threefusion.registry import build

CONFIGS = Path(__file__).parents[2] / "configs"
RGB = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))


def prior(folder, **settings):
    return build(settings_class("prior", "latent")(model=str(folder), **{"dtype": "float32"} | settings))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny autoencoder by itself, as the hub has them, with the weights once more under another name."""
    torch.manual_seed(0)
    channels = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    folder = tmp_path_factory.mktemp("taesd")
    network = diffusers.AutoencoderTiny(**channels, num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4)
    network.save_pretrained(folder)
    shutil.copy(folder / "diffusion_pytorch_model.safetensors", folder / "taesd_encoder.safetensors")
    return folder, network


def gradient(own, image=RGB):
    """Latents, and the gradient of their sum with fixed factors."""
    image = image.clone().requires_grad_()
    x = own.encode(image)
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    return x.detach(), torch.autograd.grad((x * probe).sum(), image)[0]


def test_another_autoencoder_takes_the_place_of_the_models(pipelines, tiny):
    folder, network = tiny
    own = prior(pipelines["sd-epsilon"], autoencoder=str(folder))
    with torch.no_grad():
        latents = network.encode(RGB.permute(0, 3, 1, 2) * 2 - 1).latents
        picture = (network.decode(latents).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    found, slope = gradient(own)
    torch.testing.assert_close(found, latents, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.decode(latents), picture, rtol=1e-4, atol=1e-5)
    assert own.shape == (4, 8, 8) and slope.abs().amax((1, 2, 3)).min() > 0
    own.load()
    assert isinstance(own._networks["vae"], diffusers.AutoencoderTiny)
    assert not any(value.requires_grad or value.grad is not None for value in own._networks["vae"].parameters())


def test_its_folder_is_kept_in_full(tiny, monkeypatch):
    folder, _ = tiny
    monkeypatch.chdir(folder.parent)
    assert LatentConfig(autoencoder=folder.name).autoencoder == str(folder)


def test_one_with_other_latents_is_refused(pipelines, tmp_path):
    channels = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    diffusers.AutoencoderTiny(**channels, latent_channels=16).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="in_channels is 4: expected 16, as the autoencoder has"):
        prior(pipelines["sd-epsilon"], autoencoder=str(tmp_path)).load()


def test_another_network_is_refused(pipelines):
    folder = pipelines["sd-epsilon"] / "unet"
    with pytest.raises(ModelError, match=r'config.json: _class_name is "UNet2DConditionModel": supported: AutoencoderKL'):
        prior(pipelines["sd-epsilon"], autoencoder=str(folder)).load()


def test_a_picture_of_reference_needs_the_models_own():
    with pytest.raises(ValueError, match=r"^autoencoder: the reference picture's latents"):
        settings_class("prior", "image-conditioned")(image="a.png", autoencoder="taesd")


def test_a_missing_one_is_downloaded_by_a_command_that_says_how_to_name_it(monkeypatch, tmp_path):
    monkeypatch.setattr("threefusion.guidance.prior.models.cached", lambda source, part: None)
    line = recipe("taesd", None, (".",))
    assert "hf download madebyollin/taesd " in line and "guidance.prior.autoencoder=models/taesd" in line and "5 MiB" in line


def test_a_plan_counts_a_prior_without_its_autoencoder_as_missing(monkeypatch):
    from threefusion.config import load_config

    monkeypatch.setattr("threefusion.guidance.prior.models.cached", lambda source, part: None)
    words = ["guidance.prior.type=latent", "guidance.prior.model=toyworld-latent"]
    assert missing_priors(load_config(CONFIGS / "quickstart.yaml", words)) == []
    (found,) = missing_priors(load_config(CONFIGS / "quickstart.yaml", [*words, "guidance.prior.autoencoder=taesd"]))
    assert found.autoencoder == "taesd"


def with_setting(folder, target, **fields):
    """A copy of a pipeline whose autoencoder's settings have other fields; None removes one."""
    shutil.copytree(folder, target)
    file = target / "vae" / "config.json"
    values = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
    return target


@pytest.mark.parametrize(
    ("force_upcast", "dtype", "expected"),
    [
        # Stable Diffusion 1 and 2: older than the field
        (None, "float16", torch.float16),
        (False, "float16", torch.float16),
        # Stable Diffusion XL
        (True, "float16", torch.float32),
        (True, "bfloat16", torch.bfloat16),
        (True, "float32", torch.float32),
    ],
)
def test_on_accelerators_it_runs_in_half_precision_unless_it_would_overflow(pipelines, tmp_path, force_upcast, dtype, expected):
    folder = with_setting(pipelines["sd-epsilon"], tmp_path / "model", force_upcast=force_upcast)
    own = prior(folder, dtype=dtype)
    assert own.vae_dtype == torch.float32
    assert own.to("meta").vae_dtype == expected


def test_a_precision_in_which_it_overflows_is_refused_by_file_and_field(pipelines):
    message = (
        r"vae/config.json: force_upcast is true: it overflows in float16; expected guidance.prior.autoencoder_dtype=bfloat16"
    )
    with pytest.raises(ModelError, match=message):
        prior(pipelines["sdxl"], autoencoder_dtype="float16").load()


@pytest.mark.parametrize("name", ["sd-epsilon", "sdxl"])
def test_in_bfloat16_latents_and_gradient_are_nearly_those_in_float32(pipelines, name):
    exact, slope = gradient(prior(pipelines[name]))
    found, rounded = gradient(prior(pipelines[name], autoencoder_dtype="bfloat16"))
    assert found.dtype == rounded.dtype == torch.float32
    assert 0 < (found - exact).norm() < 0.02 * exact.norm()
    assert cosine_similarity(rounded.flatten(), slope.flatten(), dim=0) > 0.99


def test_the_comparison_of_two_autoencoders_measures_latents_gradients_and_pictures(pipelines, tiny):
    own = prior(pipelines["sd-epsilon"])
    same = compare(own, prior(pipelines["sd-epsilon"]), RGB)
    assert same.latents == same.picture == 0 and same.gradient == pytest.approx(1, abs=1e-5)
    rounded = compare(own, prior(pipelines["sd-epsilon"], autoencoder_dtype="bfloat16"), RGB)
    assert 0 < rounded.latents < 0.02 and 0.99 < rounded.gradient < 1
    other = compare(own, prior(pipelines["sd-epsilon"], autoencoder=str(tiny[0])), RGB)
    assert other.latents > 0.5 and abs(other.gradient) < 0.5 and other.picture > 0.01
    assert 0 < other.milliseconds[1] and 0 < other.milliseconds[0]
