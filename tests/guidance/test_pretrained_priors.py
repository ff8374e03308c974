"""Pipelines saved by diffusers, run by the priors."""

import json
import shutil

import pytest
import pytorch_lightning as pl
import torch

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.prior import precision
from threefusion.registry import build

RGB = torch.rand(2, 20, 20, 3, generator=torch.Generator().manual_seed(0))


def prior(kind, folder, **settings):
    return build(settings_class("prior", kind)(model=str(folder), **{"dtype": "float32"} | settings))


def test_the_pixel_prior_predicts_what_the_pipelines_network_predicts(pipelines):
    from diffusers import IFPipeline

    pipeline = IFPipeline.from_pretrained(pipelines["if-6"], local_files_only=True)
    own = prior("pixel", pipelines["if-6"])
    assert own.shape == (3, 16, 16)
    tokens, _ = pipeline.encode_prompt("A red Ball, front view ", do_classifier_free_guidance=False)
    encoded = own.text_encoder().encode(["A red Ball, front view "])
    torch.testing.assert_close(encoded.tokens, tokens, rtol=1e-4, atol=1e-5)
    z, timesteps = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    with torch.no_grad():
        expected = pipeline.unet(z, timesteps, tokens).sample[:, :3]
    torch.testing.assert_close(own.predict(z, timesteps / 1000, encoded).noise, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sd-epsilon", "sd-v"])
def test_the_latent_prior_predicts_what_the_pipelines_network_predicts(pipelines, name):
    from diffusers import DDPMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(pipelines[name], local_files_only=True)
    own = prior("latent", pipelines[name])
    assert own.shape == (4, 8, 8)
    tokens, _ = pipeline.encode_prompt("a red ball", "cpu", 1, False)
    encoded = own.text_encoder().encode(["a red ball"])
    torch.testing.assert_close(encoded.tokens, tokens, rtol=1e-4, atol=1e-5)
    z, timesteps = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    with torch.no_grad():
        output = pipeline.unet(z, timesteps, tokens).sample
        scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        clean = scheduler.step(output, 500, z).pred_original_sample
    alpha_bar = own.schedule.alphas_cumprod[500]
    expected = (z - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
    torch.testing.assert_close(own.predict(z, timesteps / 1000, encoded).noise, expected, rtol=1e-3, atol=1e-4)


def test_the_latent_prior_encodes_and_decodes_as_the_pipeline(pipelines):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(pipelines["sd-epsilon"] / "vae")
    own = prior("latent", pipelines["sd-epsilon"])
    rgb = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        posterior = vae.encode(rgb.permute(0, 3, 1, 2) * 2 - 1).latent_dist
        expected = posterior.mode() * 0.18215
        picture = (vae.decode(expected / 0.18215).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        torch.testing.assert_close(own.encode(rgb), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(own.decode(expected), picture, rtol=1e-4, atol=1e-4)
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        drawn = posterior.mean + posterior.std * noise
        torch.testing.assert_close(own.encode(rgb, noise), drawn * 0.18215, rtol=1e-4, atol=1e-5)


def test_latents_are_shifted_before_they_are_scaled(pipelines, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(pipelines["sd-epsilon"], folder)
    path = folder / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shift_factor": 0.5, "scaling_factor": 0.25}))
    rgb = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, shifted = (prior("latent", model).encode(rgb) for model in (pipelines["sd-epsilon"], folder))
    torch.testing.assert_close(shifted, (plain / 0.18215 - 0.5) * 0.25)


def test_latents_are_drawn_only_if_asked_for(pipelines):
    assert not prior("latent", pipelines["sd-epsilon"]).stochastic_encoder
    assert prior("latent", pipelines["sd-epsilon"], posterior="sample").stochastic_encoder


@pytest.mark.parametrize("kind, name", [("pixel", "if-3"), ("latent", "sd-epsilon")])
def test_the_gradient_of_encoding_is_that_of_finite_differences(pipelines, kind, name):
    own = prior(kind, pipelines[name])
    image = RGB[:1].clone().requires_grad_()
    generator = torch.Generator().manual_seed(2)
    direction, probe = torch.randn(1, *own.shape, generator=generator), torch.randn(RGB[:1].shape, generator=generator)
    (gradient,) = torch.autograd.grad((own.encode(image) * direction).sum(), image)
    with torch.no_grad():
        plus, minus = (own.encode(image + sign * 1e-2 * probe) for sign in (1, -1))
    numerical = ((plus - minus).double() * direction).sum().item() / 2e-2
    assert (gradient * probe).sum().item() == pytest.approx(numerical, rel=0.02, abs=1e-3)


def test_another_image_size_can_be_chosen(pipelines):
    assert prior("pixel", pipelines["if-3"], image_size=24).encode(RGB).shape == (2, 3, 24, 24)
    assert prior("latent", pipelines["sd-epsilon"], image_size=128).encode(RGB).shape == (2, 4, 16, 16)


def test_half_precision_is_used_inside_and_float32_comes_out(pipelines):
    z, timesteps = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([999, 257])
    single, half = (prior("pixel", pipelines["if-6"], dtype=dtype) for dtype in ("float32", "bfloat16"))
    condition = single.text_encoder().encode(["a", "b"])
    exact, found = (each.predict(z, timesteps / 1000, condition).noise for each in (single, half))
    assert next(half._networks["unet"].parameters()).dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() / exact.norm() < 0.03


def test_timesteps_reach_the_network_as_integers(pipelines):
    own = prior("pixel", pipelines["if-3"], dtype="bfloat16")
    seen = []
    own.load()
    own._networks["unet"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    own.predict(torch.zeros(1, 3, 16, 16), torch.tensor([0.999]), own.text_encoder().encode(["a"]))
    assert seen[0].dtype == torch.int64 and seen[0].item() == 999


def test_precision_follows_the_device(monkeypatch):
    monkeypatch.setattr(precision, "processor_has_bfloat16", lambda: True)
    assert precision.network_dtype("auto", torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(precision, "processor_has_bfloat16", lambda: False)
    assert precision.network_dtype("auto", torch.device("cpu")) == torch.float32
    assert precision.network_dtype("auto", torch.device("cuda")) == torch.float16
    assert precision.network_dtype("float32", torch.device("cuda")) == torch.float32


def test_weights_in_half_precision_are_read_as_they_are(pipelines, tmp_path):
    from diffusers import UNet2DConditionModel

    folder = tmp_path / "model"
    shutil.copytree(pipelines["if-3"], folder)
    network = UNet2DConditionModel.from_pretrained(folder / "unet").half()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    network.save_pretrained(folder / "unet", variant="fp16")
    own = prior("pixel", folder)
    own.load()
    assert next(own._networks["unet"].parameters()).dtype == torch.float16
    own.predict(torch.zeros(1, 3, 16, 16), torch.tensor([0.001]), own.text_encoder().encode(["a"]))
    assert next(own._networks["unet"].parameters()).dtype == torch.float32


def test_a_loaded_prior_is_in_no_checkpoint_and_has_no_parameters(pipelines):
    class System(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.scene = torch.nn.Linear(2, 2)
            self.prior = prior("pixel", pipelines["if-3"])
            self.prior.load()

    system = System()
    assert set(system.state_dict()) == {"scene.weight", "scene.bias"}
    assert len(list(system.parameters())) == 2
    system.load_state_dict(system.state_dict(), strict=True)
    system.train().to(torch.float64)
    network = system.prior._networks["unet"]
    assert not network.training
    assert next(network.parameters()).dtype == torch.float32
    system.to("meta")
    assert next(network.parameters()).device.type == "meta"


def test_loading_twice_reads_once(pipelines):
    own = prior("pixel", pipelines["if-3"])
    own.load()
    first = own._networks["unet"]
    own.load()
    assert own._networks["unet"] is first


@pytest.mark.parametrize("kind, name, hint", [("pixel", "sd-epsilon", "latent"), ("latent", "if-3", "vae/")])
def test_the_wrong_prior_for_a_model_is_said_so(pipelines, kind, name, hint):
    with pytest.raises(UserError, match=hint):
        _ = prior(kind, pipelines[name]).shape


@pytest.mark.parametrize(
    "part, file, change, message",
    [
        ("scheduler", "scheduler_config.json", {"prediction_type": "flow"}, "flow"),
        ("scheduler", "scheduler_config.json", {"beta_schedule": "sigmoid"}, "sigmoid"),
        ("unet", "config.json", {"addition_embed_type": "text_time"}, "text_time"),
    ],
)
def test_what_cannot_be_run_is_refused(pipelines, tmp_path, part, file, change, message):
    folder = tmp_path / "model"
    shutil.copytree(pipelines["if-3"], folder)
    path = folder / part / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    own = prior("pixel", folder)
    with pytest.raises(UserError, match=message):
        _ = own.schedule, own.shape


def test_long_texts_are_cut_with_a_warning(pipelines, heard):
    encoder = prior("pixel", pipelines["if-3"]).text_encoder()
    assert encoder.encode(["word " * 60]).tokens.shape[1] == 77
    assert "of which the prior reads 77" in str(heard)


def test_the_key_of_an_encoder_changes_with_its_weights(pipelines, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(pipelines["if-3"], folder)
    before = prior("pixel", folder).text_encoder().key
    assert before == prior("pixel", pipelines["if-3"]).text_encoder().key
    weights = folder / "text_encoder" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert prior("pixel", folder).text_encoder().key != before
