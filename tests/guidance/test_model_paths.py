"""Paths are distinguished from hub ids, and stored so that they hold from everywhere."""

import json
import os

import pytest

from threefusion.config import load_config
from threefusion.config.catalogue import settings_class
from threefusion.config.dump import config_to_yaml
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.models import local_folder, resolve


@pytest.mark.parametrize(
    "model", ["models/mine", "a/b/c", "owner/x.safetensors", "owner/x.ckpt", "~unknown-user/x", ".cache/x", "/x/y"]
)
def test_a_missing_path_is_no_hub_id(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"no such folder{'' if model.startswith('/') else f' in {tmp_path}'}\. Expected"):
        local_folder(model)


def test_a_missing_download_comes_with_its_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"no such folder in {tmp_path}.*hf download .*--local-dir models/stable-diffusion-2-1 "):
        local_folder("models/stable-diffusion-2-1")
    with pytest.raises(ModelError, match=r"no such folder.* It comes with the package: guidance.prior.model=toyworld-pixel$"):
        local_folder("models/toyworld-pixel/")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model_index.json": {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"],
                               "vae": ["diffusers", "AutoencoderKL"]}},
         "it is a FluxPipeline with FluxTransformer2DModel, for the prior `flow`"),
        ({"model_index.json": {"_class_name": "SanaPipeline", "transformer": ["diffusers", "SanaTransformer2DModel"]}},
         "it is a SanaPipeline with SanaTransformer2DModel, which is not supported"),
        ({"model_index.json": {"_class_name": "IFPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}},
         r"has no unet/, which its model_index.json lists: download it again"),
        ({"config.json": {"_class_name": "UNet2DConditionModel"}}, "it is a single UNet2DConditionModel, not a pipeline"),
        ({"config.json": []}, "it is a single network, not a pipeline"),
        ({"dream.safetensors": None}, r"has no unet/: it holds dream.safetensors; .*name the file: .*model=.*/dream.safetensors"),
        ({"notes.txt": None}, "it holds notes.txt"),
        ({}, "it holds nothing"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_pipeline_is_described(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=f"^{tmp_path}: .*{message}.*; expected a diffusers model with unet/, scheduler/$"):
        resolve(str(tmp_path), ("unet", "scheduler"))


def test_a_model_over_pixels_is_sent_to_its_prior(pipelines):
    with pytest.raises(ModelError, match="has no vae/: it is a IFPipeline over pixels, for the prior `pixel`"):
        resolve(str(pipelines["if-3"]), ("unet", "scheduler", "vae"))


def test_a_relative_folder_is_stored_so_that_a_run_is_resumed_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(
        "prompt: {text: a red car}\nguidance: {prior: {type: pixel, model: models/mine}}\n"
        "stages: [{steps: 1}, {steps: 1, guidance: {prior: {type: latent, model: models/mine}}}]\n"
    )
    (tmp_path / "stored.yaml").write_text(config_to_yaml(load_config(tmp_path / "run.yaml", [])))
    monkeypatch.chdir("/")
    stored = load_config(tmp_path / "stored.yaml", [])
    assert [stage.guidance["guidance"].prior.model for stage in stored.parts] == [str(tmp_path / "models" / "mine")] * 2


def test_a_run_can_be_opened_without_the_model_that_guided_it(tmp_path):
    (tmp_path / "config.yaml").write_text("prompt: {text: a red car}\nguidance: {prior: {type: pixel, model: /nothing/here}}\n")
    (objective,) = load_config(tmp_path / "config.yaml", []).guidance.values()
    with pytest.raises(ModelError, match=r"/nothing/here: no such folder.*name another with guidance.prior.model=FOLDER"):
        local_folder(objective.prior.model)


def test_an_address_and_the_revision_of_a_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match="expected the last part of it, owner/name"):
        local_folder("https://huggingface.co/owner/name")
    for model in (str(tmp_path), "toyworld-pixel"):
        with pytest.raises(ValueError, match="revision: a local folder has none"):
            settings_class("prior", "pixel")(model=model, revision="main")


def test_the_folder_of_a_user_is_stored_in_full_and_a_name_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    pixel = settings_class("prior", "pixel")
    assert pixel(model="~/mine").model == os.path.join(tmp_path, "mine")
    assert pixel(model="owner/name").model == "owner/name"
    assert pixel().model == "toyworld-pixel"
