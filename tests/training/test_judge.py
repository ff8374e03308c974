"""The judge and the classifier: they learn, their questions are the right ones, their folders are ordinary ones."""

import json
import math

import numpy as np
import pytest
import torch

from threefusion.evaluate.text_image import Judge
from threefusion.toyworld.captions import describe, find_class, find_color
from threefusion.toyworld.catalogue import CLASSES
from training.augment import augment
from training.captions import VIEW_WORDS
from training.data import TEXTURELESS, Batch
from training.judge import SIZE, JudgeRecipe, choice_loss, embed_images, embed_texts, matches, right_views
from training.measure import ClassifierRecipe, accuracy
from training.pictures import draw_pictures, surely_seen
from training.retrieval import PAIRS, nearest, pair_scores
from training.train import Plan, Trainer
from training.views import ViewStore


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One discernible blot for each class in the place of rendered views."""
    folder = tmp_path_factory.mktemp("views")
    generator = np.random.default_rng(0)
    blots = generator.integers(0, 2, (len(CLASSES), 1, 8, 8, 1), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
    packed = np.full((len(CLASSES), 2, 64, 64, 11), 128, np.uint8)
    packed[..., :1] = packed[..., 4:5] = 255 * blots
    packed[..., 1:4] = 0
    np.save(folder / "views-000.npy", packed)
    cameras = np.tile(np.float32([2, 0, 0, 0.1, 0.2]), (len(CLASSES), 2, 1))
    np.save(folder / "views-000.cameras.npy", cameras)
    return ViewStore(folder)


def test_a_choice_costs_what_the_right_answers_lack():
    logits = torch.tensor([[2.0, 2.0, 2.0, 2.0], [0.0, math.log(3.0), -50.0, -50.0]])
    right = torch.tensor([[True, True, False, False], [False, True, False, False]])
    assert choice_loss(logits, right).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    # a row without a right answer is not asked
    assert choice_loss(logits, right & torch.tensor([[True], [False]])).item() == pytest.approx(math.log(2))


def test_captions_of_a_batch_match_what_is_seen():
    batch = Batch(
        torch.zeros(3, 3, 8, 8),
        ["a red car, front view", "a photo of a car", "a ball, side view"],
        ["car", "car", "ball"],
        ["red", "blue", "green"],
        ["front", "back", "side"],
        [0, 0, TEXTURELESS],
    )
    assert matches(batch, ["red", "blue", None]).tolist() == [[True, True, False], [False, True, False], [False, False, True]]
    assert right_views(batch).tolist() == [
        [word == "front" for word in VIEW_WORDS],
        [word == "back" for word in VIEW_WORDS],
        [word != "overhead" for word in VIEW_WORDS],
    ]


def test_every_pair_has_a_caption_that_is_understood():
    for name, color in PAIRS:
        text = describe(name, color, "side")
        assert (find_class(text), find_color(text)) == (name, color)
    assert len({describe(*pair) for pair in PAIRS}) == len(PAIRS)


def test_a_view_near_a_border_is_not_sure():
    degree = math.pi / 180
    sure = {
        (0, 0): True,
        (40, 0): False,
        (-52, 0): False,
        (90, 45): True,
        (130, 0): False,
        (180, 0): True,
        (0, 55): False,
        (44, 75): True,
    }
    assert {angle: surely_seen(*(x * degree for x in angle)) for angle in sure} == sure


def test_augmented_pictures_stay_pictures_of_the_same_thing(store):
    generator = torch.Generator().manual_seed(0)
    seen = draw_pictures(store, 60, 32, generator, (1.0, 0.0, 0.0), ["red"])
    after = augment(seen, generator, rate=1.0)
    changed = after.images
    assert changed.shape == seen.images.shape
    assert changed.min() >= 0 and changed.max() <= 1
    # what moves with the picture stays on the object
    inside = after.coverage.expand_as(changed) == 1
    red, green, _ = (torch.where(inside, changed, 0.0).sum((0, 2, 3)) / inside.sum((0, 2, 3))).tolist()
    assert red > green + 0.15
    different = [((augment(seen, generator, rate).images - seen.images).abs().mean((1, 2, 3)) > 1e-3) for rate in (1.0, 0.5)]
    assert different[0].all() and 15 < different[1].sum() < 45


def test_training_lowers_the_judges_loss_and_reaches_every_layer(store, tmp_path):
    trainer = Trainer(JudgeRecipe(batch_size=8), store, tmp_path, Plan(steps=100, warm_up=1))
    batch = trainer.recipe.draw(store, trainer.generator)
    losses = [trainer.recipe.loss(batch, trainer.generator)]
    losses[0].backward()
    silent = [n for n, p in trainer.recipe.networks.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent
    trainer.recipe.draw = lambda *_: batch
    for _ in range(6):
        trainer.update()
    losses.append(trainer.recipe.loss(batch, trainer.generator))
    assert losses[1].item() < 0.9 * losses[0].item()


def test_the_classifier_learns_and_its_accuracy_is_right(store, tmp_path):
    trainer = Trainer(ClassifierRecipe(widths=(8, 8, 16, 16), batch_size=28), store, tmp_path, Plan(steps=40, warm_up=5))
    trainer.run()
    seen = draw_pictures(store, 100, 32, torch.Generator().manual_seed(3), (1.0, 0.0, 0.0))
    wanted = list(zip(seen.names, seen.colors, seen.views, strict=True))
    network = trainer.recipe.networks["classifier"]
    scores = accuracy(network, seen.images * 2 - 1, wanted)
    assert scores["view"] == 1.0
    assert scores["class"] > 0.3
    wrong = [("cube" if name == "ball" else "ball", color, "back") for name, color, _ in wanted]
    assert accuracy(network, seen.images * 2 - 1, wrong)["class"] < 0.2


def test_the_nearest_caption_is_the_known_one():
    texts = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    order = [3, 1, 7, 7, 0]
    assert nearest(texts[order] + 0.1 * texts[2], texts) == order


def test_scores_count_captions_classes_and_colours(store):
    class Oracle(Judge):
        """Knows the right answer of each picture but the last, of which it knows the colour."""

        def __init__(self):
            pass

        def embed_images(self, images):
            known = [PAIRS.index(pair) for pair in zip(pictures.names, pictures.colors, strict=True)]
            known[-1] = PAIRS.index(("robot" if pictures.names[-1] == "ball" else "ball", pictures.colors[-1]))
            return torch.eye(len(PAIRS))[known]

        def embed_texts(self, texts):
            return torch.eye(len(PAIRS))

    pictures = draw_pictures(store, 10, SIZE, torch.Generator().manual_seed(0))
    assert pair_scores(Oracle(), pictures) == {"caption": 0.9, "class": 0.9, "color": 1.0}


def test_the_judges_folder_is_an_ordinary_one(tmp_path):
    from transformers import AutoImageProcessor, CLIPModel

    recipe = JudgeRecipe()
    recipe.export(recipe.networks, tmp_path / "judge")
    files = {path.name: path.stat().st_size for path in (tmp_path / "judge").iterdir()}
    assert sum(files.values()) < 6_000_000 and "model.safetensors" in files
    assert sum(p.numel() for p in recipe.networks.parameters()) < 2_500_000
    judge = Judge(tmp_path / "judge")
    assert isinstance(CLIPModel.from_pretrained(tmp_path / "judge", local_files_only=True), CLIPModel)
    captions = ["a red car, front view", "a DSLR photo of a blue snowman with a scarf"]
    pictures = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    # the recipe pads to the longest caption, the judge to the length of its context
    for loaded, own in (
        (judge.embed_texts(captions), embed_texts(recipe.networks["clip"], recipe.tokenizer, captions)),
        (judge.embed_images(pictures.permute(0, 2, 3, 1) / 2 + 0.5), embed_images(recipe.networks["clip"], pictures)),
    ):
        assert (loaded - own).abs().max() < 0.03
    processor = AutoImageProcessor.from_pretrained(tmp_path / "judge", local_files_only=True)
    picture = np.full((100, 100, 3), 255, np.uint8)
    values = processor(picture, return_tensors="pt").pixel_values
    assert values.shape == (1, 3, SIZE, SIZE) and values.min() > 0.99
    assert json.loads((tmp_path / "judge" / "toyworld.json").read_text())["held_out"] == []
