"""Dream Fields' transmittance loss: emptiness is rewarded up to a share that follows the schedule and the camera."""

import math
from dataclasses import replace

import pytest
import torch

from threefusion.config import Schedule
from threefusion.loss.settings import TransmittanceConfig
from threefusion.registry import build
from threefusion.testing import image_render, views

FOCAL = 1.3889 * math.sqrt(1.2)


def loss_and_gradient(opacity, step=0, distance=4.0, focal=FOCAL, cfg=None):
    batch = views(2)
    camera = replace(batch.camera, distance=torch.full((2,), distance), fovy=torch.full((2,), 2 * math.atan(0.5 / focal)))
    batch = replace(batch, camera=camera, step=step)
    opacity = torch.tensor(opacity).view(2, 1, 1, 1).expand(2, 8, 8, 1).clone().requires_grad_()
    value = build(cfg or TransmittanceConfig())(replace(image_render(torch.zeros(2, 8, 8, 3)), opacity=opacity), batch)
    return value.item(), torch.autograd.grad(value, opacity)[0].sum((1, 2, 3)).tolist()


def test_more_emptiness_than_the_target_is_not_rewarded():
    # one view is fuller and one emptier than the target of 0.5
    value, gradient = loss_and_gradient([0.8, 0.3])
    assert value == pytest.approx(-(0.2 + 0.5) / 2, abs=1e-4)
    assert gradient == pytest.approx([0.5, 0.0], abs=1e-6)


@pytest.mark.parametrize(("step", "target"), [(0, 0.5), (250, 0.5 * 0.2**0.5), (500, 0.1), (5000, 0.1)])
def test_the_target_falls_exponentially(step, target):
    assert loss_and_gradient([0.0, 0.0], step)[0] == pytest.approx(-(1 - target), abs=1e-3)


@pytest.mark.parametrize(("distance", "factor"), [(4.0, 1.0), (8.0, 0.25), (3.0, 16 / 9), (0.5, 2.0)])
def test_the_target_follows_the_area_in_the_image(distance, factor):
    cfg = TransmittanceConfig(opacity=Schedule.constant(0.5))
    assert loss_and_gradient([0.0, 0.0], distance=distance, cfg=cfg)[0] == pytest.approx(-(1 - 0.5 * factor), abs=1e-3)
    doubled = loss_and_gradient([0.0, 0.0], distance=2 * distance, focal=2 * FOCAL, cfg=cfg)[0]
    assert doubled == pytest.approx(-(1 - 0.5 * factor), abs=1e-3)
