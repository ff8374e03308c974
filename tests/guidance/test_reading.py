"""Weights that do not fit their network are refused by name: the libraries leave them random or without memory."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.embedding_cache import embed_texts
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.models import BUNDLED
from threefusion.registry import build

NETWORKS = {
    "unet": ("sd-epsilon", "unet"), "vae": ("sd-epsilon", "vae"), "clip": ("sd-epsilon", "text_encoder"),
    "if-unet": ("if-3", "unet"), "t5": ("if-3", "text_encoder"),
}  # fmt: skip


def rename(prefix):
    return lambda weights: {f"{prefix}{name}": weight for name, weight in weights.items()}


def without_first(weights):
    return {name: weights[name] for name in sorted(weights)[1:]}


def with_lora(weights):
    """What peft's add_adapter leaves in a state dict."""
    name = next(name for name in sorted(weights) if name.endswith((".to_q.weight", ".q_proj.weight", ".SelfAttention.q.weight")))
    stem = name.removesuffix(".weight")
    rest = {other: weight for other, weight in weights.items() if other != name}
    return rest | {f"{stem}.base_layer.weight": weights[name], f"{stem}.lora_A.default.weight": torch.zeros(4, 32)}


def reshaped(weights):
    first = min(weights)
    return weights | {first: torch.zeros(7, *weights[first].shape)}


CHANGES = {
    "missing": (without_first, r"the weight \S+ is missing$"),
    "DataParallel": (rename("module."), r"the weight \S+ is missing \(and \d+ more\); the file has it as module\.\S+$"),
    "compiled": (rename("_orig_mod."), r"the weight \S+ is missing \(and \d+ more\); the file has it as _orig_mod\.\S+$"),
    "lora": (with_lora, r"the weight \S+ is missing; the file holds a LoRA that was not merged$"),
    "surplus": (lambda weights: weights | {"extra.weight": torch.zeros(3)}, "the weight extra.weight belongs to no layer"),
    "shape": (reshaped, r"\(?the weight \S+ has the shape|expected shape"),
    "other": (lambda weights: {"x": torch.zeros(1)}, r"the weight \S+ is missing \(and \d+ more\); the file has x instead$"),
}  # fmt: skip


def use(kind, folder):
    """Every file of the model is read."""
    own = build(settings_class("prior", "pixel" if kind in ("if-unet", "t5") else "latent")(model=str(folder), dtype="float32"))
    own.load()
    return own.text_encoder().encode(["a red ball"])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_that_do_not_fit_are_named(pipelines, tmp_path, kind, change):
    name, part = NETWORKS[kind]
    folder = shutil.copytree(pipelines[name], tmp_path / "model")
    (file,) = (folder / part).glob("*.safetensors")
    change, words = CHANGES[change]
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=words) as refused:
        use(kind, folder)
    assert str(refused.value).startswith(str(folder / part)) and "\n" not in str(refused.value)


def bare(file):
    """The weights of a CLIP text encoder without the prefix that transformers wrote until 5.6."""
    return {name.removeprefix("text_model."): weight for name, weight in load_file(file).items()}


def test_a_text_encoder_with_a_projection_is_read(pipelines, tmp_path):
    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "model")
    file, config = folder / "text_encoder" / "model.safetensors", folder / "text_encoder" / "config.json"
    projection = {"text_projection.weight": torch.zeros(16, 32)}
    save_file(rename("text_model.")(bare(file)) | projection, file, metadata={"format": "pt"})
    changes = {"architectures": ["CLIPTextModelWithProjection"], "projection_dim": 16}
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    assert torch.equal(use("clip", folder).tokens, use("clip", pipelines["sd-epsilon"]).tokens)


def test_weights_saved_with_and_without_clips_prefix_are_the_same(pipelines, tmp_path):
    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "model")
    file = folder / "text_encoder" / "model.safetensors"
    # the files of Stable Diffusion have this buffer too
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(rename("text_model.")(bare(file)) | positions, file, metadata={"format": "pt"})
    assert torch.equal(use("clip", folder).tokens, use("clip", pipelines["sd-epsilon"]).tokens)


def test_the_bundled_text_encoder_has_the_names_that_every_version_of_transformers_reads():
    names = load_file(BUNDLED / "toyworld-latent" / "text_encoder" / "model.safetensors")
    assert len(names) == 36 and all(name.startswith("text_model.") for name in names)


@pytest.mark.parametrize("length", [None, 0, -1, "77", 1e30, 10**30])
def test_a_tokenizer_without_a_usable_length_has_that_of_its_encoder(pipelines, tmp_path, length):
    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "model")
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": length}))
    assert use("clip", folder).tokens.shape[1] == 77


@pytest.mark.parametrize(("kind", "name"), [("clip", "sd-epsilon"), ("t5", "if-3")])
@pytest.mark.parametrize("settings", [None, "{}"])
def test_a_tokenizer_that_names_no_class_has_that_of_its_encoder(pipelines, tmp_path, kind, name, settings):
    folder = shutil.copytree(pipelines[name], tmp_path / "model")
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(settings) if settings else path.unlink()
    assert torch.equal(use(kind, folder).tokens, use(kind, pipelines[name]).tokens)


def test_a_tokenizer_of_another_model_is_refused(pipelines, tmp_path):
    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "model")
    path = folder / "tokenizer" / "tokenizer.json"
    settings = json.loads(path.read_text())
    settings["model"]["vocab"] = {token: 1000 + i if len(token) == 1 else i for token, i in settings["model"]["vocab"].items()}
    path.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="the tokenizer does not belong to the text encoder: it returns token 1"):
        use("clip", folder)


@pytest.mark.parametrize("content", ["{}", '{"model": {"type": "BPE", "vocab": {}, "merges": []}}'])
def test_an_empty_vocabulary_is_refused(pipelines, tmp_path, content):
    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "model")
    (folder / "tokenizer" / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer: (cannot be read as a tokenizer|the vocabulary is empty)"):
        use("clip", folder)


def test_a_repaired_model_does_not_read_the_embeddings_of_the_damaged_one(pipelines, tmp_path):
    """As in an interrupted download: the same commit, first with another tokenizer."""
    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "models--a--b" / "snapshots" / "c0ffee")
    path = folder / "tokenizer" / "tokenizer.json"
    whole = path.read_text()
    settings = json.loads(whole)
    settings["model"]["vocab"] = {token: i // 2 for token, i in settings["model"]["vocab"].items()}

    def embed():
        own = build(settings_class("prior", "latent")(model=str(folder)))
        return embed_texts(own.text_encoder(), ["a red ball"], tmp_path / "cache").tokens

    path.write_text(json.dumps(settings))
    damaged = embed()
    path.write_text(whole)
    assert not torch.equal(embed(), damaged)
    assert torch.equal(embed(), use("clip", pipelines["sd-epsilon"]).tokens)


@pytest.mark.parametrize("library", ["transformers", "tokenizers"])
def test_the_key_of_an_encoder_changes_with_the_libraries_that_shape_an_embedding(pipelines, monkeypatch, library):
    from threefusion.guidance.prior import text_encoder

    before, installed = text_encoder.PretrainedTextEncoder(pipelines["if-3"]).key, text_encoder.version
    monkeypatch.setattr(text_encoder, "version", lambda name: "0" if name == library else installed(name))
    assert text_encoder.PretrainedTextEncoder(pipelines["if-3"]).key != before
