"""Adan: Adam with a moment of the gradient's change."""

from __future__ import annotations

import pytorch_optimizer
import torch
from torch import nn

from threefusion.optimizer.optimizer import GroupedOptimizer, SkipsEmptySteps
from threefusion.optimizer.settings import AdanConfig


class AdanRule(SkipsEmptySteps, pytorch_optimizer.Adan):
    """The rule of pytorch_optimizer."""


class Adan(GroupedOptimizer):
    """Adan (arXiv 2208.06677)."""

    cfg: AdanConfig

    def create(self, trained: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over all groups."""
        rates = {"betas": self.cfg.betas, "eps": self.cfg.eps, "weight_decay": self.cfg.weight_decay}
        # with foreach=False it flips the signs of the gradients, which others read after the step
        return AdanRule(self.groups(trained), lr=self.cfg.lr, **rates, foreach=True)
