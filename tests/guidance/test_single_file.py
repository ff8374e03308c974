"""A pipeline in one file is the same model as its folder; other files are refused by what they are."""

import shutil

import pytest
import torch
from original_layout import original_weights, save_original

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.prior import convert
from threefusion.guidance.prior.files import ModelError, fingerprint
from threefusion.guidance.prior.models import local_folder
from threefusion.registry import build

UNET, VAE = "model.diffusion_model.", "first_stage_model."


@pytest.fixture(scope="module")
def weights(pipelines):
    return original_weights(pipelines["sd-epsilon"])


@pytest.fixture
def file(weights, tmp_path):
    return save_original(weights, tmp_path / "dream.safetensors")


def prior(file, config, **settings):
    own = {"model": str(file), "single_file_config": config and str(config), "dtype": "float32"}
    return build(settings_class("prior", "latent")(**own | settings))


def outputs(own):
    """What text, autoencoder and U-Net compute."""
    tokens = own.text_encoder().encode(["a red ball"])
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return tokens.tokens, own.encode(image), own.predict(z, torch.tensor([0.5]), tokens).noise


@pytest.mark.usefixtures("terminal")
def test_a_file_is_the_same_model_as_its_folder(pipelines, file, capsys):
    folder = pipelines["sd-epsilon"]
    own = prior(file, folder)
    for found, expected in zip(outputs(own), outputs(prior(folder, None)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert capsys.readouterr().err.splitlines() == [
        f"{file}: Stable Diffusion 1, converted once to {own.folder} with the settings and tokenizer of {folder}"
    ]
    assert fingerprint(own.folder, ("tokenizer",)) == fingerprint(folder, ("tokenizer",))


def test_stable_diffusion_2_needs_to_be_told_what_it_predicts(pipelines, tmp_path):
    folder = pipelines["sd-v"]
    file = save_original(original_weights(folder, "open-clip"), tmp_path / "two.safetensors")
    with pytest.raises(ModelError, match=r"one model predicts noise and another velocity.*=stable-diffusion-2-1-base or .*-2-1$"):
        prior(file, None).load()
    for found, expected in zip(outputs(prior(file, folder)), outputs(prior(folder, None)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_stable_diffusion_xl_has_two_text_encoders(pipelines, tmp_path):
    folder = pipelines["sdxl"]
    file = save_original(original_weights(folder, "both"), tmp_path / "xl.safetensors")
    with pytest.raises(ModelError, match=r"needs the settings and the tokenizer of stable-diffusion-xl, which are not on this"):
        prior(file, None).load()
    own = prior(file, folder)
    for found, expected in zip(outputs(own), outputs(prior(folder, None)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (own.folder / "tokenizer_2").is_dir()


BESIDE = {
    "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
    "alphas_cumprod": torch.linspace(1, 0, 1000),
    "model_ema.decay": torch.tensor(0.9999),
    "model_ema.num_updates": torch.tensor(10),
    "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(16, 4, 3, 3),
    "cond_stage_model.logit_scale": torch.tensor(4.6),
}
"""What checkpoints of the original code have beside the networks."""


def test_what_a_training_left_beside_the_networks_is_not_read(pipelines, weights, tmp_path):
    half = {key: value.half() if value.is_floating_point() else value for key, value in (weights | BESIDE).items()}
    folder = pipelines["sd-epsilon"]
    for file in (
        save_original(weights | BESIDE, tmp_path / "trained.safetensors"),
        save_original(half, tmp_path / "half.safetensors"),
    ):
        for found, expected in zip(outputs(prior(file, folder)), outputs(prior(folder, None)), strict=True):
            torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_half_precision_stays(pipelines, weights, tmp_path):
    file = save_original({key: value.half() for key, value in weights.items()}, tmp_path / "half.safetensors")
    own = prior(file, pipelines["sd-epsilon"])
    from threefusion.guidance.prior.reading import stored_dtype

    assert {stored_dtype(own.folder / part) for part in ("unet", "vae", "text_encoder")} == {torch.float16}


def test_a_file_is_converted_once_and_again_after_a_change(pipelines, file, monkeypatch):
    calls = []
    read = convert._read
    monkeypatch.setattr(convert, "_read", lambda *given: calls.append(given) or read(*given))
    first = prior(file, pipelines["sd-epsilon"]).folder
    assert prior(file, pipelines["sd-epsilon"]).folder == first and len(calls) == 1
    (first / "unet" / "config.json").unlink()
    assert prior(file, pipelines["sd-epsilon"]).folder == first and len(calls) == 2
    assert prior(file, pipelines["sd-v"]).folder != first
    file.touch()
    assert prior(file, pipelines["sd-epsilon"]).folder != first
    assert not list(first.parent.glob(".*.tmp"))


def test_a_full_disk_and_a_read_only_cache_leave_nothing_half_written(pipelines, file, tmp_path, monkeypatch):
    from diffusers import StableDiffusionPipeline

    def full(self, folder):
        folder.mkdir()
        (folder / "model_index.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusionPipeline, "save_pretrained", full)
        with pytest.raises(UserError, match=r"cannot be written .No space left on device"):
            _ = prior(file, pipelines["sd-epsilon"]).folder
    assert [path.suffix for path in (tmp_path / "cache" / "converted").iterdir()] in ([], [".lock"])
    (tmp_path / "file").touch()
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        _ = prior(file, pipelines["sd-epsilon"]).folder


def test_without_settings_on_this_machine_the_command_is_given(file, monkeypatch):
    monkeypatch.setattr("threefusion.guidance.prior.models.cached", lambda source, part: None)
    with pytest.raises(ModelError) as caught:
        prior(file, None).load()
    message = str(caught.value)
    assert "needs the settings and the tokenizer of stable-diffusion-1-5, which are not on this machine: hf download" in message
    assert "single_file_config=models/stable-diffusion-1-5-settings" in message and "safetensors'" not in message


def test_settings_alone_are_enough(pipelines, file, tmp_path):
    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "settings", ignore=shutil.ignore_patterns("*.safetensors"))
    assert prior(file, folder).shape == (4, 8, 8)
    (folder / "unet" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"not on this machine \(.*unet/config.json is missing\)"):
        prior(file, folder).load()


def without(weights, *pieces):
    return {key: value for key, value in weights.items() if not any(piece in key for piece in pieces)}


LORA = {"lora_unet_conv_in.lora_down.weight": torch.ones(1, 4)}
FAULTS = {
    "takes an image too .inpainting.": lambda w: w | {f"{UNET}input_blocks.0.0.weight": torch.zeros(16, 9, 3, 3)},
    "has no autoencoder": lambda w: without(w, VAE),
    "has a U-Net and no text encoder": lambda w: without(w, "cond_stage_model"),
    "a LoRA: add it to a model with guidance.prior.lora": lambda w: LORA,
    "a textual inversion: add it": lambda w: {"emb_params": torch.ones(1, 4)},
    "a ControlNet": lambda w: {"control_model.time_embed.0.weight": torch.ones(1)},
    "Stable Diffusion 3 in one file": lambda w: {f"{UNET}joint_blocks.0.x": torch.ones(1)},
    "FLUX in one file": lambda w: {"double_blocks.0.x": torch.ones(1)},
    "the refiner": lambda w: {"conditioner.embedders.0.model.x": torch.ones(1), f"{UNET}x": torch.ones(1)},
    "a single network in the layout of diffusers": lambda w: {"down_blocks.0.x": torch.ones(1)},
    "holds a, b: expected Stable Diffusion XL, Stable Diffusion 1, ": lambda w: {"a": torch.ones(1), "b": torch.ones(1)},
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_file_that_is_something_else_is_named_without_reading_it(weights, tmp_path, words):
    file = save_original(FAULTS[words](weights), tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=f"^{file}: .*{words}"):
        local_folder(str(file))


LAYER = "input_blocks.3.1.transformer_blocks.0.attn1.to_q.weight"
MISFITS = {
    "under model.diffusion_model., but the unet of": lambda w: without(w, LAYER),
    "the weight text_encoder.*mlp.fc1.bias is missing": lambda w: without(w, "layers.1.mlp.fc1.bias"),
    "values under model.diffusion_model., but": lambda w: w | {f"{UNET}input_blocks.3.1.more.weight": torch.ones(3)},
    "under first_stage_model., but the vae of": lambda w: w | {f"{VAE}encoder.more.weight": torch.ones(3)},
    "does not fit the settings in": lambda w: w | {f"{VAE}encoder.conv_in.weight": torch.ones(3, 16, 3, 3)},
    "predicts velocity by its key v_pred": lambda w: w | {"v_pred": torch.tensor([])},
}


@pytest.mark.parametrize("words", MISFITS)
def test_weights_that_do_not_fit_the_settings_are_refused(pipelines, weights, tmp_path, words):
    file = save_original(MISFITS[words](weights), tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=f"^{file}: .*{words}"):
        prior(file, pipelines["sd-epsilon"]).load()
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_a_pickle_is_never_read(tmp_path):
    for name in ("dream.ckpt", "dream.pt"):
        torch.save({"state_dict": {}}, tmp_path / name)
        with pytest.raises(ModelError, match=f"{name}: a .* file is a pickle, which could run any program: expected safetensors"):
            local_folder(str(tmp_path / name))
    torch.save({"state_dict": {}}, tmp_path / "renamed.safetensors")
    with pytest.raises(ModelError, match=r"renamed.safetensors: a pickle"):
        local_folder(str(tmp_path / "renamed.safetensors"))


def test_a_lora_is_added_to_a_single_file(pipelines, file, tmp_path):
    from safetensors.torch import save_file

    from threefusion.guidance.prior.settings import LoraFile

    save_file(
        {"conv_in.lora_A.weight": torch.ones(1, 4, 3, 3), "conv_in.lora_B.weight": torch.ones(16, 1, 1, 1)},
        tmp_path / "l.safetensors",
    )
    plain = prior(file, pipelines["sd-epsilon"])
    changed = prior(file, pipelines["sd-epsilon"], lora=(LoraFile(path=str(tmp_path / "l.safetensors"), scale=0.5),))
    difference = [each.network("unet", torch.float32).conv_in.weight for each in (plain, changed)]
    torch.testing.assert_close(difference[1], difference[0] + 0.5)


def test_a_relative_file_is_stored_in_full(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert settings_class("prior", "latent")(model=file.name).model == str(file)
