"""The small networks behind fields and backgrounds."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


def plain_network(inputs: int, outputs: int, width: int, layers: int) -> nn.Sequential:
    """`layers` hidden layers of `width` with ReLU between linear maps."""
    widths = [inputs, *[width] * layers]
    hidden = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU(inplace=True))]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], outputs))


class ResidualBlock(nn.Module):
    """x + silu(norm(linear(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The input plus one layer of it."""
        return x + nn.functional.silu(self.norm(self.linear(x)))


def residual_network(inputs: int, outputs: int, width: int, layers: int) -> nn.Sequential:
    """`layers` residual blocks with layer norm and SiLU between two linear maps: DreamFusion's network, with 5 blocks of 128."""
    blocks = [ResidualBlock(width) for _ in range(layers)]
    return nn.Sequential(nn.Linear(inputs, width), *blocks, nn.Linear(width, outputs))
