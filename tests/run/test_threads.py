"""Small trainings work with one thread, large ones with all, and what the user has set is left alone."""

from __future__ import annotations

import pytest
import torch

from threefusion.config import load_config
from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.settings import LatentConfig
from threefusion.ops.parallel import threads
from threefusion.registry import build
from threefusion.run.threads import training_threads
from threefusion.run.training import small_steps
from threefusion.system.build import build_system


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("small", "environment", "inside"), [(True, {}, 1), (False, {}, 3), (True, {"OMP_NUM_THREADS": "3"}, 3)])
def test_one_thread_for_small_steps_and_as_before_after_them(small, environment, inside, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # what the kernels go by otherwise
    with pytest.raises(KeyError), training_threads(small, environment):
        assert torch.get_num_threads() == threads() == inside
        raise KeyError
    assert torch.get_num_threads() == threads() == 3


def test_torch_keeps_its_thread_where_others_still_train(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with training_threads(True, {}, restored=False):
        assert torch.get_num_threads() == threads() == 1
    assert torch.get_num_threads() == 1 and threads() == 3


def test_the_bundled_priors_are_small_at_the_quickstarts_batch_and_larger_images_are_not(tiny):
    for kind in ("pixel", "latent"):
        assert build(settings_class("prior", kind)(model=f"toyworld-{kind}")).largest_layer(4) < 2**20
    assert build(LatentConfig(model="toyworld-latent", image_size=512)).largest_layer(4) > 2**22
    assert small_steps(build_system(load_config(tiny, [])))
    assert not small_steps(build_system(load_config(tiny, ["camera.height=64", "camera.width=64"])))
