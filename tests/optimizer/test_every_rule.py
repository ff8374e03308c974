"""What every optimiser has in common: the optimum, groups, exact resumes, rewritten rows, steps that are skipped."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from torch import nn

from threefusion.config import Schedule, Settings
from threefusion.errors import UserError
from threefusion.geometry.geometry import Rewrite
from threefusion.optimizer.optimizer import state_tensors, take_over_settings
from threefusion.optimizer.settings import AdamConfig, AdanConfig, MuonConfig, ShampooConfig
from threefusion.registry import build
from threefusion.system.finite import StepGuard, nonfinite_state

RULES: dict[str, Settings] = {
    "adam": AdamConfig(lr=0.05),
    "adan": AdanConfig(lr=0.3),
    "muon": MuonConfig(lr=0.05, smallest_side=4),
    "shampoo": ShampooConfig(lr=0.05, block_size=8, start_step=2),
    "shampoo-rmsprop": ShampooConfig(lr=0.01, block_size=8, start_step=2, every=2, graft="rmsprop", exponent=0),
}
SIZE = 10


@pytest.fixture(params=RULES)
def cfg(request: pytest.FixtureRequest) -> Settings:
    """Each optimiser's settings."""
    return RULES[request.param]


def scene() -> nn.ModuleDict:
    """Matrices, vectors and a table, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        geometry = nn.ModuleDict({"encoding": nn.Embedding(30, 2), "network": nn.Linear(SIZE, SIZE)})
        return nn.ModuleDict({"geometry": geometry, "background": nn.Linear(SIZE, 3)})


def distance(scene: nn.ModuleDict, step: int = 0) -> torch.Tensor:
    """A quadratic of all parameters with its minimum, 0, at 0.3; `step` chooses one of several."""
    scales = [torch.linspace(1, 3, value.numel()).reshape(value.shape).roll(step) for value in scene.parameters()]
    return sum((scale * (value - 0.3).square()).sum() for scale, value in zip(scales, scene.parameters(), strict=True))


def steps(scene: nn.ModuleDict, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    """Optimiser steps `first` to `last - 1`; each draws global random numbers, as other parts of a program may."""
    for step in range(first, last):
        torch.rand(1)
        optimizer.zero_grad()
        distance(scene, step).backward()
        optimizer.step()


def test_it_reaches_the_minimum_of_a_quadratic(cfg: Settings) -> None:
    trained = scene()
    factory = build(replace(cfg, schedule=Schedule(((0, 1.0), (400, 0.001)))))
    optimizer = factory.create(trained)
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factory.scale(step)
        optimizer.zero_grad()
        distance(trained).backward()
        optimizer.step()
    assert all(torch.allclose(value, torch.full_like(value, 0.3), atol=1e-3) for value in trained.parameters())


def test_each_group_moves_at_its_own_rate(cfg: Settings) -> None:
    moved = {}
    for rate in (1.0, 0.5):
        trained = scene()
        before = [value.detach().clone() for value in trained.parameters()]
        optimizer = build(replace(cfg, lr=0.1, groups={"geometry": 0.1 * rate, "geometry.network": 0.1})).create(trained)
        steps(trained, optimizer, 0, 1)
        names = [name for name, _ in trained.named_parameters()]
        moved[rate] = {name: new - old for name, new, old in zip(names, trained.parameters(), before, strict=True)}
    for name, whole in moved[1.0].items():
        expected = 0.5 if name.startswith("geometry.encoding") else 1.0
        assert torch.allclose(moved[0.5][name], expected * whole, rtol=1e-4, atol=1e-7) and whole.abs().min() > 0, name


def test_a_group_without_trained_parameters_is_refused(cfg: Settings) -> None:
    with pytest.raises(UserError, match=r"optimizer\.groups\.geometri: .*background, geometry\.encoding, geometry\.network"):
        build(replace(cfg, groups={"geometri": 1.0})).create(scene())


def test_a_resumed_training_is_bit_identical(cfg: Settings) -> None:
    whole = scene()
    steps(whole, build(cfg).create(whole), 0, 9)
    first = scene()
    optimizer = build(cfg).create(first)
    torch.manual_seed(1)
    steps(first, optimizer, 0, 5)
    saved = io.BytesIO()
    torch.save({"scene": first.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    content = torch.load(saved, weights_only=True)
    second = scene()
    second.load_state_dict(content["scene"])
    optimizer = build(cfg).create(second)
    take_over_settings(content["optimizer"]["param_groups"], optimizer.param_groups)
    optimizer.load_state_dict(content["optimizer"])
    assert all(value.grad is None for value in second.parameters())
    torch.manual_seed(2)
    steps(second, optimizer, 5, 9)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_global_random_numbers_are_left_alone(cfg: Settings) -> None:
    trained = scene()
    optimizer = build(cfg).create(trained)
    torch.manual_seed(0)
    distance(trained).backward()
    optimizer.step()
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))


def test_a_step_that_is_not_finite_changes_nothing(cfg: Settings) -> None:
    plain, spoiled = scene(), scene()
    steps(plain, build(cfg).create(plain), 0, 6)
    optimizer, guard = build(cfg).create(spoiled), StepGuard()
    steps(spoiled, optimizer, 0, 3)
    optimizer.zero_grad()
    (distance(spoiled) * float("nan")).backward()
    before = [value.clone() for value in state_tensors(optimizer.state_dict())]
    assert guard.inspect(optimizer, scaled=False) == 1
    optimizer.step()
    guard.release(optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, state_tensors(optimizer.state_dict()), strict=True))
    steps(spoiled, optimizer, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), spoiled.parameters(), strict=True))


@torch.inference_mode()  # in which the library computes its matrix roots
def spoil(tensor: torch.Tensor, value: torch.Tensor | float) -> None:
    """Overwrite the last row."""
    tensor[-1] = value


def test_a_state_that_is_not_finite_is_noticed(cfg: Settings) -> None:
    trained = scene()
    optimizer = build(cfg).create(trained)
    steps(trained, optimizer, 0, 2)
    assert nonfinite_state(trained, optimizer) is None
    for tensor in state_tensors(optimizer.state[trained["background"].weight]):
        if tensor.is_floating_point() and tensor.numel() > 1:
            kept = tensor[-1].clone()
            spoil(tensor, float("nan"))
            assert nonfinite_state(trained, optimizer) == "background.weight"
            spoil(tensor, kept)


def test_gradients_are_those_of_the_loss_until_the_step_has_ended(cfg: Settings) -> None:
    trained = scene()
    optimizer = build(cfg).create(trained)
    distance(trained).backward()
    table = trained["geometry"]["encoding"].weight
    before = table.grad.clone()
    optimizer.step()
    assert torch.equal(table.grad, before)


@pytest.mark.parametrize("name", ["adam", "adan", "muon"])
def test_rewritten_rows_go_on_as_if_the_others_had_never_been(name: str) -> None:
    cfg, few, many = RULES[name], scene(), scene()
    keep = torch.arange(0, 30, 2)
    table = few["geometry"]["encoding"]
    table.weight = nn.Parameter(table.weight.detach()[keep])

    def train(trained: nn.ModuleDict, optimizer: torch.optim.Optimizer, rows: torch.Tensor | slice) -> None:
        optimizer.zero_grad()
        (trained["geometry"]["encoding"].weight[rows] - torch.arange(15)[:, None]).square().sum().backward()
        optimizer.step()

    factory = build(cfg)
    assert factory.follows_rows
    optimizer, other = factory.create(many), factory.create(few)
    for _ in range(3):
        train(many, optimizer, keep)
        train(few, other, slice(None))
    new = torch.zeros(4, 2)
    factory.rewrite(optimizer, many["geometry"], Rewrite(keep, {"encoding.weight": new}))
    for _ in range(3):
        train(many, optimizer, slice(15))
        train(few, other, slice(None))
    assert torch.equal(many["geometry"]["encoding"].weight[:15], few["geometry"]["encoding"].weight)
    assert torch.equal(many["geometry"]["encoding"].weight[15:], new)
