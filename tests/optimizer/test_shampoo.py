"""Shampoo against its formula in float64, with exact matrix roots."""

from __future__ import annotations

import pytest
import torch
from pytorch_optimizer.optimizer.utils import preconditioner
from test_every_rule import scene, steps
from torch import nn

from threefusion.errors import UserError
from threefusion.optimizer.settings import ShampooConfig
from threefusion.registry import build

BETA = 0.9


def root(matrix: torch.Tensor, exponent: int, eps: float) -> torch.Tensor:
    """(matrix + eps * largest eigenvalue * 1) ** (-1 / exponent)."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * (values + eps * values.max()) ** (-1 / exponent)) @ vectors.T


def shampoo(weight: torch.Tensor, gradients: list[torch.Tensor], cfg: ShampooConfig) -> torch.Tensor:
    """The weight after a step along each gradient: blocks of rows and columns, grafted to the square root of their number."""
    starts = [range(0, side, cfg.block_size) for side in weight.shape]
    blocks = [(slice(i, i + cfg.block_size), slice(j, j + cfg.block_size)) for i in starts[0] for j in starts[1]]
    shapes = [weight[block].shape for block in blocks]
    moments = [tuple(1e-6 * torch.eye(side, dtype=weight.dtype) for side in shape) for shape in shapes]
    plain = preconditioned = torch.zeros_like(weight)
    for step, gradient in enumerate(gradients, start=1):
        update = torch.zeros_like(weight)
        for index, block in enumerate(blocks):
            part, (rows, columns) = gradient[block], moments[index]
            rows = BETA * rows + (1 - BETA) * part @ part.T
            columns = BETA * columns + (1 - BETA) * part.T @ part
            moments[index] = (rows, columns)
            order = cfg.exponent or 4
            update[block] = root(rows, order, cfg.matrix_eps) @ part @ root(columns, order, cfg.matrix_eps)
        update *= weight.numel() ** 0.5 / update.norm()
        preconditioned, plain = BETA * preconditioned + update, BETA * plain + gradient.sign()
        chosen, latest = (preconditioned, update) if step >= cfg.start_step else (plain, gradient.sign())
        weight = weight - cfg.lr * (BETA * chosen + latest if cfg.nesterov else chosen)
    return weight


CONFIGS = {
    "one block": ShampooConfig(lr=0.1, block_size=16, start_step=2),
    "blocks": ShampooConfig(lr=0.1, block_size=8, start_step=1, exponent=0),
    "plain momentum": ShampooConfig(lr=0.1, block_size=8, start_step=3, nesterov=False),
}


@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=[*CONFIGS])
def test_its_steps_are_those_of_the_formula(cfg: ShampooConfig) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(10, 14, bias=False)
    gradients = [torch.randn(14, 10) for _ in range(6)]
    before = layer.weight.detach().double()
    expected = shampoo(before, [gradient.double() for gradient in gradients], cfg)
    optimizer = build(cfg).create(nn.ModuleDict({"network": layer}))
    for gradient in gradients:
        layer.weight.grad = gradient.clone()
        optimizer.step()
    difference = (layer.weight.double() - expected).norm() / (expected - before).norm()
    assert difference < 2e-3  # the library's iterations stop at an error of 1e-3 of the root


def test_what_is_long_or_a_vector_follows_the_sign_of_its_gradient() -> None:
    layers = {"long": nn.Embedding(40, 3), "large": nn.Linear(39, 15), "small": nn.Linear(2, 2)}
    trained = nn.ModuleDict(layers)
    before = {name: value.detach().clone() for name, value in trained.named_parameters()}
    optimizer = build(ShampooConfig(lr=0.1, block_size=16, start_step=1, largest_side=39)).create(trained)
    for value in trained.parameters():
        value.grad = torch.randn_like(value)
    optimizer.step()
    by_sign = {
        name
        for name, value in trained.named_parameters()
        if torch.allclose(value, before[name] - 0.1 * 1.9 * value.grad.sign(), atol=1e-6)
    }
    assert by_sign == {"long.weight", "large.bias", "small.bias"}


def test_matrix_roots_start_from_the_same_random_vectors_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, roots = [], preconditioner.compute_power_schur_newton

    def drawing(*arguments: object, **settings: object) -> torch.Tensor:
        drawn.append(torch.get_rng_state())
        return roots(*arguments, **settings)

    monkeypatch.setattr(preconditioner, "compute_power_schur_newton", drawing)
    trained = nn.ModuleDict({"network": nn.Linear(10, 14)})
    optimizer = build(ShampooConfig()).create(trained)
    for seed in (1, 2):
        torch.manual_seed(seed)
        trained["network"](torch.ones(1, 10)).sum().backward()
        optimizer.step()
    assert len(drawn) == 4 and torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[3])


@pytest.mark.parametrize("other", [ShampooConfig(block_size=4), ShampooConfig(block_size=8, graft="rmsprop")])
def test_a_state_of_other_settings_is_refused(other: ShampooConfig) -> None:
    trained = scene()
    optimizer = build(ShampooConfig(block_size=8)).create(trained)
    steps(trained, optimizer, 0, 2)
    with pytest.raises(UserError, match=r"optimizer\.block_size: the checkpoint was made with another, or with another graft"):
        build(other).create(trained).load_state_dict(optimizer.state_dict())
