"""Distributed Shampoo: gradients preconditioned by roots of their second moments over rows and over columns."""

from __future__ import annotations

from typing import Any, ClassVar

import pytorch_optimizer
import torch
from pytorch_optimizer.optimizer.utils import LayerWiseGrafting
from torch import nn

from threefusion.errors import UserError
from threefusion.machine.random import seeded
from threefusion.optimizer.optimizer import GroupedOptimizer, SkipsEmptySteps, state_tensors
from threefusion.optimizer.settings import ShampooConfig

GRAFTS = {
    "sgd": LayerWiseGrafting.SGD,
    "adagrad": LayerWiseGrafting.ADAGRAD,
    "rmsprop": LayerWiseGrafting.RMSPROP,
    "sqrt-n": LayerWiseGrafting.SQRTN,
}


class ShampooRule(SkipsEmptySteps, pytorch_optimizer.ScalableShampoo):
    """The rule of pytorch_optimizer, with steps that follow from the gradients alone, and checkpoints of tensors alone."""

    def update(self) -> None:
        """One step: the iterations for the matrix roots start from random vectors, here the same in every step."""
        device = self.param_groups[0]["params"][0].device
        with seeded(0, [] if device.type == "cpu" else [device]):
            super().update()

    def state_dict(self) -> dict[str, Any]:
        """The state with the tensors of each of the library's objects in its place: what executes nothing when it is read."""
        content = super().state_dict()
        state = {index: {key: list(state_tensors(part)) for key, part in own.items()} for index, own in content["state"].items()}
        return content | {"state": state}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Fill new objects of the library with saved tensors.

        Raises:
            UserError: they are of other settings.
        """
        super().load_state_dict(state_dict | {"state": {}})
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        held = {parameters[index]: saved for index, saved in state_dict["state"].items()}
        for parameter in held:
            parameter.grad = torch.zeros_like(parameter)  # the library creates the objects of parameters with gradients
        for group in self.param_groups:
            self.init_group(group)
        self.zero_grad()
        for parameter, saved in held.items():
            for key, part in self.state[parameter].items():
                own = list(state_tensors(part))
                if [tensor.shape for tensor in own] != [tensor.shape for tensor in saved[key]]:
                    raise UserError("optimizer.block_size: the checkpoint was made with another, or with another graft")
                for tensor, value in zip(own, saved[key], strict=True):
                    tensor.copy_(value)


class Shampoo(GroupedOptimizer):
    """Distributed Shampoo (arXiv 2002.09018)."""

    cfg: ShampooConfig
    follows_rows: ClassVar[bool] = False

    def create(self, trained: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over all groups."""
        return ShampooRule(
            self.groups(trained),
            lr=self.cfg.lr,
            betas=self.cfg.betas,
            weight_decay=self.cfg.weight_decay,
            decoupled_weight_decay=True,
            inverse_exponent_override=self.cfg.exponent,
            start_preconditioning_step=self.cfg.start_step,
            preconditioning_compute_steps=self.cfg.every,
            block_size=self.cfg.block_size,
            no_preconditioning_for_layers_with_dim_gt=self.cfg.largest_side,
            # it would flatten small matrices into vectors, which are not preconditioned, and give those with a first side
            # longer than a block a side of 1 in front, and so other roots
            shape_interpretation=False,
            graft_type=GRAFTS[self.cfg.graft],
            nesterov=self.cfg.nesterov,
            matrix_eps=self.cfg.matrix_eps,
        )
