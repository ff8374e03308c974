"""What the check of oldest and newest versions installs."""

from benchmarks.versions import EMBEDDINGS, requirements
from threefusion.guidance.prior.models import BUNDLED


def test_every_requirement_has_an_oldest_version_that_is_tried():
    listed = requirements([])
    assert len(listed) > 20 and all(">=" in text for text in listed)
    assert {text.split(">=")[0].lower() for text in listed} >= {"torch", "diffusers", "transformers", "huggingface_hub"}


def test_a_package_can_be_replaced_by_another_version():
    replaced = requirements(["torch==2.13.0", "huggingface-hub==2.4.0"])
    assert [text for text in replaced if text.startswith(("torch", "hugging"))] == ["torch==2.13.0", "huggingface-hub==2.4.0"]
    assert len(replaced) == len(requirements([]))


def test_every_bundled_model_is_compared():
    assert set(EMBEDDINGS) == {folder.name for folder in BUNDLED.iterdir() if folder.is_dir()}
