"""The trained models that come with the package are ordinary diffusers folders, small and truthful about what they know."""

import json
from pathlib import Path

import pytest
import torch

import threefusion
from threefusion.evaluate.candidates import toy_candidates
from threefusion.evaluate.specimens import truth_mesh
from threefusion.evaluate.text_image import Judge, retrieval
from threefusion.evaluate.views import shaded_views
from threefusion.toyworld.captions import describe
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.render import scoring_cameras
from training.folder import FACTS, facts
from training.sample import Sampler

BUNDLED = Path(threefusion.__file__).parent / "bundled"
FOLDERS = {"toyworld-pixel": 32, "toyworld-latent": 64}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_small_and_say_what_they_know(name):
    folder = BUNDLED / name
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pkl")]
    assert json.loads((folder / FACTS).read_text()) == json.loads(json.dumps(facts(FOLDERS[name])))
    assert (folder / "README.md").is_file()


def test_all_of_them_together_are_small():
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) <= 30_000_000


@pytest.fixture(scope="module")
def judge():
    return Judge(BUNDLED / "toyworld-judge")


@pytest.mark.parametrize("pair", [("mug", "cyan"), ("chair", "yellow"), ("rocket", "red"), ("snowman with a scarf", "green")])
def test_the_judge_tells_the_truth_from_everything_else(judge, pair):
    target, views = ToyObject(*pair), 6
    color, white = shaded_views(truth_mesh(target, 64), scoring_cameras(judge.size, views))
    among, shapes = toy_candidates(describe(*pair), target)
    found, plain = retrieval(judge, color, among), retrieval(judge, white, shapes)
    assert found["retrieved"] and found["r_precision"] >= 5 / 6
    assert plain["retrieved"] and plain["r_precision"] >= 4 / 6
    other, _ = toy_candidates("a purple sofa", ToyObject("sofa", "purple"))
    assert not retrieval(judge, color, other)["retrieved"]


@pytest.mark.parametrize("name", FOLDERS)
def test_diffusers_own_pipelines_draw_from_them(name):
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(BUNDLED / name, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a blue car, side view", num_inference_steps=2, guidance_scale=3.0, output_type="np").images[0]
    assert image.shape == (FOLDERS[name], FOLDERS[name], 3)
    assert ((image >= 0) & (image <= 1)).all()


@pytest.mark.parametrize("name", FOLDERS)
def test_samples_take_the_captions_colour(name):
    images = Sampler(BUNDLED / name).draw(["a red ball, side view", "a blue ball, side view"], scale=3.0, steps=8)
    size = FOLDERS[name]
    middle = images[:, size * 3 // 8 : size * 5 // 8, size * 3 // 8 : size * 5 // 8].mean((1, 2))
    red, blue = middle
    assert red[0] > red[2] + 0.2 and blue[2] > blue[0] + 0.2
    assert torch.isfinite(images).all()
