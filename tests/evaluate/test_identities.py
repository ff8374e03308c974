"""Evaluation of the ground truth, of a bunny with two fronts, and of an empty result."""

import pytest
import torch

from threefusion.evaluate import Evaluation, evaluate_mesh
from threefusion.evaluate.janus import TruthFrontClassifier, has_visible_front, janus
from threefusion.evaluate.specimens import truth_mesh, two_faced
from threefusion.evaluate.surface import rotated
from threefusion.evaluate.truth import overlap, solid_scores
from threefusion.exporter.topology import is_watertight, weld
from threefusion.toyworld.objects import ToyObject
from threefusion.types import Mesh

BUNNY = ToyObject("bunny", "orange")
EXACT = Evaluation(views=24, front=TruthFrontClassifier())


@pytest.fixture(scope="module")
def bunny():
    return truth_mesh(BUNNY)


@pytest.fixture(scope="module")
def result(bunny):
    return evaluate_mesh(bunny, "an orange bunny", EXACT)


def test_the_truth_is_perfect(result):
    truth = result["truth"]
    assert truth["volume_iou"] >= 0.99 and truth["silhouette_iou"] >= 0.99
    assert truth["geometric_retrieval"] and truth["skill"] >= 0.99
    assert truth["f_score"] > 0.999
    assert truth["chamfer"] < 1.1 * truth["chamfer_floor"] < 0.01
    assert truth["best_yaw_deg"] == 0 and truth["volume_iou_best_yaw"] == truth["volume_iou"]
    assert truth["albedo_error"] < 0.01


def test_the_truth_has_no_pathology(result):
    flaws = result["pathology"]
    assert flaws["janus"] == flaws["janus_of_truth"] == 0
    assert (flaws["front_probability_in_front"], flaws["front_probability_behind"]) == (1, 0)
    assert flaws["emptiness"] == flaws["floater_area"] == flaws["clipped"] == 0


def test_two_fronts_are_detected(bunny):
    double = two_faced(bunny)
    assert is_watertight(weld(double))
    front = double.vertices[double.vertices[:, 0] > 0.1]
    assert torch.isin(front[:, 0], bunny.vertices[:, 0]).all()
    flaws = janus(double, BUNNY, EXACT.front)
    assert flaws["janus"] == 1 and flaws["front_probability_behind"] == 1


def test_a_rotated_object_is_correct_up_to_yaw():
    chair = ToyObject("chair", "red")
    mesh = truth_mesh(chair, 48)
    numbers = solid_scores(Mesh(rotated(mesh.vertices, torch.pi / 2), mesh.faces), chair)
    assert numbers["best_yaw_deg"] == pytest.approx(-90, abs=1)
    assert numbers["volume_iou"] < 0.6 and numbers["f_score"] < 0.7
    assert numbers["volume_iou_best_yaw"] > 0.95 and numbers["f_score_best_yaw"] > 0.98
    assert numbers["chamfer_best_yaw"] < 0.3 * numbers["chamfer"]


def test_the_lattice_contains_oversized_meshes():
    ball = ToyObject("ball", "red")
    mesh = truth_mesh(ball, 32)
    assert overlap(Mesh(2 * mesh.vertices, mesh.faces), ball) == pytest.approx(1 / 8, rel=0.03)


def test_an_empty_result_has_all_keys(result):
    missing = evaluate_mesh(None, "an orange bunny", EXACT)
    no_faces = Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long))
    assert evaluate_mesh(no_faces, "an orange bunny", EXACT) == missing
    assert {name: set(section) for name, section in missing.items()} == {name: set(section) for name, section in result.items()}
    assert missing["pathology"]["emptiness"] == 1
    assert missing["pathology"]["janus"] is None and missing["pathology"]["components"] is None
    assert missing["truth"]["volume_iou"] == missing["truth"]["f_score"] == missing["truth"]["silhouette_iou"] == 0
    assert missing["truth"]["chamfer"] is None
    assert not missing["truth"]["geometric_retrieval"]
    assert set(missing["fidelity"].values()) == {None}


def test_classes_without_a_visible_front():
    assert has_visible_front(BUNNY)
    assert not has_visible_front(ToyObject("cylinder", "red"))
    assert janus(truth_mesh(ToyObject("cylinder", "red"), 32), ToyObject("cylinder", "red"), EXACT.front)["janus"] is None


def test_the_index_is_none_if_the_classifier_errs_on_the_truth(bunny):
    class Everywhere(TruthFrontClassifier):
        def __call__(self, images, target):
            return torch.ones(len(images))

    flaws = janus(bunny, BUNNY, Everywhere())
    assert flaws["janus"] is None and flaws["janus_of_truth"] == 1
