"""The base class of renderers."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch

from threefusion.background.background import Background
from threefusion.component import Component
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry
from threefusion.material.material import Material
from threefusion.types import RenderOutput, ViewBatch


class Renderer(Component):
    """Makes images of the scene. Constructed with `(cfg, geometry, material, background)`, which become its parts."""

    kind: ClassVar[str] = "renderer"

    def __init__(self, geometry: Geometry, material: Material, background: Background) -> None:
        super().__init__()
        self.geometry = geometry
        self.material = material
        self.background = background

    @abstractmethod
    def forward(self, batch: ViewBatch, normals: bool = False) -> RenderOutput:
        """Images of the views, the same way in training and in evaluation.

        With `normals`, normals and `samples` are given even if no view's shading needs them.
        """

    def turn_round(self) -> None:
        """Turn the scene by half a turn about the vertical axis.

        Raises:
            UserError: its geometry cannot.
        """
        self.geometry.turn_round()

    def spare_memory(self) -> None:
        """Make the next render in training need less memory, and say so in one line; the image stays the same.

        Raises:
            UserError: it cannot need less; the message says what to lower.
        """
        raise UserError("out of memory. Lower camera.batch_size, or the size of the scene")

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Let every part of the scene follow the step."""
        for part in (self.geometry, self.material, self.background):
            part.on_step(step, generator)
