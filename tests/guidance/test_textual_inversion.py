"""Tokens of the user's are encoded as diffusers' pipeline encodes them, or refused by name."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.embedding_cache import embed_texts
from threefusion.guidance.prior.files import ModelError
from threefusion.registry import build

TEXTS = ["a red <clay>", "<clay> ball", "a <Clay>, and a <clay>", "clay ball", ""]


def encoder(folder, *files, kind="latent"):
    return build(settings_class("prior", kind)(model=str(folder), textual_inversion=tuple(map(str, files)))).text_encoder()


def vectors(count, width=32, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "<clay>.safetensors"


def diffusers_tokens(folder, files, texts):
    """The embedding of the pipeline, after its own loading."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    for token, path in files.items():
        pipeline.load_textual_inversion(path, token=token)
    return torch.cat([pipeline.encode_prompt(text, "cpu", 1, False)[0] for text in texts])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("key", ["<clay>", "emb_params"])
def test_a_token_is_encoded_as_in_diffusers(pipelines, file, key, count):
    save_file({key: vectors(count)}, file)
    # of several vectors, diffusers expands a token only in the very spelling of the file
    texts = [text for text in TEXTS if count == 1 or "<Clay>" not in text]
    expected = diffusers_tokens(pipelines["sd-epsilon"], {"<clay>": file}, texts)
    own = encoder(pipelines["sd-epsilon"], file).encode(texts).tokens
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
    plain = encoder(pipelines["sd-epsilon"]).encode(texts).tokens
    changed = (own - plain).abs().amax((1, 2)) > 1e-3
    assert changed.tolist() == ["<clay>" in text.lower() for text in texts]


def test_every_spelling_of_a_token_has_all_its_vectors(pipelines, file):
    save_file({"<clay>": vectors(3)}, file)
    own = encoder(pipelines["sd-epsilon"], file).encode(["a <clay> ball", "a <CLAY> ball"]).tokens
    assert torch.equal(own[0], own[1])


def test_a_vector_that_is_no_row_and_one_in_half_precision(pipelines, file):
    save_file({"<clay>": vectors(1)[0].half()}, file)
    expected = diffusers_tokens(pipelines["sd-epsilon"], {"<clay>": file}, TEXTS[:2])
    torch.testing.assert_close(encoder(pipelines["sd-epsilon"], file).encode(TEXTS[:2]).tokens, expected, rtol=1e-4, atol=1e-5)


def test_several_files_and_spare_rows_of_the_encoder(pipelines, tmp_path):
    """Some encoders have more rows than their tokenizer has tokens; those are used first."""
    from transformers import CLIPTextModel

    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "model")
    network = CLIPTextModel.from_pretrained(folder / "text_encoder")
    network.resize_token_embeddings(network.config.vocab_size + 2)
    network.save_pretrained(folder / "text_encoder")
    files = {token: tmp_path / f"{token}.safetensors" for token in ("<one>", "<two>")}
    for seed, (token, path) in enumerate(files.items()):
        save_file({token: vectors(2, seed=seed)}, path)
    texts = ["a <one> and a <two>", "<two>"]
    expected = diffusers_tokens(folder, files, texts)
    torch.testing.assert_close(encoder(folder, *files.values()).encode(texts).tokens, expected, rtol=1e-4, atol=1e-5)


def test_nothing_random_is_drawn(pipelines, file):
    save_file({"<clay>": vectors(2)}, file)
    own, before = encoder(pipelines["sd-epsilon"], file), torch.get_rng_state()
    own.encode(TEXTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_cached_embedding_knows_token_and_vectors(pipelines, tmp_path, file):
    def embedded(seed, name):
        save_file({"emb_params": vectors(1, seed=seed)}, path := tmp_path / f"{name}.safetensors")
        return embed_texts(encoder(pipelines["sd-epsilon"], path), ["a clay-y ball"], tmp_path / "cache").tokens

    first = embedded(0, "clay-y")
    assert torch.equal(embedded(0, "clay-y"), first)
    assert not torch.equal(embedded(1, "clay-y"), first)
    # the same content under another name is another token
    assert not torch.equal(embedded(0, "clay-x"), first)


@pytest.mark.usefixtures("terminal")
def test_the_line_that_says_what_was_added(pipelines, file, capsys):
    save_file({"<clay>": vectors(3)}, file)
    encoder(pipelines["sd-epsilon"], file)
    assert f"textual inversion {file}: the token '<clay>' has 3 vectors" in capsys.readouterr().err


FAULTS = {
    "the token 'ball</w>' exists already": {"ball</w>": vectors(1)},
    "have 16 numbers, but the text encoder's 32: they belong to another model": {"<clay>": vectors(1, 16)},
    "expected one key, the token or emb_params": {"<a>": vectors(1), "<b>": vectors(1)},
    "holds no weights: expected one key": {},
    "has vectors for 2 text encoders, but the model has 1": {"clip_l": vectors(1), "clip_g": vectors(1, 24)},
    "expected finite vectors, one per row": {"<clay>": vectors(1) * torch.inf},
    "has the shape (1, 2, 32)": {"<clay>": vectors(2)[None]},
}


@pytest.mark.parametrize("words", FAULTS)
def test_what_is_no_fitting_token_is_refused_by_name(pipelines, tmp_path, file, words):
    folder = pipelines["sd-epsilon"]
    if "exists" in words:
        from transformers import CLIPTokenizer

        folder = shutil.copytree(folder, tmp_path / "model")
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        tokenizer.add_tokens("ball</w>")
        tokenizer.save_pretrained(folder / "tokenizer")
    save_file(FAULTS[words], file)
    with pytest.raises(ModelError) as caught:
        encoder(folder, file).encode(["a"])
    assert words in str(caught.value) and str(file) in str(caught.value)


def test_the_same_token_twice_is_refused(pipelines, tmp_path):
    for name in "ab":
        save_file({"<clay>": vectors(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelError, match=r"b\.safetensors: the token '<clay>' exists already"):
        encoder(pipelines["sd-epsilon"], tmp_path / "a.safetensors", tmp_path / "b.safetensors").encode(["a"])


def test_t5_and_pickles_are_refused(pipelines, file, tmp_path):
    save_file({"<clay>": vectors(1)}, file)
    with pytest.raises(ModelError, match="textual inversions are for CLIP"):
        encoder(pipelines["if-3"], file, kind="pixel")
    (tmp_path / "clay.pt").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelError, match=r"clay\.pt: a pickle"):
        encoder(pipelines["sd-epsilon"], tmp_path / "clay.pt")


def xl_tokens(folder, file, texts):
    """Tokens and pooled text of the pipeline, loaded as diffusers documents it."""
    from diffusers import StableDiffusionXLPipeline
    from safetensors.torch import load_file

    pipeline, weights = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True), load_file(file)
    for key, suffix in (("clip_l", ""), ("clip_g", "_2")):
        parts = {name: getattr(pipeline, name + suffix) for name in ("text_encoder", "tokenizer")}
        pipeline.load_textual_inversion(weights[key], token=file.stem, **parts)
    encoded = [pipeline.encode_prompt(text, device="cpu", do_classifier_free_guidance=False) for text in texts]
    return torch.cat([each[0] for each in encoded]), torch.cat([each[2] for each in encoded])


def test_both_encoders_of_stable_diffusion_xl_have_their_vectors(pipelines, file):
    save_file({"clip_l": vectors(2), "clip_g": vectors(2, 24)}, file)
    texts = ["a red <clay>", "clay ball"]
    tokens, pooled = xl_tokens(pipelines["sdxl"], file, texts)
    own = encoder(pipelines["sdxl"], file).encode(texts)
    torch.testing.assert_close(own.tokens, tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.pooled, pooled, rtol=1e-4, atol=1e-5)


def test_a_file_for_one_encoder_is_refused_by_a_model_with_two(pipelines, file):
    save_file({"<clay>": vectors(1)}, file)
    with pytest.raises(ModelError, match=r"has vectors for 1 text encoders, but the model has 2"):
        encoder(pipelines["sdxl"], file)


def test_the_end_of_a_text_is_not_the_new_token(pipelines, file, tmp_path):
    """Where eos_token_id is 2, as in Stable Diffusion XL's own settings, CLIP pools at the token of the highest number."""
    folder = shutil.copytree(pipelines["sdxl"], tmp_path / "model")
    settings = folder / "text_encoder_2" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": 2}))
    save_file({"clip_l": vectors(1), "clip_g": vectors(1, 24)}, file)
    text = ["a <clay> red ball"]
    expected = encoder(pipelines["sdxl"], file).encode(text).pooled
    torch.testing.assert_close(encoder(folder, file).encode(text).pooled, expected, rtol=1e-5, atol=1e-6)
    assert (xl_tokens(folder, file, text)[1] - expected).abs().max() > 1e-3
