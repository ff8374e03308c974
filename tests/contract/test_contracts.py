"""Every component of the package keeps the contract of its kind."""

import pytest
import tiny
import tiny_conditioned

from threefusion.cli.describe import components
from threefusion.config.catalogue import BUILT_IN
from threefusion.errors import UserError
from threefusion.guidance.prior.models import ModelError
from threefusion.registry import KINDS
from threefusion.testing import check_component, distillation, judges, scene

SHIPPED = [(found["kind"], found["name"]) for found in components() if found["origin"] == BUILT_IN]
SMALL = {
    "wandb": {"mode": "disabled"},
    "viser": {"port": 0},
    "clip": {"crops": 2},
    "prompt": {"text": "a red car"},
    "mesh": {"resolution": 24, "texture_size": 64, "views": 2, "view_size": 16, "max_faces": 400},
}
"""What has to be given, or makes a component or a kind quick enough to test."""
NETWORKS = {
    "super-resolution": tiny_conditioned.save_tiny_if_ii,
    "multi-view": tiny_conditioned.save_tiny_multi_view,
    "image-conditioned": tiny_conditioned.save_tiny_zero123,
    "flow": tiny.save_tiny_sd3,
}
"""Random models for priors of which none comes with the package."""


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_contract(kind, name, tmp_path):
    if name in ("retextured", "textured-mesh"):
        pytest.skip("nothing without a mesh file: tests/exporter/test_retextured.py, tests/geometry/test_textured_mesh.py")
    settings = SMALL.get(name, SMALL.get(kind, {}))
    if name in NETWORKS:
        settings = {"model": str(NETWORKS[name](tmp_path / "model"))}
    if name in ("image-conditioned", "reference"):
        settings["image"] = str(tiny_conditioned.save_picture(tmp_path / "picture.png"))
    try:
        check_component(kind, name, **settings)
    except ModelError as error:
        pytest.skip(str(error))


def test_every_kind_has_a_contract():
    assert set(scene.CONTRACTS | judges.CONTRACTS | distillation.CONTRACTS) == set(KINDS)


def test_unknown_kind():
    with pytest.raises(UserError, match="Did you mean 'loss'"):
        check_component("los", "sparsity")
