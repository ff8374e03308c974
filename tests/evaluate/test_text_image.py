"""CLIP judge: loading, preprocessing, retrieval, candidates."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from shapes import box, textured

from threefusion.errors import UserError
from threefusion.evaluate.candidates import Candidates, listed_candidates, read_captions, toy_candidates
from threefusion.evaluate.keys import TEXT_IMAGE_KEYS
from threefusion.evaluate.text_image import (
    Judge,
    JudgeError,
    JudgeFrontClassifier,
    Preprocessing,
    load_judge,
    preprocess,
    read_preprocessing,
    retrieval,
    text_image,
)
from threefusion.toyworld.catalogue import CLASSES
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.palette import COLORS

RED_BOX = textured(box((0.4, 0.3, 0.3)), (0.9, 0.1, 0.1))


@pytest.fixture(scope="module")
def judge(clip_folder):
    return load_judge(clip_folder)


def test_embeddings_are_those_of_the_model(judge, clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), AutoTokenizer.from_pretrained(clip_folder)
    texts = ["a red car", "a blue bunny, front view"]
    images = torch.rand(3, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    pixels = (images.permute(0, 3, 1, 2) - 0.5) / 0.25
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels)
    result = judge.scale * judge.embed_images(images) @ judge.embed_texts(texts).T
    torch.testing.assert_close(result, expected.logits_per_image, atol=1e-4, rtol=1e-4)


def test_a_text_is_embedded_once(judge, monkeypatch):
    first = judge.embed_texts(["a green lamp", "a red car"])
    monkeypatch.setattr(judge, "_loaded", lambda: (judge._parts[0], None))
    assert torch.equal(judge.embed_texts(["a red car", "a green lamp"]), first.flip(0))


def test_images_are_resized_cropped_and_normalised():
    wanted = Preprocessing(resize=8, crop=4, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    image = torch.zeros(1, 16, 16, 3)
    image[:, 4:12, 4:12] = 1.0
    result = preprocess(image, wanted)
    assert result.shape == (1, 3, 4, 4)
    assert result[0, :, 1:3, 1:3].mean((1, 2)).tolist() == pytest.approx([1.0, 3.0, 0.5], abs=0.02)


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"size": 224}, (224, 224)),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (256, 224)),
        ({"size": {"height": 64, "width": 64}, "crop_size": 32, "do_center_crop": False}, (64, 64)),
    ],
)
def test_sizes_are_read_in_all_formats(settings, sizes, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**settings, "image_mean": [0] * 3, "image_std": [1] * 3}))
    result = read_preprocessing(tmp_path)
    assert (result.resize, result.crop) == sizes


class Fixed(Judge):
    """Judge with known embeddings: image i and text i are axis i."""

    def __init__(self):
        pass

    def embed_images(self, images):
        return torch.eye(3)[: len(images)]

    def embed_texts(self, texts):
        return torch.eye(len(texts), 3)


def test_retrieval_counts_the_views_in_which_the_prompt_is_nearest():
    result = retrieval(Fixed(), torch.zeros(3, 16, 16, 3), Candidates(["a", "b"], right=0), "x_")
    # picture 0 is text 0; picture 1 is text 1; picture 2 is neither, and a tie counts against the prompt
    assert result["x_r_precision"] == pytest.approx(1 / 3)
    assert result["x_rank"] == pytest.approx((1 + 2 + 2) / 3)
    assert result["x_similarity"] == pytest.approx(1 / 3)
    assert result["x_candidates"] == 2
    assert not result["x_retrieved"]


def test_a_mesh_is_scored_in_colour_and_textureless(judge):
    among = toy_candidates("a red cube", ToyObject("cube", "red"))
    result = text_image(RED_BOX, judge, among, 4, 1.0)
    assert set(result) == set(TEXT_IMAGE_KEYS)
    assert (result["candidates"], result["textureless_candidates"]) == (len(CLASSES) * len(COLORS), len(CLASSES))
    assert -1 <= result["similarity"] <= 1 and 1 <= result["rank"] <= result["candidates"]
    assert text_image(None, judge, among, 4, 1.0)["r_precision"] == 0
    assert set(text_image(RED_BOX, None, among, 4, 1.0).values()) == {None}


def test_the_prompt_replaces_the_caption_of_its_pair():
    pairs, names = toy_candidates("a DSLR photo of an orange bunny", ToyObject("bunny", "orange"))
    assert pairs.texts[pairs.right] == "a DSLR photo of an orange bunny"
    assert "an orange bunny" not in pairs.texts and "a red bunny" in pairs.texts
    assert names.texts[names.right] == "a bunny"
    assert len(set(pairs.texts)) == len(pairs.texts)


def test_candidates_from_a_file(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("a cat\n\n a dog \na cat\n")
    captions = read_captions(path)
    assert listed_candidates("a dog", captions) == Candidates(["a cat", "a dog"], 1)
    assert listed_candidates("a fox", captions) == Candidates(["a cat", "a dog", "a fox"], 2)
    assert listed_candidates("A dog!", ["a  dog", "a cat", "A Dog."]) == Candidates(["A dog!", "a cat"], 0)
    assert listed_candidates("ein Häschen", ["EIN HÄSCHEN", "un lapin"]) == Candidates(["ein Häschen", "un lapin"], 0)
    path.write_text("a cat\n")
    with pytest.raises(UserError, match="at least two captions"):
        read_captions(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_captions(tmp_path / "missing.txt")


def test_fronts_are_probabilities_of_three_captions(judge):
    classifier = JudgeFrontClassifier(judge)
    images = torch.rand(4, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    result = classifier(images, ToyObject("bunny", "orange"))
    assert result.shape == (4,) and ((result > 0) & (result < 1)).all()
    texts = judge.embed_texts([f"an orange bunny, {view} view" for view in ("front", "side", "back")])
    expected = (judge.scale * judge.embed_images(images) @ texts.T).softmax(-1)[:, 0]
    assert torch.equal(result, expected)


def test_folders_without_a_clip_model_are_refused_in_one_line(tmp_path, clip_folder):
    with pytest.raises(JudgeError, match="is not a folder") as missing:
        load_judge(tmp_path / "missing")
    with pytest.raises(JudgeError, match=r"preprocessor_config\.json: cannot be read"):
        load_judge(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text((clip_folder / "preprocessor_config.json").read_text())
    with pytest.raises(JudgeError, match="cannot load a CLIPModel") as broken:
        load_judge(tmp_path).embed_texts(["a"])
    assert "\n" not in str(missing.value) + str(broken.value)


def test_a_clip_model_that_lacks_weights_or_words_is_refused(tmp_path, clip_folder):
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {f"module.{name}": weight for name, weight in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(JudgeError, match=r"the weight \S+ is missing \(and \d+ more\); the file has it as module\."):
        Judge(folder).embed_texts(["a ball"])
    # OpenAI's file has these two
    positions = {f"{name}_model.embeddings.position_ids": torch.arange(16)[None] for name in ("text", "vision")}
    save_file(weights | positions, folder / "model.safetensors", metadata={"format": "pt"})
    Judge(folder).embed_texts(["a ball"])
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["model"]["vocab"] = {}
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(JudgeError, match=r"the vocabulary is empty|cannot be read as a tokenizer"):
        Judge(folder).embed_texts(["a ball"])
