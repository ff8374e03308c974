"""Stages are what a look at every single step finds."""

from itertools import groupby

import pytest
import torch

from threefusion.config import load_config
from threefusion.plan.stages import largest_batch, stages, work_at
from threefusion.system.build import build_system
from threefusion.types import Shading

SCHEDULES = {
    "none": [],
    "a loss that begins and ends": ["loss.orientation.weight={knots: {5: 0, 9: 1, 14: 1, 17: 0}}"],
    "a loss that begins at once": ["camera.lit_probability=0", "loss.orientation.weight={knots: {7: 0, 8: 1}}"],
    "guidance without the empty prompt at first": ["guidance.guidance_scale={knots: {6: 1, 12: 7}}"],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_stages_are_those_of_a_look_at_every_step(tiny, name):
    system = build_system(load_config(tiny, SCHEDULES[name]))
    steps = range(2, 20)
    found = [(stage.first, stage.last, stage.work) for stage in stages(system, 4, steps)]
    works = [(step, work_at(system, 4, step)) for step in steps]
    expected = [
        (part[0][0], part[-1][0], work) for work, part in ((w, list(p)) for w, p in groupby(works, key=lambda pair: pair[1]))
    ]
    assert found == expected
    # the fourth step is the first that may be lit
    assert len(found) == {"none": 2}.get(name, len(found)) and len(found) > 1


def test_a_stage_is_tried_with_views_that_show_most_and_cost_most(tiny):
    system = build_system(load_config(tiny, ["camera.lit_probability=0.02"]))
    albedo, lit = stages(system, 4, range(12))
    assert albedo.work.normals == ("orientation",) and lit.work.normals == ("orientation", "shading")
    assert not largest_batch(system, albedo).shading.any()
    batch = largest_batch(system, lit)
    assert batch.shading[0] != Shading.ALBEDO and len(batch) == 4
    extent = lambda camera: camera.distance * (camera.fovy / 2).tan()  # noqa: E731
    assert extent(batch.camera).max() < extent(system.camera.sample(4, 3, torch.arange(64)).camera).median()
