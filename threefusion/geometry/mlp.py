"""The MLPs of fields and backgrounds."""

from __future__ import annotations

import warnings
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.ops.relu_network import relu_network, relu_network_with_gradient


class FieldNetwork(nn.Sequential):
    """A network whose first output has a slope."""

    def with_slope(self, x: Float[Tensor, "N C"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N C"]]:
        """Outputs, and the gradient of every point's first output in x, which can be differentiated again."""
        differentiable = torch.is_grad_enabled()
        # validation runs in inference mode, whose tensors cannot be differentiated: copy them into ordinary ones
        with torch.inference_mode(False), torch.enable_grad():
            if not x.requires_grad:
                x = x.clone().requires_grad_()
            out = self(x)
            (slope,) = torch.autograd.grad(out[:, 0].sum(), x, create_graph=differentiable, retain_graph=True)
        return (out, slope) if differentiable else (out.detach(), slope.detach())


class ReluNetwork(FieldNetwork):
    """ReLU between linear maps; under autocast as torch does it, otherwise in pieces that stay in the cache."""

    def forward(self, x: Float[Tensor, "N C"]) -> Float[Tensor, "N D"]:
        """Outputs; differentiable once."""
        return super().forward(x) if _autocast(x) else relu_network(x, *self._parts())

    def with_slope(self, x: Float[Tensor, "N C"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N C"]]:
        """Outputs, and the gradient of every point's first output in x; both differentiable once."""
        return super().with_slope(x) if _autocast(x) else relu_network_with_gradient(x, *self._parts())

    def _parts(self) -> tuple[list[Tensor], list[Tensor]]:
        linear = list(self)[::2]
        return [layer.weight for layer in linear], [layer.bias for layer in linear]


def _autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def plain_network(inputs: int, outputs: int, width: int, layers: int) -> ReluNetwork:
    """`layers` hidden layers of `width` with ReLU between linear maps."""
    widths = [inputs, *[width] * layers]
    hidden = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU(inplace=True))]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # a material may read no features
        return ReluNetwork(*hidden, nn.Linear(widths[-1], outputs))


class ResidualBlock(nn.Module):
    """x + silu(norm(linear(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The input plus one layer of it."""
        return x + nn.functional.silu(self.norm(self.linear(x)))


def residual_network(inputs: int, outputs: int, width: int, layers: int) -> FieldNetwork:
    """`layers` residual blocks with layer norm and SiLU between two linear maps: DreamFusion's network, with 5 blocks of 128."""
    blocks = [ResidualBlock(width) for _ in range(layers)]
    return FieldNetwork(nn.Linear(inputs, width), *blocks, nn.Linear(width, outputs))
