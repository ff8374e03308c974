"""Groups by component name, and learning rates as pure functions of the step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from threefusion.config import Schedule
from threefusion.errors import UserError
from threefusion.geometry.geometry import Rewrite
from threefusion.optimizer.optimizer import Adam
from threefusion.optimizer.settings import AdamConfig


@pytest.fixture
def scene() -> nn.ModuleDict:
    geometry = nn.ModuleDict({"encoding": nn.Linear(2, 3), "network": nn.Linear(3, 1)})
    return nn.ModuleDict({"geometry": geometry, "background": nn.Linear(3, 3)})


def test_the_longest_matching_name_wins(scene: nn.ModuleDict) -> None:
    optimizer = Adam(AdamConfig(lr=1.0, groups={"geometry": 2.0, "geometry.encoding": 3.0})).create(scene)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"geometry.encoding": 3.0, "geometry.network": 2.0, "background": 1.0}
    for name, parameter in scene.named_parameters():
        assert rates[id(parameter)] == expected[name.rsplit(".", 1)[0]]
    assert len(rates) == len(list(scene.parameters()))


def test_a_group_that_names_nothing_is_refused_with_the_parts(scene: nn.ModuleDict) -> None:
    with pytest.raises(UserError, match=r"optimizer\.groups\.geometri: .*background, geometry\.encoding, geometry\.network"):
        Adam(AdamConfig(groups={"geometri": 1.0})).create(scene)


def test_frozen_parameters_are_left_out(scene: nn.ModuleDict) -> None:
    scene["background"].requires_grad_(False)
    optimizer = Adam(AdamConfig()).create(scene)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_the_scale_is_the_schedule() -> None:
    factory = Adam(AdamConfig(schedule=Schedule(((0, 0.0), (10, 1.0), (20, 0.5)))))
    assert [factory.scale(step) for step in (0, 5, 10, 15, 100)] == [0.0, 0.5, 1.0, 0.75, 0.5]


def test_rewritten_rows_keep_their_moments_and_new_ones_start_from_zero(scene: nn.ModuleDict) -> None:
    factory = Adam(AdamConfig(lr=0.1, groups={"geometry.encoding": 0.5}))
    optimizer = factory.create(scene)
    for _ in range(2):
        optimizer.zero_grad()
        scene["geometry"]["encoding"](torch.ones(1, 2)).square().sum().backward()
        optimizer.step()
    encoding = scene["geometry"]["encoding"]
    old, moments = encoding.weight.detach().clone(), dict(optimizer.state[encoding.weight])
    keep, new = torch.tensor([2, 0]), torch.full((3, 2), 7.0)
    factory.rewrite(optimizer, scene["geometry"], Rewrite(keep, {"encoding.weight": new}))
    assert torch.equal(encoding.weight, torch.cat([old[keep], new]))
    state = optimizer.state[encoding.weight]
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(state[name], torch.cat([moments[name][keep], torch.zeros(3, 2)])) and moments[name].any()
    assert state["step"] == moments["step"] and len(optimizer.state) == 2
    assert any(
        encoding.weight is parameter and group["lr"] == 0.5 for group in optimizer.param_groups for parameter in group["params"]
    )
