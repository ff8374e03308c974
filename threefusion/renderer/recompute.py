"""Memory for time: forget activations and compute them again when their gradient is due."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def recomputed(function: Callable[[], Tensor], *modules: nn.Module) -> Tensor:
    """function(), differentiable in the parameters of the modules, without keeping what lies between.

    `torch.utils.checkpoint` will not do here: a function that differentiates inside itself, as normals do, is run again at once
    and kept. This one must depend on nothing random.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return _Recomputed.apply(function, *parameters)


class _Recomputed(Function):
    @staticmethod
    def forward(ctx, function, *parameters):
        out = function()
        ctx.function, ctx.parameters = function, parameters
        device = out.device.type
        ctx.autocast = {
            "device_type": device,
            "enabled": torch.is_autocast_enabled(device),
            "dtype": torch.get_autocast_dtype(device),
        }
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            out = ctx.function()
        return None, *torch.autograd.grad(out, ctx.parameters, gradient, allow_unused=True)
