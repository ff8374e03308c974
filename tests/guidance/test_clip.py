"""Dream Fields' objective: what is compared, in what crops and before what backgrounds."""

import json
import shutil

import pytest
import torch
from views import make_batch

from threefusion.guidance.augmentation import backgrounds, blurred, checkerboards, crops, smooth_textures
from threefusion.guidance.clip import Clip
from threefusion.guidance.prior.files import ModelError, defect
from threefusion.guidance.prior.hub import wanted
from threefusion.guidance.prior.models import MODELS, reachability
from threefusion.guidance.settings import ClipConfig
from threefusion.testing import image_render
from threefusion.types import RenderOutput, ViewTexts

TEXTS = ["a red ball", "a blue cube", ""]


@pytest.fixture
def clip(clip_folder):
    """Builds the objective on the tiny model."""

    def make(**settings):
        objective = Clip(ClipConfig(**{"model": str(clip_folder), "crops": 3} | settings))
        objective.embed_texts(TEXTS)
        return objective

    return make


def pictures(count=2, size=20):
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(0))


def prompt(count=2, *weight):
    return ViewTexts(("a red ball", "a blue cube"), torch.tensor([weight or (1.0, 0.0)]).expand(count, 2))


def loss(objective, images, batch=None, render=image_render, words=None):
    return objective(render(images), words or prompt(len(images)), batch or make_batch(len(images))).loss


def test_it_is_the_similarity_of_transformers_own_features(clip, clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), AutoTokenizer.from_pretrained(clip_folder)
    images = pictures(size=16)  # the size of the model
    tokens = tokenizer(TEXTS[:1], padding="max_length", max_length=16, return_tensors="pt")
    with torch.no_grad():
        outputs = model(pixel_values=(images.permute(0, 3, 1, 2) - 0.5) / 0.25, **tokens)
    expected = -(outputs.image_embeds @ outputs.text_embeds.T).mean()
    torch.testing.assert_close(loss(clip(crops=1, crop_share=1.0, backgrounds=False), images), expected)


def test_the_loss_lies_between_minus_1_and_1_and_has_a_finite_gradient_at_a_black_image(clip):
    for images in (pictures(), torch.zeros(2, 20, 20, 3)):
        images.requires_grad_()
        value = loss(clip(), images)
        (gradient,) = torch.autograd.grad(value, images)
        assert -1 <= value.item() <= 1
        assert gradient.isfinite().all() and (gradient.flatten(1).norm(dim=1) > 0).all()


def test_the_length_of_embeddings_is_of_no_account(clip):
    objective, images = clip(), pictures()
    before = loss(objective, images)
    objective.clip._network[0].visual_projection.weight.data.mul_(3)
    torch.testing.assert_close(loss(objective, images), before)
    objective.clip.texts *= 5
    torch.testing.assert_close(loss(objective, images), before)


def test_texts_of_a_view_are_mixed_by_their_shares(clip):
    objective, images = clip(), pictures()
    front, side, both = (loss(objective, images, words=prompt(2, *w)) for w in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)))
    length = objective.clip.texts[:2].mean(0).norm()
    torch.testing.assert_close(both, (front + side) / 2 / length)


def see_through(images):
    one = torch.ones_like(images[..., :1])
    return RenderOutput(images, 0 * one, one, normal=torch.zeros_like(images))


def test_backgrounds_are_seen_where_the_scene_is_not(clip):
    with_, without = clip(), clip(backgrounds=False)
    images, black = pictures(), torch.zeros(2, 20, 20, 3)
    torch.testing.assert_close(loss(with_, images), loss(without, images))
    assert abs(loss(with_, black, render=see_through) - loss(without, black, render=see_through)) > 1e-3
    # where nothing is, world-space normals are grey and the background takes its place too
    normals = clip(input="normal")
    torch.testing.assert_close(loss(normals, black, render=see_through), loss(with_, black, render=see_through))


def test_all_randomness_comes_from_the_views(clip):
    objective, images = clip(), pictures(4)
    whole = loss(objective, images, make_batch(4), see_through)
    parts = [loss(objective, images[i : i + 2], make_batch(2, first=i), see_through) for i in (0, 2)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())
    assert loss(objective, images, make_batch(4, step=1), see_through) != whole


def test_crops_are_squares_of_their_own_view():
    ramp = torch.arange(10.0)[:, None] * 10 + torch.arange(10.0)
    images = torch.stack([ramp, ramp + 1000])[..., None].expand(2, 10, 10, 3)
    cut = crops(images, make_batch(2), 50, 0.8, 8)
    assert cut.shape == (100, 8, 8, 3)
    corners = cut[:, 0, 0, 0]
    torch.testing.assert_close(cut[..., 0] - corners[:, None, None], (ramp[:8, :8]).expand(100, 8, 8))
    assert (corners[:50] < 100).all() and (corners[50:] >= 1000).all()
    assert {int(c) // 10 for c in corners[:50]} == {int(c) % 10 for c in corners[:50]} == {0, 1, 2}


def test_smaller_crops_are_antialiased():
    checker = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float()[None, ..., None].expand(1, 64, 64, 3)
    torch.testing.assert_close(crops(checker, make_batch(1), 2, 1.0, 8), torch.full((2, 8, 8, 3), 0.5), rtol=0, atol=0.02)


def test_backgrounds_are_of_three_kinds_and_blurred():
    found = backgrounds(make_batch(4), 30, 32)
    assert found.shape == (120, 32, 32, 3) and found.min() >= 0 and found.max() <= 1
    colors = torch.tensor([[[0.0, 0, 0], [1, 0.5, 0]]])
    board = checkerboards(colors, 32)[0]
    assert len(board.reshape(-1, 3).unique(dim=0)) == 2 and board[0, 3].tolist() != board[0, 4].tolist()
    noise = torch.randn(4, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    texture = smooth_textures(noise)

    def roughness(picture):
        return ((picture[:, 1:] - picture[:, :-1]).std() / picture.std()).item()

    assert roughness(texture) < 0.3 < 1.3 < roughness(noise)
    same, soft = blurred(noise, torch.tensor([0.0, 0.0, 3.0, 3.0])).split(2)
    torch.testing.assert_close(same, noise[:2])
    assert roughness(soft) < 0.3
    torch.testing.assert_close(blurred(torch.ones(2, 9, 9, 3), torch.tensor([2.0, 9.0])), torch.ones(2, 9, 9, 3))


def test_the_network_is_frozen_and_in_no_checkpoint(clip):
    objective = clip()
    assert not objective.state_dict() and not list(objective.parameters())
    assert not any(parameter.requires_grad for parameter in objective.clip._network[0].parameters())
    objective.to("meta")
    assert next(objective.clip._network[0].parameters()).device.type == "meta"


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("model.safetensors", "model.safetensors is missing"),
        ("preprocessor_config.json", "preprocessor_config.json is missing"),
        ("config.json", "config.json is missing"),
        ("tokenizer.json", "has no vocabulary"),
    ],
)
def test_a_model_that_lacks_a_file_is_refused_by_its_name(clip_folder, tmp_path, broken, problem):
    folder = shutil.copytree(clip_folder, tmp_path / "model")
    (folder / broken).unlink()
    with pytest.raises(ModelError, match=problem):
        Clip(ClipConfig(model=str(folder)))


def test_a_preprocessor_of_another_form_is_refused(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 16}))
    with pytest.raises(ModelError, match=r"preprocessor_config.json: cannot be read \(KeyError: 'image_mean'"):
        Clip(ClipConfig(model=str(folder)))


def test_an_unknown_name_is_refused():
    with pytest.raises(ModelError, match="Did you mean 'toyworld-judge'"):
        Clip(ClipConfig(model="toyworld-judg"))


def test_doctor_lists_the_models_and_downloads_read_what_lies_at_the_top(clip_folder):
    assert defect(clip_folder, (".",)) is None
    assert reachability()["toyworld-judge"]["available"]
    assert {name for name, known in MODELS.items() if known.prior == "clip"} == {"toyworld-judge", "clip-vit-l14"}
    names = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json", "pytorch_model.bin", "vocab.json"]
    names += ["merges.txt", "onnx/model.safetensors", "tf_model.h5"]
    chosen = ["config.json", "preprocessor_config.json", "vocab.json", "merges.txt", "model.safetensors"]
    assert sorted(wanted(names, (".",))) == sorted(chosen)
