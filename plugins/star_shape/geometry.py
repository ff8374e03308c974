"""A sphere whose vertices move along their rays from the centre."""

from __future__ import annotations

from math import log

import torch
from jaxtyping import Float
from star_shape.settings import StarShapeConfig
from torch import Tensor

from threefusion.geometry.geometry import BuildContext, HasSurface
from threefusion.geometry.mlp import plain_network
from threefusion.registry import build
from threefusion.types import Mesh


class StarShape(HasSurface):
    """The surface radius · sigmoid(network(direction)) round the origin: closed and of genus 0, whatever the network says."""

    def __init__(self, cfg: StarShapeConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        from trimesh.creation import icosphere

        self.radius = cfg.radius
        template = icosphere(subdivisions=cfg.subdivisions)
        self.register_buffer("directions", torch.from_numpy(template.vertices.copy()).float(), persistent=False)
        self.register_buffer("faces", torch.from_numpy(template.faces.copy()).long(), persistent=False)
        self.shape_encoding, self.color_encoding = build(cfg.encoding), build(cfg.encoding)
        self.shape = plain_network(self.shape_encoding.width, 1, cfg.hidden_width, 1)
        self.color = plain_network(self.color_encoding.width, context.feature_width, cfg.hidden_width, 1)

    def mesh(self) -> Mesh:
        """The template with every vertex at its distance from the centre."""
        start = log(self.cfg.start / (1 - self.cfg.start))
        distance = self.radius * (self.shape(self.shape_encoding(self.directions)) + start).sigmoid()
        return Mesh(distance * self.directions, self.faces)

    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
        """Features at points of the surface."""
        return self.color(self.color_encoding(points / self.radius))
