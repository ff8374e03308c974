"""Rendering in less memory: smaller chunks, and activations that are recomputed for the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threefusion.errors import UserError
from threefusion.messages import Noted, send


class Chunk:
    """The number of rays or samples that are processed together: it decides about time and memory, not about the image.

    >>> chunk = Chunk("renderer.rays_per_chunk", 4096, floor=64)
    >>> chunk.halve("Render smaller images")
    >>> chunk.size
    2048
    """

    def __init__(self, setting: str, size: int, floor: int) -> None:
        self.setting = setting
        self.size = size
        self.floor = floor
        """Below this a chunk costs more in calls than it saves in memory."""

    def halve(self, advice: str) -> None:
        """Halve the size, and report it in one line.

        Raises:
            UserError: that would be below the floor; ends with `advice`.
        """
        if self.size // 2 < self.floor:
            raise UserError(f"out of memory, and {self.setting} cannot be halved again: it is down to {self.size}. {advice}")
        send(Noted(f"out of memory: retrying with {self.setting}={self.size // 2} instead of {self.size}"))
        self.size //= 2


def recomputed(function: Callable[[], Tensor], *modules: nn.Module) -> Tensor:
    """function(), differentiable in the parameters of the modules, without keeping its activations.

    `torch.utils.checkpoint` does not work here: a function that differentiates inside itself, as normals do, is run again at
    once and kept. This one must not depend on anything random.

    >>> linear = nn.Linear(2, 1)
    >>> x = torch.ones(3, 2)
    >>> recomputed(lambda: linear(x), linear).sum().backward()
    >>> linear.weight.grad.tolist()
    [[3.0, 3.0]]
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
