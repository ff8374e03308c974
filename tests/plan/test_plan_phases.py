"""Phases are the runs of equal steps that an evaluation of every single step gives."""

from dataclasses import replace
from itertools import groupby

import pytest
import torch

from threefusion.config import load_config
from threefusion.plan.phases import largest_batch, phase_at, phases
from threefusion.system.build import build_system
from threefusion.types import Shading

SCHEDULES = {
    "none": [],
    "a loss that begins and ends": ["loss.orientation.weight={knots: {5: 0, 9: 1, 14: 1, 17: 0}}"],
    "a loss that begins at once": ["camera.lit_probability=0", "loss.orientation.weight={knots: {7: 0, 8: 1}}"],
    "guidance without the empty prompt at first": ["guidance.guidance_scale={knots: {6: 1, 12: 7}}"],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_phases_equal_those_of_every_single_step(tiny, name):
    system = build_system(load_config(tiny, SCHEDULES[name]))
    steps = range(2, 20)
    found = phases(system, 4, steps)
    alone = [phase_at(system, 4, step) for step in steps]
    groups = [list(group) for _, group in groupby(alone, key=lambda phase: replace(phase, first=0, last=0))]
    assert found == [replace(group[0], last=group[-1].last) for group in groups]
    # the fourth step is the first that may be lit
    assert len(found) == {"none": 2}.get(name, len(found)) and len(found) > 1


def test_a_phase_is_measured_with_the_largest_and_most_expensive_views(tiny):
    system = build_system(load_config(tiny, ["camera.lit_probability=0.02"]))
    albedo, lit = phases(system, 4, range(12))
    assert albedo.normals == ("orientation",) and lit.normals == ("orientation", "shading")
    assert not largest_batch(system, albedo).shading.any()
    batch = largest_batch(system, lit)
    assert batch.shading[0] != Shading.ALBEDO and len(batch) == 4
    extent = lambda camera: camera.distance * (camera.fovy / 2).tan()  # noqa: E731
    assert extent(batch.camera).max() < extent(system.camera.sample(4, 3, torch.arange(64)).camera).median()
