"""Features of a surface: an encoding and a small network, which can start from those of another geometry."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.config import Schedule, Settings
from threefusion.geometry.mlp import plain_network
from threefusion.registry import build


class Appearance(nn.Module):
    """Points to features, by an encoding and a plain network."""

    def __init__(self, encoding: Settings, width: int, layers: int, features: int, radius: float) -> None:
        super().__init__()
        self.radius = radius
        self.encoding = build(encoding)
        self.network = plain_network(self.encoding.width, features, width, layers)

    def forward(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
        """Features at points in scene units."""
        # an encoding that averages over a pixel's cone sees points here
        covariance = torch.zeros_like(points) if self.encoding.needs_covariance else None
        return self.network(self.encoding(points / self.radius, covariance)).to(points.dtype)

    @torch.no_grad()
    def copy_from(self, other: nn.Module) -> bool:
        """Take over the encoding and the network of a geometry, or of its `appearance`; false if theirs have other
        settings or shapes.

        Their network may have outputs before the features, such as a density: these are left out.
        """
        source = getattr(other, "appearance", other)
        parts = [getattr(source, name, None) for name in ("encoding", "network")]
        if not all(isinstance(part, nn.Module) for part in parts) or getattr(other, "radius", None) != self.radius:
            return False
        states = [part.state_dict() for part in parts]
        last = list(states[1])[-2:]
        for name in last:
            states[1][name] = states[1][name][-self.network[-1].out_features :]
        pairs = list(zip([self.encoding, self.network], states, strict=True))
        fits = all(shapes(part.state_dict()) == shapes(state) for part, state in pairs)
        if not fits or not same_layout(parts[0].cfg, self.encoding.cfg):
            return False
        for part, state in pairs:
            part.load_state_dict(state)
        return True


def same_layout(one: Settings | None, other: Settings | None) -> bool:
    """Whether parameters mean the same under both settings, which may differ in schedules."""
    if not isinstance(one, Settings) or type(one) is not type(other):
        return one is other
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(mine == theirs or Schedule in (type(mine), type(theirs)) for mine, theirs in pairs)


def shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of every tensor of a `state_dict`."""
    return {name: value.shape for name, value in state.items()}
