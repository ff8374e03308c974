"""The optimiser of the bundled models: Muon for the large matrices, AdamW for the rest."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST = 32
"""Matrices with a shorter side (first and last layers) are left to AdamW."""


class MatrixOptimizer:
    """Orthogonalised updates of weight matrices, which learn rare features faster.

    Muon (https://kellerjordan.github.io/posts/muon/, `torch.optim.Muon`, torch 2.9 or newer) replaces each matrix's momentum by
    the nearest orthogonal matrix; kernels of convolutions count as matrices of one row per output channel. Its rate is scaled
    to AdamW's step (arXiv 2502.16982), so one `learning_rate` serves both.
    """

    def __init__(self, networks: nn.Module, learning_rate: float) -> None:
        layers = [module for module in networks.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        large = [layer.weight for layer in layers if min(matrix(layer.weight, layer.weight).shape) >= SMALLEST]
        chosen = {id(weight) for weight in large}
        rest = [parameter for parameter in networks.parameters() if id(parameter) not in chosen]
        self.weights = [(weight, nn.Parameter(matrix(weight.data, weight))) for weight in large]
        self.muon = torch.optim.Muon(
            [flat for _, flat in self.weights], lr=learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        )
        self.adam = torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of both, for learning-rate schedules."""
        return [*self.muon.param_groups, *self.adam.param_groups]

    def step(self) -> None:
        """One optimiser step."""
        for weight, flat in self.weights:
            flat.grad = None if weight.grad is None else matrix(weight.grad, weight)
        self.muon.step()
        self.adam.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        for weight, flat in self.weights:
            weight.grad = flat.grad = None
        self.adam.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The state of both."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a saved state."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def matrix(values: Float[Tensor, "O *I"], weight: Float[Tensor, "O *I"]) -> Float[Tensor, "O J"]:
    """The weight as a matrix, columns in memory order, to which Muon is invariant."""
    if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        values = values.permute(0, 2, 3, 1)
    return values.reshape(len(values), -1)
