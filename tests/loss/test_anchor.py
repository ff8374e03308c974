"""The loss that holds a training near its start."""

from dataclasses import replace

import torch

from threefusion.loss.settings import AnchorConfig
from threefusion.registry import build
from threefusion.testing.samples import synthetic_render, views


def test_the_anchor_is_the_mean_square_difference_over_the_object():
    batch = views(2)
    render = synthetic_render(batch)
    opaque = torch.zeros_like(render.opacity)
    opaque[:, :2, :3] = 1
    image = torch.where(opaque > 0, 0.3, 0.7).expand_as(render.image)
    source = replace(render.source, image=torch.where(opaque > 0, 0.1, 0.7).expand_as(render.image))
    term = build(AnchorConfig())
    assert torch.isclose(term(replace(render, image=image, opacity=opaque, source=source), batch), torch.tensor(0.04))
    same = replace(render, source=replace(render.source, image=render.image))
    assert term(same, batch) == 0
