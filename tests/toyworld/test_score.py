"""Scores of the truth, of wrong results, and of the baselines."""

import pytest
import torch

from threefusion.camera.orbit import cameras_around
from threefusion.toyworld import score as module
from threefusion.toyworld.catalogue import CLASSES
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.palette import COLORS
from threefusion.toyworld.score import score, scoring_cameras, truth_views

FEW = ("car", "cube", "mug", "rocket")


@pytest.fixture(autouse=True)
def fewer_classes(monkeypatch):
    """Fewer classes, because meshing all of them is slow."""
    monkeypatch.setattr(module, "CLASSES", {name: module.CLASSES[name] for name in FEW})
    monkeypatch.setattr(module, "MESH_RESOLUTION", 48)


@pytest.fixture(scope="module")
def cameras():
    angles = torch.linspace(-3, 3, 5)
    return cameras_around(angles, 0.2, 2.0, 0.785, (40, 40))


@pytest.mark.parametrize("name", FEW)
def test_the_truth_scores_itself_perfectly(name, cameras):
    target = ToyObject(name, "blue")
    masks, albedo = truth_views(target, cameras)
    result = score(masks, albedo, target, cameras)
    assert result["silhouette_iou"] >= 0.99
    assert result["geometric_retrieval"] and result["best_class"] == name
    assert result["skill"] > 0.97
    assert result["albedo_error"] < 1e-5
    assert result["convex"] == (name == "cube")
    assert 0 < result["best_wrong_class_iou"] < 0.95 and result["best_wrong_class"] != name
    assert 0.2 < result["ellipsoid_iou"] < 1


def test_another_class_scores_lower(cameras):
    masks, albedo = truth_views(ToyObject("cube", "red"), cameras)
    result = score(masks, albedo, ToyObject("car", "red"), cameras)
    assert result["best_class"] == "cube" and not result["geometric_retrieval"]
    assert result["silhouette_iou"] < 0.8


def test_opacities_are_thresholded_at_one_half(cameras):
    target = ToyObject("mug", "green")
    masks, albedo = truth_views(target, cameras)
    assert score(masks.float() * 0.6, albedo, target, cameras) == score(masks, albedo, target, cameras)
    assert score(masks.float() * 0.4, albedo, target, cameras)["silhouette_iou"] == 0


def test_colour_errors_beside_their_baselines(cameras):
    target = ToyObject("rocket", "red")
    masks, albedo = truth_views(target, cameras)
    painted = torch.tensor(COLORS["red"]).expand_as(albedo)
    result = score(masks, painted, target, cameras)
    assert result["albedo_error"] == pytest.approx(result["constant_color_error"], abs=1e-5)
    grey = score(masks, torch.full_like(albedo, 0.5), target, cameras)
    assert grey["albedo_error"] == pytest.approx(grey["grey_error"], abs=1e-5)
    dimmed = score(masks, albedo * 0.5, target, cameras)
    assert dimmed["albedo_error"] > 0.2 and dimmed["albedo_error_after_gain"] < 1e-4


def test_an_empty_reconstruction_scores_worst(cameras):
    target = ToyObject("car", "red")
    result = score(torch.zeros(5, 40, 40), torch.zeros(5, 40, 40, 3), target, cameras)
    assert result["silhouette_iou"] == 0 and result["skill"] < 0
    assert result["albedo_error"] == pytest.approx(3**0.5)
    assert result["best_class"] is None and result["geometric_retrieval"] is False


def test_a_ball_has_no_skill_score(cameras, monkeypatch):
    monkeypatch.setattr(module, "CLASSES", {name: CLASSES[name] for name in ("ball", "cube")})
    ball = ToyObject("ball", "red")
    result = score(*truth_views(ball, cameras), ball, cameras)
    assert result["silhouette_iou"] == 1 and result["geometric_retrieval"] and result["skill"] is None


def test_scoring_cameras_are_uniform():
    cameras = scoring_cameras(8)
    assert len(cameras) == 24
    assert cameras.azimuth.sort().values.diff().max() == pytest.approx(2 * torch.pi / 24, rel=1e-4)
    assert sorted({round(e) for e in cameras.elevation.rad2deg().tolist()}) == [0, 15, 30]
