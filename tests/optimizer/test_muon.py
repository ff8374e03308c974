"""Which parameters Muon moves, and that both its rules are those of torch."""

from __future__ import annotations

import pytest
import torch
from test_every_rule import distance, scene
from torch import nn

from threefusion.optimizer.settings import MuonConfig
from threefusion.registry import build


def test_only_large_weights_of_linear_layers_are_matrices() -> None:
    trained = nn.ModuleDict({"hidden": nn.Linear(16, 20), "last": nn.Linear(20, 3), "table": nn.Embedding(64, 16)})
    groups = build(MuonConfig(smallest_side=16, groups={"hidden": 0.5})).create(trained).param_groups
    names = {id(value): name for name, value in trained.named_parameters()}
    found = {group["name"]: (group["use_muon"], group["lr"], [names[id(value)] for value in group["params"]]) for group in groups}
    assert found == {
        "other": (False, 0.01, ["last.weight", "last.bias", "table.weight"]),
        "hidden matrices": (True, 0.5, ["hidden.weight"]),
        "hidden": (False, 0.5, ["hidden.bias"]),
    }


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9")
def test_its_steps_are_those_of_torch() -> None:
    cfg = MuonConfig(lr=0.02, smallest_side=4, weight_decay=0.1, eps=1e-8)
    one, other = scene(), scene()
    optimizer = build(cfg).create(one)
    weight = other["geometry"]["network"].weight
    rest = [value for value in other.parameters() if value is not weight]
    twins = [
        torch.optim.Muon([weight], lr=cfg.lr, weight_decay=0.1, momentum=cfg.momentum, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=cfg.lr, betas=cfg.betas, eps=cfg.eps, weight_decay=0.1),
    ]
    for step in range(4):
        for trained, optimizers in ((one, [optimizer]), (other, twins)):
            trained.zero_grad()
            distance(trained, step).backward()
            for each in optimizers:
                each.step()
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        # both orthogonalise in bfloat16
        assert torch.allclose(a, b, atol=2e-3 if name == "geometry.network.weight" else 1e-6), name
