"""Muon for the matrices of networks, AdamW for the rest."""

from __future__ import annotations

from typing import Any

import pytorch_optimizer
import torch
from torch import nn

from threefusion.optimizer.optimizer import GroupedOptimizer, SkipsEmptySteps
from threefusion.optimizer.settings import MuonConfig


class MuonRule(SkipsEmptySteps, pytorch_optimizer.Muon):
    """The two rules of pytorch_optimizer; steps of matrices have the length of AdamW's (arXiv 2502.16982)."""


class Muon(GroupedOptimizer):
    """Muon (https://kellerjordan.github.io/posts/muon/): the nearest orthogonal matrix in place of each matrix's momentum.

    Only the weights of linear layers are matrices in its sense: the rows of a table of features or of points are not related.
    """

    cfg: MuonConfig

    def create(self, trained: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over all groups, each in two parts."""
        layers = [module.weight for module in trained.modules() if isinstance(module, nn.Linear)]
        matrices = {id(weight) for weight in layers if min(weight.shape) >= self.cfg.smallest_side}
        groups = [part for group in self.groups(trained) for part in self._split(group, matrices)]
        return MuonRule(groups, lr=self.cfg.lr)

    def _split(self, group: dict[str, Any], matrices: set[int]) -> list[dict[str, Any]]:
        """The parts of a group that are updated by Muon and by AdamW, those without parameters left out."""
        muon = {"use_muon": True, "momentum": self.cfg.momentum, "use_adjusted_lr": True}
        adam = {"use_muon": False, "betas": self.cfg.betas, "eps": self.cfg.eps}
        parts = {f"{group['name']} matrices": muon, group["name"]: adam}
        members = [[p for p in group["params"] if (id(p) in matrices) == rule["use_muon"]] for rule in parts.values()]
        return [
            group | rule | {"name": name, "params": parameters, "weight_decay": self.cfg.weight_decay}
            for (name, rule), parameters in zip(parts.items(), members, strict=True)
            if parameters
        ]
