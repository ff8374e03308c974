"""Stable Diffusion XL: two text encoders, the image's size as a condition, and an empty text that is nothing."""

import json
import re
import shutil

import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.files import TEXT_PARTS, ModelError, defect, text_parts
from threefusion.guidance.prior.hub import wanted
from threefusion.registry import build

PARTS = ("unet", "scheduler", "vae", *TEXT_PARTS)


@pytest.fixture
def folder(pipelines, tmp_path):
    return shutil.copytree(pipelines["sdxl"], tmp_path / "model")


def prior(folder, kind="latent", **settings):
    return build(settings_class("prior", kind)(model=str(folder), **{"dtype": "float32"} | settings))


def change(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return file


def test_the_empty_text_is_zeros_and_every_other_is_not(pipelines):
    texts = ["", "a red ball", "!"]
    zeros, encoded = (prior(pipelines[name]).text_encoder().encode(texts) for name in ("sdxl", "sdxl-encoded"))
    assert zeros.tokens.shape == (3, 77, 32 + 24) and zeros.pooled.shape == (3, 20)
    assert not zeros.tokens[0].any() and not zeros.pooled[0].any()
    assert encoded.tokens[0].any() and encoded.pooled[0].any()
    assert torch.equal(zeros.tokens[1:], encoded.tokens[1:]) and torch.equal(zeros.pooled[1:], encoded.pooled[1:])


@pytest.mark.parametrize(("settings", "zero"), [({"force_zeros_for_empty_prompt": False}, False), ({}, True)])
def test_the_empty_text_is_what_the_pipelines_settings_say(folder, settings, zero):
    index = json.loads((folder / "model_index.json").read_text())
    index.pop("force_zeros_for_empty_prompt")
    (folder / "model_index.json").write_text(json.dumps(index | settings))
    assert prior(folder).text_encoder().encode([""]).tokens.any() != zero


def test_keys_of_embeddings_tell_encoders_apart(folder, pipelines):
    keys = {prior(pipelines[name]).text_encoder().key for name in ("sdxl", "sdxl-encoded", "sd-epsilon")}
    weights = folder / "text_encoder_2" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert len(keys | {prior(folder).text_encoder().key}) == 4


def test_the_network_is_told_the_size_that_it_is_run_at(pipelines):
    own = prior(pipelines["sdxl"], image_size=128, dtype="bfloat16")
    seen = []
    own.load()
    own._networks["unet"].register_forward_pre_hook(
        lambda _, inputs, options: seen.append(options["added_cond_kwargs"]), with_kwargs=True
    )
    own.predict(torch.zeros(2, 4, 16, 16), torch.tensor([0.5, 0.25]), own.text_encoder().encode(["a", "b"]))
    # in bfloat16 a size such as 1001 would be another
    assert seen[0]["time_ids"].dtype == torch.float32
    assert seen[0]["time_ids"].tolist() == [[128, 128, 0, 0, 128, 128]] * 2
    assert seen[0]["text_embeds"].dtype == torch.bfloat16


def test_all_text_encoders_are_fetched_and_needed(folder):
    assert text_parts(folder) == (*TEXT_PARTS, "text_encoder_2", "tokenizer_2")
    assert defect(folder, PARTS) is None
    names = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
    assert set(wanted(names, PARTS)) == set(names)
    (folder / "tokenizer_2" / "tokenizer.json").unlink()
    assert defect(folder, PARTS).startswith(f"{folder / 'tokenizer_2'} has no vocabulary")
    shutil.rmtree(folder / "text_encoder_2")
    with pytest.raises(ModelError, match=re.escape(f"{folder / 'text_encoder_2' / 'config.json'} is missing")):
        _ = prior(folder).shape


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"projection_class_embeddings_input_dim": 5 * 8 + 20}, "projection_class_embeddings_input_dim is 60: .*refiner"),
        ({"projection_class_embeddings_input_dim": 100}, "projection_class_embeddings_input_dim is 100: expected 68"),
        ({"addition_time_embed_dim": None}, "addition_time_embed_dim is null"),
        ({"time_cond_proj_dim": 16}, "time_cond_proj_dim is 16: .*distilled"),
    ],
)
def test_a_network_that_takes_something_else_is_refused(folder, changes, words):
    file = change(folder / "unet" / "config.json", **changes)
    with pytest.raises(ModelError, match=f"^{re.escape(str(file))}: {words}"):
        prior(folder).load()


def test_a_second_text_encoder_is_needed(folder):
    change(folder / "model_index.json", text_encoder_2=[None, None])
    with pytest.raises(ModelError, match=r'addition_embed_type is "text_time": but \S+ lists no text_encoder_2 and tokenizer_2'):
        prior(folder).load()


def test_a_text_of_another_width_is_refused(folder):
    change(folder / "text_encoder_2" / "config.json", hidden_size=32)
    with pytest.raises(ModelError, match="cross_attention_dim is 56: but the encoded text has 64 numbers per token"):
        prior(folder).text_encoder()


def test_it_is_no_model_over_pixels(folder):
    change(folder / "unet" / "config.json", in_channels=3, out_channels=3)
    with pytest.raises(ModelError, match=r'addition_embed_type is "text_time": .*SDXL'):
        _ = prior(folder, "pixel").shape


def test_its_autoencoder_is_kept_out_of_float16(pipelines):
    """As in diffusers' own pipeline; bfloat16 has the range of float32."""
    for dtype, expected in (("float16", torch.float32), ("bfloat16", torch.bfloat16)):
        own = prior(pipelines["sdxl"], dtype=dtype)
        own._device = torch.device("meta")
        assert own.vae_dtype == expected and own.settings("vae")["force_upcast"]
