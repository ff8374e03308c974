"""What diffusers 0.42.1, transformers 5.24 and peft 0.21 do that one would not expect, and that no result here depends on it.

| the library | the guard | tested by |
|---|---|---|
| transformers 5.0-5.5 read a CLIP saved by 5.6 or later as 36 of 36 random weights | missing weights are refused; the bundled model has the old names; an embedding's key has the version | test_reading.py |
| add_noise of DPM-Solver++, UniPC and DEIS runs the schedule backwards until set_timesteps is called | own arithmetic, from the settings | here, test_schedule.py |
| Euler, Heun and flow matching refuse the timesteps of training after set_timesteps; their noised states are not variance-preserving | no scheduler object is made | here |
| add_noise in half precision forms 1 - alpha_bar after rounding: no noise at the first timesteps | float32 | here, test_schedule.py |
| DDPM and DDIM with zero terminal SNR end at alpha_bar 0, Euler, DPM-Solver++ and UniPC at 2**-24 | one table for all; conversions finite at the end | here, test_schedule.py |
| five schedulers take rescale_betas_zero_snr into their settings and do not rescale | refused by name | test_model_settings.py |
| a LoRA saved by a bare U-Net is read back as an error, as nothing, or at alpha = rank | the alpha is in the header | here, test_lora.py |
| add_adapter leaves the LoRA's dropout active in a U-Net in evaluation mode | merged into the weights | here, test_lora.py |
| DoRA's scales, and keys that match nothing, are dropped with a log message | refused by name | test_lora.py |
| LoRAAttnProcessor can still be imported and is empty | never imported | here |
| force_upcast of an autoencoder is true by default, also for the older files of Stable Diffusion 1 and 2, whose pipelines encode in float16 | the default is false | here, test_autoencoders.py |
| gradient checkpointing drops the tiny autoencoder's scaling of the image | refused | test_model_settings.py |
| a pipeline saved in float16 comes back with a float32 U-Net beside a float16 text encoder | the precision is always given | here |
| variant="fp16" with plain files is an error, as is a folder of fp16 files without it | files are chosen by name | here, test_model_files.py |
| T5 in float16 keeps wo in float32, and a later cast undoes it | read in its final precision | here |
| the sigmas of flow schedulers end at 0.003 before set_timesteps and at 0 after it, shifted twice | levels from shift and length | here, test_model_settings.py |
| bfloat16 turns timestep 999 into 1000 | integers | test_pretrained_priors.py |
| a textual inversion of several vectors is expanded in the file's own spelling only; emb_params is taken for the token | found by the tokenizer; the file's name | test_textual_inversion.py |
| resize_token_embeddings draws random numbers | rows are added | test_textual_inversion.py |
| CLIP with eos_token_id 2 pools at a new token instead of the end | its id is set explicitly | test_textual_inversion.py |
| a single file of Stable Diffusion 2.1-base is taken for the model that predicts velocity | the settings have to be named | test_single_file.py |
| a single file's unknown weights are dropped, missing ones of CLIP stay without memory | sizes are compared | test_single_file.py |
"""  # noqa: E501

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_lora import network, output, prior, same, with_adapter

from threefusion.config.catalogue import settings_class
from threefusion.registry import build

ROOT = Path(__file__).parents[2]
TIMES = torch.tensor([0, 1, 9, 100, 500, 900, 999])
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TABLES = ("DDPM", "DDIM", "PNDM", "EulerDiscrete", "HeunDiscrete", "DPMSolverMultistep", "UniPCMultistep", "DEISMultistep")


@pytest.fixture
def folder(pipelines, tmp_path):
    return shutil.copytree(pipelines["sd-epsilon"], tmp_path / "model")


def with_scheduler(folder, name, **settings):
    import diffusers

    shutil.rmtree(folder / "scheduler")
    scheduler = getattr(diffusers, f"{name}Scheduler")(**settings)
    scheduler.save_pretrained(folder / "scheduler")
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"scheduler": ["diffusers", f"{name}Scheduler"]}))
    return scheduler


def noised(schedule, times=TIMES):
    """States of x = 1 and noise = 2 at integer times."""
    one = torch.ones(len(times), 1, 1, 1)
    return schedule.add_noise(one, 2 * one, times / 1000).flatten()


@pytest.mark.parametrize("name", TABLES)
def test_noised_states_do_not_depend_on_the_scheduler_that_a_model_ships_with(folder, name):
    from diffusers import DDPMScheduler

    with_scheduler(folder, name, **BETAS)
    one = torch.ones(len(TIMES), 1, 1, 1)
    expected = DDPMScheduler(**BETAS).add_noise(one, 2 * one, TIMES).flatten()
    torch.testing.assert_close(noised(prior(folder).schedule), expected, rtol=1e-4, atol=1e-5)


def test_noised_states_do_not_depend_on_a_preview_that_used_the_scheduler(folder):
    scheduler, own = with_scheduler(folder, "EulerDiscrete", **BETAS), prior(folder)
    before = noised(own.schedule)
    scheduler.set_timesteps(7)
    assert torch.equal(noised(own.schedule), before)
    assert own.schedule.timesteps(TIMES / 1000).tolist() == TIMES.tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_noise_is_added_in_float32_whatever_the_network_runs_in(pipelines, dtype):
    own, full = prior(pipelines["sd-epsilon"], dtype=dtype), prior(pipelines["sd-epsilon"])
    assert noised(own.schedule).dtype == torch.float32
    assert torch.equal(noised(own.schedule), noised(full.schedule))
    assert own.schedule.coefficients(torch.tensor([0.0]))[1].item() == pytest.approx(0.029, abs=1e-3)


@pytest.mark.parametrize("name", ["DDPM", "DDIM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep"])
def test_zero_terminal_snr_ends_the_same_under_every_scheduler_and_stays_finite(folder, name):
    with_scheduler(folder, name, **BETAS, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    own, last = prior(folder), torch.tensor([0.999])
    alpha, sigma = own.schedule.coefficients(last)
    assert alpha.item() < 3e-4 and sigma.item() == pytest.approx(1, abs=1e-6)
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = own.predict(z, last, own.text_encoder().encode(["a"]))
    assert all(part.isfinite().all() for part in (found.noise, found.clean, found.velocity))
    torch.testing.assert_close(found.noise, z, rtol=1e-3, atol=1e-3)


def test_levels_of_a_flow_come_from_its_shift_and_not_from_a_schedulers_state(folder):
    scheduler = with_scheduler(folder, "FlowMatchEulerDiscrete", shift=3.0)
    own = prior(folder).schedule
    before = own.coefficients(torch.linspace(0, 1, 11))
    scheduler.set_timesteps(5)
    for found, expected in zip(own.coefficients(torch.linspace(0, 1, 11)), before, strict=True):
        assert torch.equal(found, expected)
    assert own.coefficients(torch.tensor([0.0]))[1].item() == 0 and own.coefficients(torch.tensor([1.0]))[1].item() == 1


def test_a_bare_unets_lora_has_its_strength_where_the_librarys_own_readings_differ(pipelines, tmp_path):
    """`load_lora_adapter` on the folder finds nothing, on the weights it takes the rank for the alpha."""
    folder = pipelines["sd-epsilon"]
    trained = with_adapter(folder, dropout=0.0)
    trained.save_lora_adapter(tmp_path)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    by_library = network(folder)
    by_library.load_lora_adapter(load_file(file), prefix=None)
    difference = (output(by_library.eval()) - output(trained.eval())).abs().max()
    assert difference > 0.01, "the library reads the alpha now"
    same(prior(folder, (file, 1.0)), trained)


def test_dropout_of_a_lora_cannot_reach_a_prediction(pipelines, tmp_path):
    """A U-Net in evaluation mode with `add_adapter` gives another output at every call."""
    folder = pipelines["sd-epsilon"]
    adapted = with_adapter(folder, dropout=0.5)
    assert not adapted.training
    live = [module for module in adapted.modules() if isinstance(module, torch.nn.Dropout) and module.training and module.p > 0]
    assert live, "the library sets the mode of an adapter now"
    adapted.save_lora_adapter(tmp_path)
    own = prior(folder, (tmp_path / "pytorch_lora_weights.safetensors", 1.0)).network("unet", torch.float32)
    assert not any(module.training for module in own.modules())
    assert torch.equal(output(own), output(own))


def test_the_empty_attention_processor_is_never_imported():
    names = ("LoRAAttnProcessor", "LoRALinearLayer")
    files = [file for part in ("threefusion", "training") for file in (ROOT / part).rglob("*.py")]
    assert len(files) > 100
    assert [(file, name) for file in files for name in names if name in file.read_text(encoding="utf-8")] == []


def halved(folder, variant=False):
    """The folder with all weights in float16, as `save_pretrained` of a half-precision pipeline writes them."""
    for file in folder.glob("*/*.safetensors"):
        name = f"{file.stem}.fp16.safetensors" if variant else file.name
        weights = {key: value.half() if value.is_floating_point() else value for key, value in load_file(file).items()}
        file.unlink()
        save_file(weights, file.with_name(name), {"format": "pt"})
    return folder


@pytest.mark.parametrize("variant", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pipeline_saved_in_half_precision_runs_in_the_chosen_one(pipelines, folder, variant, dtype):
    """Plain or as a variant; with diffusers it comes back in two precisions that do not multiply, or not at all."""
    own, full = prior(halved(folder, variant), dtype=dtype), prior(pipelines["sd-epsilon"], dtype=dtype)
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found, expected = (
        each.predict(z, torch.tensor([0.5]), each.text_encoder().encode(["a red ball"])).noise for each in (own, full)
    )
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    assert {weight.dtype for weight in own.network("unet", getattr(torch, dtype)).parameters()} == {getattr(torch, dtype)}


def test_t5_from_a_file_in_half_precision_runs_in_one_precision(pipelines, tmp_path):
    folder = halved(shutil.copytree(pipelines["if-3"], tmp_path / "model"))
    pixel = settings_class("prior", "pixel")
    encoders = [build(pixel(model=str(each))).text_encoder() for each in (folder, pipelines["if-3"])]
    assert {weight.dtype for weight in encoders[0].networks[0].network().parameters()} == {torch.float32}
    found, expected = (encoder.encode(["a red ball"]).tokens for encoder in encoders)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_an_autoencoder_older_than_the_field_is_not_said_to_overflow(folder):
    import diffusers

    file = folder / "vae" / "config.json"
    file.write_text(json.dumps({name: value for name, value in json.loads(file.read_text()).items() if name != "force_upcast"}))
    assert diffusers.AutoencoderKL.from_pretrained(folder / "vae").config.force_upcast
    assert not prior(folder).settings("vae")["force_upcast"]
