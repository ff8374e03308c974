"""Every setting of a model is honoured as diffusers reads it, or refused by file and field."""

import json
import re
import shutil

import diffusers
import pytest
import torch
from tiny import save_tiny_if

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.model_settings import FLOWS, TABLES
from threefusion.guidance.prior.schedule import RectifiedFlow
from threefusion.registry import build

RGB = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(pipelines, tmp_path):
    """A copy of a Stable Diffusion pipeline."""
    return shutil.copytree(pipelines["sd-epsilon"], tmp_path / "model")


def prior(folder, kind="latent", **settings):
    return build(settings_class("prior", kind)(model=str(folder), **{"dtype": "float32"} | settings))


def change(folder, part, *dropped, **changes):
    """Change a part's settings and drop some; returns the file."""
    file = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    settings = {name: value for name, value in json.loads(file.read_text()).items() if name not in dropped}
    file.write_text(json.dumps(settings | changes))
    return file


def list_class(folder, part, name):
    """Name the class of a part in model_index.json."""
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {part: ["diffusers", name]}))


def replace_scheduler(folder, scheduler):
    scheduler.save_pretrained(folder / "scheduler")
    list_class(folder, "scheduler", type(scheduler).__name__)


def refused(folder, file, field, kind="latent", **settings):
    own = prior(folder, kind, **settings)
    with pytest.raises(ModelError, match=rf"^{re.escape(str(file))}: {field} is ") as caught:
        _ = own.schedule, own.shape, own.load()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", TABLES)
def test_a_scheduler_with_a_table_gives_its_alphas_and_its_target(folder, name):
    settings = {"beta_schedule": "scaled_linear", "beta_start": 0.001, "beta_end": 0.01, "num_train_timesteps": 500}
    scheduler = getattr(diffusers, name)(**settings, prediction_type="v_prediction")
    replace_scheduler(folder, scheduler)
    own = prior(folder)
    torch.testing.assert_close(own.schedule.alphas_cumprod, scheduler.alphas_cumprod, rtol=2e-4, atol=1e-7)
    assert own.target == "velocity"


@pytest.mark.parametrize("name", TABLES)
def test_absent_fields_are_those_of_the_schedulers_class(folder, name):
    scheduler = getattr(diffusers, name)()
    replace_scheduler(folder, scheduler)
    change(
        folder, "scheduler", "beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "trained_betas", "prediction_type"
    )
    own = prior(folder)
    torch.testing.assert_close(own.schedule.alphas_cumprod, scheduler.alphas_cumprod, rtol=2e-4, atol=1e-7)
    assert own.target == "noise"


@pytest.mark.parametrize(("name", "shift"), [(FLOWS[0], 3.0), (FLOWS[1], 1.5)])
def test_a_flow_gives_the_levels_and_times_of_its_scheduler(folder, name, shift):
    scheduler = getattr(diffusers, name)(shift=shift, num_train_timesteps=500)
    replace_scheduler(folder, scheduler)
    own = prior(folder)
    t = torch.arange(500, 0, -1) / 500
    torch.testing.assert_close(own.schedule.coefficients(t)[1].flatten(), scheduler.sigmas[:500].float())
    torch.testing.assert_close(own.schedule.timesteps(t), scheduler.timesteps[:500].float())
    assert own.target == "velocity"


def test_a_step_of_a_flow_is_that_of_its_scheduler(folder):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    replace_scheduler(folder, scheduler)
    own = prior(folder)
    scheduler.set_timesteps(10)
    z = torch.randn(1, *own.shape, generator=torch.Generator().manual_seed(0))
    level, following, timestep = scheduler.sigmas[4], scheduler.sigmas[5], scheduler.timesteps[4]
    t = level / (3 - 2 * level)  # the inverse of the shift
    condition = own.text_encoder().encode(["a red ball"])
    with torch.no_grad():
        predicted = own.predict(z, t[None], condition)
        output = own._networks["unet"](z, timestep, condition.tokens).sample
    torch.testing.assert_close(predicted.output, output, rtol=1e-4, atol=1e-5)
    stepped = scheduler.step(output, timestep, z).prev_sample
    torch.testing.assert_close((1 - following) * predicted.clean + following * predicted.noise, stepped, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("prediction", "target"), [("flow_prediction", "velocity"), ("epsilon", "noise"), ("sample", "clean")])
@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"])
def test_a_multistep_scheduler_can_be_that_of_a_flow(folder, name, prediction, target):
    replace_scheduler(folder, getattr(diffusers, name)(use_flow_sigmas=True, flow_shift=2.0, prediction_type=prediction))
    own = prior(folder)
    assert isinstance(own.schedule, RectifiedFlow) and own.schedule.shift == 2.0 and own.target == target


@pytest.mark.parametrize(
    ("scheduler", "field"),
    [
        (diffusers.LCMScheduler(), "_class_name"),
        (diffusers.TCDScheduler(), "_class_name"),
        (diffusers.EDMEulerScheduler(), "_class_name"),
        (diffusers.EDMDPMSolverMultistepScheduler(), "_class_name"),
        (diffusers.CMStochasticIterativeScheduler(), "_class_name"),
        (diffusers.UnCLIPScheduler(), "_class_name"),
        (diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), "use_dynamic_shifting"),
        (diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "invert_sigmas"),
        (diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="v_prediction"), "prediction_type"),
        (diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction"), "prediction_type"),
        (diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction"), "timestep_type"),
        (diffusers.DDPMScheduler(beta_schedule="sigmoid"), "beta_schedule"),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "config") else value,
)
def test_other_schedulers_are_refused(folder, scheduler, field):
    replace_scheduler(folder, scheduler)
    refused(folder, folder / "scheduler" / "scheduler_config.json", field)


@pytest.mark.parametrize(
    ("dropped", "changes", "field"),
    [
        ([], {"prediction_type": "flow"}, "prediction_type"),
        ([], {"prediction_type": None}, "prediction_type"),
        ([], {"beta_start": "0.00085"}, "beta_start"),
        ([], {"beta_end": 1.5}, "beta_end"),
        ([], {"num_train_timesteps": 0}, "num_train_timesteps"),
        ([], {"num_train_timesteps": 1000.5}, "num_train_timesteps"),
        ([], {"trained_betas": ["a"]}, "trained_betas"),
        ([], {"trained_betas": []}, "trained_betas"),
        ([], {"trained_betas": [0.1, 0.2]}, "trained_betas"),
        ([], {"trained_betas": [0.1, -0.2], "num_train_timesteps": 2}, "trained_betas"),
        ([], {"predict_epsilon": False}, "predict_epsilon"),
        ([], {"use_flow_sigmas": True}, "use_flow_sigmas"),
        ([], {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "_class_name"),
        ([], {"_class_name": ["a"]}, "_class_name"),
    ],
)
def test_a_scheduler_that_does_not_make_sense_is_refused(folder, dropped, changes, field):
    refused(folder, change(folder, "scheduler", *dropped, **changes), field)


def test_a_scheduler_without_settings_is_refused_even_if_its_class_is_listed(folder):
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    refused(folder, folder / "scheduler" / "scheduler_config.json", "_class_name")


def test_fields_left_by_another_scheduler_are_ignored_unless_they_describe_the_training(folder):
    replace_scheduler(folder, diffusers.PNDMScheduler(beta_schedule="scaled_linear"))
    change(folder, "scheduler", clip_sample=False, algorithm_type="dpmsolver++")
    _ = prior(folder).schedule
    refused(folder, change(folder, "scheduler", rescale_betas_zero_snr=True), "rescale_betas_zero_snr")
    replace_scheduler(folder, diffusers.FlowMatchEulerDiscreteScheduler())
    refused(folder, change(folder, "scheduler", prediction_type="epsilon"), "prediction_type")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"_class_name": "UNet2DModel"}, "_class_name"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type"),
        ({"addition_embed_type": "image"}, "addition_embed_type"),
        ({"encoder_hid_dim_type": "image_proj"}, "encoder_hid_dim_type"),
        ({"class_embed_type": "projection"}, "class_embed_type"),
        ({"num_class_embeds": 1000}, "num_class_embeds"),
        ({"dual_cross_attention": True}, "dual_cross_attention"),
        ({"time_cond_proj_dim": 256}, "time_cond_proj_dim"),
        ({"in_channels": 9}, "in_channels"),
        ({"in_channels": None}, "in_channels"),
        ({"in_channels": "4"}, "in_channels"),
        ({"out_channels": 5}, "out_channels"),
        ({"sample_size": None}, "sample_size"),
        ({"sample_size": [8, 16]}, "sample_size"),
        ({"sample_size": 0}, "sample_size"),
        ({"sample_size": "8"}, "sample_size"),
        ({"sample_size": []}, "sample_size"),
        ({"camera_embed_dim": 16}, "camera_embed_dim"),
    ],
)
def test_a_network_that_needs_more_than_a_text_is_refused(folder, changes, field):
    if "_class_name" in changes:
        list_class(folder, "unet", changes["_class_name"])
    refused(folder, change(folder, "unet", **changes), field)


def test_a_network_without_cross_attention_is_refused_unless_the_text_enters_its_time(folder):
    plain = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "mid_block_type": "UNetMidBlock2D"}
    refused(folder, change(folder, "unet", **plain), "down_block_types")
    change(folder, "unet", addition_embed_type="text")
    _ = prior(folder).shape


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cross_attention_dim": 48}, "cross_attention_dim"),
        ({"cross_attention_dim": [32, 48]}, "cross_attention_dim"),
        ({"encoder_hid_dim": 16, "encoder_hid_dim_type": "text_proj"}, "encoder_hid_dim"),
    ],
)
def test_a_text_of_another_width_is_refused_before_it_is_encoded(folder, changes, field):
    file = change(folder, "unet", **changes)
    with pytest.raises(ModelError, match=f"{file}: {field} is .*: but the encoded text has 32 numbers per token"):
        prior(folder).text_encoder()
    change(folder, "unet", **{"cross_attention_dim": [32, 32]} | dict.fromkeys(changes.keys() - {"cross_attention_dim"}))
    prior(folder).text_encoder()


def test_sizes_of_any_form_are_read_and_a_configured_one_needs_none(folder):
    change(folder, "unet", sample_size=[8, 8])
    assert prior(folder).shape == (4, 8, 8)
    for dropped, changes in ([[], {"sample_size": None}], [["sample_size"], {}]):
        change(folder, "unet", *dropped, **changes)
        assert prior(folder, image_size=128).shape == (4, 16, 16)


def test_an_unknown_size_is_refused_before_networks_are_read(folder):
    change(folder, "unet", sample_size=None)
    own = prior(folder)
    with pytest.raises(ModelError, match="sample_size is null"):
        own.load()
    assert not own._networks


def test_absent_fields_of_networks_are_those_of_diffusers(folder):
    change(folder, "unet", "in_channels", "out_channels", "_class_name")
    change(folder, "vae", "latent_channels", "scaling_factor", "shift_factor", "_class_name")
    own = prior(folder)
    assert own.shape == (4, 8, 8) and own.shift_and_scale() == (0.0, 0.18215)
    own.load()


def test_settings_of_averaged_weights_change_nothing(folder):
    change(folder, "unet", decay=0.9999, optimization_step=10, power=0.75, inv_gamma=1.0, update_after_step=0)
    prior(folder).load()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"_class_name": "VQModel"}, "_class_name"),
        ({"_class_name": "AsymmetricAutoencoderKL"}, "_class_name"),
        ({"scaling_factor": None}, "scaling_factor"),
        ({"scaling_factor": 0}, "scaling_factor"),
        ({"scaling_factor": float("nan")}, "scaling_factor"),
        ({"shift_factor": "0"}, "shift_factor"),
        ({"latents_mean": [0.0] * 4}, "latents_std"),
        ({"latents_mean": [0.0] * 3, "latents_std": [1.0] * 4}, "latents_mean"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0, 1.0, 1.0, 0.0]}, "latents_std"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, "shift_factor": 0.1}, "shift_factor"),
        ({"in_channels": 1}, "in_channels"),
        ({"out_channels": 4}, "out_channels"),
        ({"latent_channels": None}, "latent_channels"),
    ],
)
def test_an_autoencoder_that_cannot_be_honoured_is_refused(folder, changes, field):
    if "_class_name" in changes:
        list_class(folder, "vae", changes["_class_name"])
    refused(folder, change(folder, "vae", **changes), field)


def test_channels_of_latents_are_normalised_one_by_one(folder):
    mean, std = [0.1, -0.2, 0.3, 0.0], [0.5, 1.0, 2.0, 4.0]
    plain = prior(folder).encode(RGB) / 0.18215
    change(folder, "vae", latents_mean=mean, latents_std=std, scaling_factor=0.25)
    own = prior(folder)
    # as StableDiffusionXLPipeline
    expected = (plain - torch.tensor(mean).view(1, 4, 1, 1)) * 0.25 / torch.tensor(std).view(1, 4, 1, 1)
    torch.testing.assert_close(own.encode(RGB), expected)
    torch.testing.assert_close(own.decode(expected), prior(folder).decode(own.encode(RGB)))
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        picture = (vae.decode(plain).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(own.decode(expected), picture, rtol=1e-3, atol=1e-4)


def tiny(folder):
    """The pipeline with an AutoencoderTiny, whose blocks are fewer than the default."""
    torch.manual_seed(0)
    shape = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    blocks = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}
    shutil.rmtree(folder / "vae")
    vae = diffusers.AutoencoderTiny(**shape, **blocks)
    vae.save_pretrained(folder / "vae")
    list_class(folder, "vae", "AutoencoderTiny")
    return vae


def test_the_tiny_autoencoder_encodes_and_decodes_as_diffusers(folder):
    vae = tiny(folder)
    change(folder, "vae", "scaling_factor")
    own = prior(folder)
    assert own.shape == (4, 8, 8) and own.image_size == 64
    with torch.no_grad():
        latents = vae.encode(RGB.permute(0, 3, 1, 2) * 2 - 1).latents
        picture = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    image = RGB.clone().requires_grad_()
    encoded = own.encode(image)
    torch.testing.assert_close(encoded.detach(), latents, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.decode(latents), picture, rtol=1e-4, atol=1e-5)
    encoded.sum().backward()
    assert image.grad.abs().sum() > 0
    assert own.largest_layer(1) > 0


@pytest.mark.parametrize("settings", [{"posterior": "sample"}, {"gradient_checkpointing": True}])
def test_the_tiny_autoencoder_has_no_posterior_and_no_checkpointing(folder, settings):
    tiny(folder)
    refused(folder, folder / "vae" / "config.json", "_class_name", **settings)


def test_an_image_size_between_latents_is_refused(folder):
    with pytest.raises(ModelError, match="image_size: expected a multiple of 8, not 60"):
        _ = prior(folder, image_size=60).shape


def test_a_second_stage_is_not_sent_to_the_latent_prior(pipelines, tmp_path):
    folder = shutil.copytree(pipelines["if-6"], tmp_path / "model")
    file = change(folder, "unet", in_channels=6)
    assert "latent" not in refused(folder, file, "in_channels", "pixel")
    assert "use the prior `latent`" in refused(
        pipelines["sd-v"], pipelines["sd-v"] / "unet" / "config.json", "in_channels", "pixel"
    )


def test_a_listed_class_that_contradicts_the_folder_is_refused(folder):
    list_class(folder, "vae", "AutoencoderTiny")
    message = refused(folder, folder / "vae" / "config.json", "_class_name")
    assert "model_index.json lists AutoencoderTiny" in message


def test_a_flow_over_pixels_predicts_too(tmp_path):
    folder = save_tiny_if(tmp_path / "flow", 3)
    replace_scheduler(folder, diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0))
    own = prior(folder, "pixel")
    predicted = own.predict(torch.zeros(1, 3, 16, 16), torch.tensor([0.5]), own.text_encoder().encode(["a"]))
    assert predicted.noise.isfinite().all()
